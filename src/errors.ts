/** Everything that can go wrong and be told to somebody: one error class, one table. */

interface ErrorRow {
  /** What is said when the place that raises it has nothing more precise to say. */
  readonly message: string
  /** Status of an HTTP answer. */
  readonly http: number
  /**
   * WebSocket close code, where the connection ends by it. 4400–4499: do not come back unchanged; others: come back.
   */
  readonly close?: number
}

/** The table. `docs/errors.md` repeats it, and a test keeps the two equal. */
export const ERRORS = {
  INVALID_MESSAGE: { message: 'The message is not of the documented shape', http: 400 },
  UNKNOWN_TYPE: { message: 'There is no command of this type', http: 400 },
  UNKNOWN_EVENT: { message: 'There is no event or event group of this name', http: 400 },
  UNKNOWN_FILTER: { message: 'There is no filter of this name', http: 400 },
  UNKNOWN_APP: { message: 'No contract serves this application', http: 400 },
  INVALID_EVENT: { message: 'The body is not an event: a JSON or msgpack object with an object `data`', http: 400 },
  INVALID_POSITION: { message: 'This is not a position', http: 400 },
  INVALID_ROOM: { message: 'Invalid room format', http: 400 },
  NOT_JOINED: { message: 'Join a session first', http: 409 },
  TOO_MANY_SUBSCRIPTIONS: { message: 'This connection has reached its limit of rooms', http: 429 },
  TOO_MANY_NAMESPACES: { message: 'This connection has reached its limit of namespaces', http: 429 },
  LOCKED: { message: 'Somebody else holds the lock', http: 409 },
  NOT_LOCKED: { message: 'You do not hold this lock', http: 409 },
  TOO_MANY_LOCKS: { message: 'This user has reached the limit of locks', http: 429 },
  RATE_LIMITED: { message: 'Too many commands; this one was ignored', http: 429, close: 4029 },
  AUTH_MISSING: { message: 'No authentication provided', http: 401, close: 4401 },
  AUTH_FAILED: { message: 'The authentication token is not valid', http: 401, close: 4401 },
  AUTH_EXPIRED: { message: 'Authentication token has expired', http: 401, close: 4401 },
  ROOM_ACCESS_DENIED: { message: 'Access denied to room', http: 403 },
  ACCESS_DENIED: { message: 'This token does not allow that', http: 403 },
  BANNED: { message: 'This user is banned for a while', http: 403 },
  NOT_CONNECTED: { message: 'There is no such connection', http: 404 },
  NOT_FOUND: { message: 'There is nothing at this address', http: 404 },
  PAYLOAD_TOO_LARGE: { message: 'The message is larger than MAX_PAYLOAD_BYTES', http: 413, close: 1009 },
  TOO_MANY_CONNECTIONS: { message: 'This broker has reached MAX_CONNECTIONS', http: 503, close: 1013 },
  SLOW_CONSUMER: {
    message: 'The connection took nothing for SLOW_CLIENT_TIMEOUT_MS, or too much waits for it',
    http: 408,
    close: 4008,
  },
  DRAINING: { message: 'The broker is shutting down; connect again', http: 503, close: 1012 },
  SERVICE_UNAVAILABLE: { message: 'The service behind this is not available', http: 503 },
  TIMEOUT: { message: 'The service did not answer in time', http: 504 },
  INVALID_RECORD: {
    message: 'What another program wrote into NATS, where brokers write for each other, is not of their shape',
    http: 500,
  },
  BAD_REPLY: { message: 'The service answered something that is not a reply', http: 502 },
  CONFIG_INVALID: { message: 'The configuration is not valid', http: 500 },
  CONTRACT_INVALID: { message: 'The contract is not valid', http: 500 },
  SOURCE_UNREACHABLE: { message: 'NATS cannot be reached', http: 503 },
  SOURCE_REFUSED: { message: 'NATS refused the credentials', http: 503 },
  SOURCE_UNFIT: { message: 'The NATS server lacks what Roomcast needs', http: 503 },
  INTERNAL: { message: 'Something went wrong inside the broker', http: 500 },
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/**
 * The one error of the broker. `code` is for programs, `message` for people; `details` names the place of
 * the fault. Neither ever holds a token or a key.
 */
export class BrokerError extends Error {
  readonly code: ErrorCode
  readonly details: unknown

  constructor(code: ErrorCode, message: string = ERRORS[code].message, details?: unknown) {
    super(message)
    this.name = 'BrokerError'
    this.code = code
    this.details = details
  }

  get row(): ErrorRow {
    return ERRORS[this.code]
  }
}

/** As much of what a client sent as goes into an answer. */
export const EXCERPT_MAX = 200

/**
 * What a client sent, as far as an answer repeats it: whatever it is made of, no text in it is longer than
 * `EXCERPT_MAX`.
 */
export function excerpt(value: unknown, depth = 4): unknown {
  if (typeof value === 'string') return value.slice(0, EXCERPT_MAX)
  if (typeof value !== 'object' || value === null) return value
  if (depth === 0) return null
  if (Array.isArray(value)) return value.map((item) => excerpt(item, depth - 1))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, excerpt(item, depth - 1)]))
}

/** Text of anything thrown; never throws. */
export function reasonOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? thrown.message : String(thrown)
  } catch {
    return 'something without a text'
  }
}
