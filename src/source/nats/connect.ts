import { readFileSync } from 'node:fs'
import { connect, type ConnectionOptions, credsAuthenticator, ErrorCode, type NatsConnection, NatsError } from 'nats'
import type { Logger } from 'pino'
import { BrokerError, reasonOf } from '../../errors.ts'

export interface ConnectOptions {
  /** Comma separated. */
  readonly url: string
  /** Path of a credentials file, or empty. */
  readonly creds: string
  readonly log: Logger
}

const CONNECT_TIMEOUT_MS = 5_000

/**
 * Connects for the first time; later the client reconnects by itself.
 * @throws BrokerError SOURCE_UNREACHABLE, SOURCE_REFUSED, CONFIG_INVALID, saying what to do
 */
export async function connectOnce({ url, creds, log }: ConnectOptions): Promise<NatsConnection> {
  const servers = url.split(',').map((server) => server.trim())
  const addresses = servers.map(withoutCredentials)
  const options: ConnectionOptions = {
    servers: addresses,
    name: 'roomcast',
    // Begins like the usual prefix but is our own, so that permissions can keep others from listening to it.
    inboxPrefix: '_INBOX.roomcast',
    timeout: CONNECT_TIMEOUT_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    ignoreAuthErrorAbort: true,
    pingInterval: 10_000,
    // This broker need not hear what it tells others.
    noEcho: true,
    ...credentialsIn(servers),
  }
  if (creds !== '') options.authenticator = credsAuthenticator(readCreds(creds))
  try {
    const nc = await connect(options)
    log.info({ server: nc.getServer(), version: nc.info?.version }, 'connected to NATS')
    return nc
  } catch (error) {
    const shown = addresses.join(', ')
    if (
      error instanceof NatsError &&
      (error.code === ErrorCode.AuthorizationViolation ||
        error.code === ErrorCode.AuthenticationExpired ||
        error.isAuthError())
    ) {
      throw new BrokerError(
        'SOURCE_REFUSED',
        `The NATS server at ${shown} refused the credentials: check NATS_CREDS, or the user and password in NATS_URL`,
      )
    }
    throw new BrokerError(
      'SOURCE_UNREACHABLE',
      `No NATS server answers at ${shown} (${reasonOf(error)}): check NATS_URL, and that nats-server runs`,
    )
  }
}

/**
 * User and password, or token, from `nats://user:password@host`. The last @ ends them, whatever characters they hold.
 */
function credentialsIn(servers: readonly string[]): Partial<ConnectionOptions> {
  for (const server of servers) {
    const match = /^(?:[a-z]+:\/\/)?([^:]*)(?::(.*))?@[^@]*$/.exec(server)
    if (match) {
      const [, user, pass] = match.map((part) => (part === undefined ? undefined : decoded(part)))
      return pass === undefined ? { token: user } : { user, pass }
    }
  }
  return {}
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}

export function withoutCredentials(server: string): string {
  return server.replace(/^([a-z]+:\/\/)?.*@/, '$1')
}

function readCreds(path: string): Uint8Array {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `NATS_CREDS=${path}: ${reasonOf(error)}`)
  }
}
