import { isIP } from 'node:net'
import { availableParallelism } from 'node:os'
import { BrokerError } from '../errors.ts'
import { withNatsContext } from './nats-context.ts'
import { checkNatsOptions } from './nats-options.ts'
import { type Config, OPTIONS, type Option } from './options.ts'
import { shown } from './shown.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads the options from `env`, the environment with flags already merged in.
 * @param ports the options of the ports that contracts name
 * @throws BrokerError CONFIG_INVALID, whose `details` lists every fault, one line each
 */
export function loadConfig(env: Environment, ports: readonly Option[] = []): Config {
  const faults: string[] = []
  const values: Record<string, unknown> = {}
  for (const [name, option] of Object.entries(OPTIONS) as [string, Option][]) {
    values[name] = read(option, env[option.env], faults)
  }
  values.contractPorts = Object.fromEntries(ports.map((option) => [option.env, read(option, env[option.env], faults)]))
  const config = withNatsContext(values as Config, env, faults)
  checkTogether(config, faults)
  if (faults.length > 0) throw new BrokerError('CONFIG_INVALID', faults.join('\n'), faults)
  return config
}

/** CONTRACTS alone: what they name belongs to the other options. */
export function contractPaths(env: Environment): string[] {
  return read(OPTIONS.contracts, env[OPTIONS.contracts.env], []) as string[]
}

function read(option: Option, raw: string | undefined, faults: string[]): unknown {
  const text = raw?.trim() || String(option.default)
  switch (option.type) {
    case 'string':
      return text
    case 'list':
      return text
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '')
    case 'integer': {
      const number = Number(text)
      const { min = 0, max = Number.MAX_SAFE_INTEGER } = option
      if (!Number.isInteger(number) || number < min || number > max) {
        faults.push(`${option.env}=${text}: wants a whole number from ${min} to ${max} (${option.unit})`)
      }
      return number
    }
  }
}

const WORKERS_MAX = 256
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']

function checkTogether(config: Config, faults: string[]): void {
  if (!LOG_LEVELS.includes(config.logLevel))
    faults.push(`LOG_LEVEL=${config.logLevel}: wants one of ${LOG_LEVELS.join(', ')}`)
  if ((config.tlsCertFile === '') !== (config.tlsKeyFile === ''))
    faults.push('TLS_CERT_FILE and TLS_KEY_FILE: set both, or neither')
  if (config.jwksUrl !== '' && !isPlainHttp(config.jwksUrl))
    faults.push(
      `JWKS_URL=${shown('jwksUrl', config.jwksUrl)}: wants an address such as https://id.example.com/.well-known/jwks.json, without user and password`,
    )
  if (config.nodeEnv === 'production' && isShort(config.jwtSecret)) faults.push(`JWT_SECRET: ${SHORT_SECRET}`)
  if (config.nodeEnv === 'production' && !hasKey(config)) {
    faults.push(
      'NODE_ENV=production: set JWT_SECRET, JWT_PUBLIC_KEY or JWKS_URL; without a key anybody could mint tokens',
    )
  }
  const workers = workersOf(config)
  if (!Number.isInteger(workers) || workers < 1 || workers > WORKERS_MAX)
    faults.push(`WORKERS=${config.workers}: wants a whole number from 1 to ${WORKERS_MAX}, or auto`)
  else if (workers > 1 && config.natsUrl === '' && config.natsContext === '')
    faults.push(
      `WORKERS=${config.workers}: more than one process needs NATS (set NATS_URL); the embedded source serves one`,
    )
  if (config.sourceStreams.length > 0 && config.natsUrl === '' && config.natsContext === '')
    faults.push('SOURCE_STREAMS: streams are in NATS (set NATS_URL); the embedded source has none')
  for (const network of config.trustedProxies)
    if (!isNetwork(network)) faults.push(`TRUSTED_PROXIES=${network}: wants addresses, or networks such as 10.0.0.0/8`)
  checkNatsOptions(config, faults)
}

/** Warnings about options that are valid but should be changed, one line each. */
export function warningsOf(config: Config): string[] {
  return isShort(config.jwtSecret) ? [`JWT_SECRET: ${SHORT_SECRET}; NODE_ENV=production refuses it`] : []
}

/** A secret shorter than the hash can be found by brute force (RFC 7518, 3.2). */
const SECRET_BYTES_MIN = 32
const SHORT_SECRET = `is shorter than the ${SECRET_BYTES_MIN} bytes that HS256 wants; make one with: openssl rand -hex 32`

function isShort(secret: string): boolean {
  return secret !== '' && Buffer.byteLength(secret) < SECRET_BYTES_MIN
}

function isPlainHttp(address: string): boolean {
  if (!URL.canParse(address)) return false
  const { protocol, username, password } = new URL(address)
  return (protocol === 'https:' || protocol === 'http:') && username === '' && password === ''
}

function isNetwork(text: string): boolean {
  const [, address = '', prefix] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  return version !== 0 && Number(prefix ?? 0) <= (version === 4 ? 32 : 128)
}

/** Whether a key to verify tokens is configured. */
export function hasKey(config: Config): boolean {
  return config.jwtSecret !== '' || config.jwtPublicKey !== '' || config.jwksUrl !== ''
}

/** The number of processes that share the ports. The embedded source serves only one, so `auto` means 1 there. */
export function workersOf({ workers, natsUrl }: Config): number {
  if (workers !== 'auto') return Number(workers)
  return natsUrl === '' ? 1 : Math.min(WORKERS_MAX, availableParallelism())
}

/** The address to listen on. */
export function hostOf(config: Config): string {
  return config.host || (hasKey(config) ? '0.0.0.0' : '127.0.0.1')
}
