import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { reasonOf } from '../errors.ts'
import type { Config } from './options.ts'

/** The strings of a context that are options here. */
const FIELDS = {
  ca: 'natsCaFile',
  inbox_prefix: 'natsInboxPrefix',
} as const
/** Fields that change how to connect, and that we cannot follow. */
const UNKNOWN_WAYS = ['nsc', 'user_jwt', 'user_seed', 'socks_proxy', 'windows_cert_store', 'tls_first']
const SERVER_BY_DEFAULT = 'nats://127.0.0.1:4222'

/**
 * The same configuration, with what the context of the `nats` command says where no option says it. The options that
 * belong together (the ways to log in; certificate and key; domain and prefix) are taken together or not at all.
 */
export function withNatsContext(
  config: Config,
  env: Readonly<Record<string, string | undefined>>,
  faults: string[],
): Config {
  if (config.natsContext === '') return config
  const option = `NATS_CONTEXT=${config.natsContext}`
  if (!/^[^/\\]+$/.test(config.natsContext) || config.natsContext.includes('..')) {
    faults.push(`${option}: wants the name of a context, as \`nats context ls\` prints it`)
    return config
  }
  const home = env.HOME || homedir()
  const path = join(env.XDG_CONFIG_HOME || join(home, '.config'), 'nats', 'context', `${config.natsContext}.json`)
  const context = read(path, option, faults)
  if (context === undefined) return config
  const field = (name: string) => {
    const value = context[name]
    return typeof value === 'string' ? value.trim() : ''
  }
  const file = (name: string) => field(name).replace(/^~(?=\/)/, home)
  for (const name of UNKNOWN_WAYS)
    if (context[name] && context[name] !== '') faults.push(`${option}: \`${name}\` in ${path} is not supported`)

  const said: { -readonly [N in keyof Config]?: Config[N] } = {}
  for (const [name, key] of Object.entries(FIELDS))
    if (config[key] === '') said[key] = name === 'ca' ? file(name) : field(name)
  if (config.natsCertFile === '' && config.natsKeyFile === '') {
    said.natsCertFile = file('cert')
    said.natsKeyFile = file('key')
  }
  if (config.natsJsDomain === '' && config.natsJsApiPrefix === '') {
    said.natsJsDomain = field('jetstream_domain')
    said.natsJsApiPrefix = said.natsJsDomain === '' ? field('jetstream_api_prefix') : ''
  }
  let url = config.natsUrl || field('url') || SERVER_BY_DEFAULT
  const logsIn = [config.natsCreds, config.natsNkeySeedFile, config.natsToken].some((value) => value !== '')
  if (!logsIn && !config.natsUrl.includes('@')) {
    said.natsCreds = file('creds')
    said.natsNkeySeedFile = said.natsCreds === '' ? file('nkey') : ''
    const hasFile = said.natsCreds !== '' || said.natsNkeySeedFile !== ''
    said.natsToken = hasFile ? '' : field('token')
    const user = field('user')
    if (!hasFile && said.natsToken === '' && user !== '') url = withUser(url, user, field('password'))
  }
  return { ...config, ...said, natsUrl: url }
}

function read(path: string, option: string, faults: string[]): Record<string, unknown> | undefined {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    faults.push(`${option}: cannot be read (${reasonOf(error)})`)
    return undefined
  }
  try {
    const context: unknown = JSON.parse(text)
    if (typeof context === 'object' && context !== null) return context as Record<string, unknown>
  } catch {
    // Its text holds secrets, and the parser would repeat some of it.
  }
  faults.push(`${option}: ${path} is no context of the \`nats\` command (a JSON object)`)
  return undefined
}

/** `nats://user:password@host` of each server that has no user of its own. */
function withUser(url: string, user: string, password: string): string {
  const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}@`
  return url
    .split(',')
    .map((server) => server.trim())
    .map((server) => (server.includes('@') ? server : server.replace(/^([a-z]+:\/\/)?/i, `$1${login}`)))
    .join(',')
}
