import type { JetStreamOptions } from 'nats'
import type { Logger } from 'pino'
import type { LoginFiles } from './login-files.ts'

export interface ConnectOptions extends LoginFiles {
  /** Comma separated. */
  readonly url: string
  readonly token?: string
  /** The context of the `nats` command from which other options come, for errors. */
  readonly context?: string
  readonly inboxPrefix?: string
  /** JetStream's domain, or else the prefix of its API. */
  readonly domain?: string
  readonly apiPrefix?: string
  /** How long a server may take to be connected to. Default: 5,000. */
  readonly timeoutMs?: number
  readonly log: Logger
}

export const CONNECT_TIMEOUT_MS = 5_000

/** Where JetStream's API is. The client changes what it is given, so that each call needs one of its own. */
export function apiOf({ domain, apiPrefix }: ConnectOptions): JetStreamOptions {
  if (domain) return { domain }
  return apiPrefix ? { apiPrefix } : {}
}
