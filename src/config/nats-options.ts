import { type Config, OPTIONS, type OptionName } from './options.ts'
import { withoutCredentials } from '../source/nats/addresses.ts'
import { shown } from './shown.ts'

const LOGINS = ['natsCreds', 'natsNkeySeedFile', 'natsToken'] as const
const OF_NO_USE_ALONE: readonly OptionName[] = [
  ...LOGINS,
  'natsCaFile',
  'natsCertFile',
  'natsKeyFile',
  'natsInboxPrefix',
  'natsJsDomain',
  'natsJsApiPrefix',
]

/** Adds what is wrong with the options for NATS, one line each. */
export function checkNatsOptions(config: Config, faults: string[]): void {
  const env = (name: OptionName) => OPTIONS[name].env
  for (const server of config.natsUrl.split(',')) checkAddress(server.trim(), faults)
  if (config.natsUrl === '' && config.natsContext === '')
    for (const name of OF_NO_USE_ALONE.filter((one) => config[one] !== ''))
      faults.push(`${env(name)}: is of no use without NATS_URL`)
  const logins = LOGINS.filter((name) => config[name] !== '')
  if (logins.length > 1) faults.push(`${logins.map(env).join(' and ')}: set one of them`)
  if ((config.natsCertFile === '') !== (config.natsKeyFile === ''))
    faults.push('NATS_CERT_FILE and NATS_KEY_FILE: set both, or neither')
  if (config.natsJsDomain !== '' && config.natsJsApiPrefix !== '')
    faults.push(
      'NATS_JS_DOMAIN and NATS_JS_API_PREFIX: set one of them; a domain stands for the prefix $JS.<domain>.API',
    )
  for (const [name, plain] of [
    ['natsInboxPrefix', /^[^\s.*>]+(\.[^\s.*>]+)*$/],
    ['natsJsDomain', /^[^\s.*>]+$/],
    ['natsJsApiPrefix', /^[^\s.*>]+(\.[^\s.*>]+)*$/],
  ] as const)
    if (config[name] !== '' && !plain.test(config[name]))
      faults.push(
        `${env(name)}=${config[name]}: wants the beginning of a subject, without wildcards and a dot at its end`,
      )
}

/** `nats://host:4222`, without user and password. */
const ADDRESS = /^(?:[a-z][a-z+]*:\/\/)?(?:\[[^\]]+\]|[^\s:/@]+)(?::\d{1,5})?\/?$/i

function checkAddress(server: string, faults: string[]): void {
  // It is not shown: it may be a part of a password with a comma.
  if (server !== '' && !ADDRESS.test(withoutCredentials(server))) {
    faults.push(
      'NATS_URL: one of its addresses is not one such as nats://host:4222; in a user and password a comma is written %2C, a blank %20',
    )
    return
  }
  const [, scheme] = /^([a-z][a-z+]*):\/\//i.exec(server) ?? []
  if (scheme === undefined || /^(nats|tls)$/i.test(scheme)) return
  const address = `NATS_URL=${shown('natsUrl', server)}`
  faults.push(
    /^wss?$/i.test(scheme)
      ? `${address}: NATS by WebSocket is not supported; give the address of the server's client port, such as nats://host:4222 or tls://host:4222`
      : `${address}: wants an address such as nats://host:4222 or tls://host:4222`,
  )
}
