import { BrokerError } from '../errors.ts'
import { every, runGuarded } from '../guarded.ts'
import type { KeyValue, KeyValueEntry, Source } from '../source/source.ts'
import { type ClaimRules, wellFormed } from '../guard/jwt.ts'
import type { Claims } from '../contracts/claims.ts'

const BUCKET = 'roomcast_sessions'
const KEY = /^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*$/
const KEY_LENGTH_MAX = 512
const JWT = /^eyJ[\w-]*\.[\w-]+\.[\w-]+$/
const SWEEP_MS = 1_000

/** A user's claims, and what vouches for them. */
export interface Identity {
  readonly claims: Claims
  /** The key of a login session in the store. Undefined: the claims come from a token, which nobody can revoke. */
  readonly key?: string
}

/** Hears how a login session changed: its claims now, or why it is over. */
export type LoginSessionListener = (change: Claims | BrokerError) => void

interface Followed {
  readonly listeners: Set<LoginSessionListener>
  /** When the store forgets it, as far as is known. */
  expiresMs: number
}

/**
 * Login sessions, which a service of the application keeps in the key-value bucket `roomcast_sessions`: key = session
 * id, value = JSON of the claims. A JWT is accepted in place of a session id.
 */
export class LoginSessions {
  private readonly kv: KeyValue
  private readonly verify: (token: string) => Claims
  private readonly rules: ClaimRules
  private readonly followed = new Map<string, Followed>()
  private readonly sweeper: NodeJS.Timeout

  static async open(source: Source, verify: (token: string) => Claims, rules: ClaimRules): Promise<LoginSessions> {
    const sessions = new LoginSessions(await source.keyValue(BUCKET, 0), verify, rules)
    await sessions.kv.watch((key) => runGuarded('session change', () => sessions.look(key)))
    return sessions
  }

  private constructor(kv: KeyValue, verify: (token: string) => Claims, rules: ClaimRules) {
    this.kv = kv
    this.rules = rules
    this.verify = verify
    this.sweeper = every('sessions sweep', SWEEP_MS, () => this.sweep(Date.now()))
    this.sweeper.unref()
  }

  /**
   * @throws BrokerError AUTH_MISSING, AUTH_FAILED, AUTH_EXPIRED; SERVICE_UNAVAILABLE while the store is out of reach
   */
  async identify(credential: unknown): Promise<Identity> {
    if (typeof credential !== 'string' || credential === '') throw new BrokerError('AUTH_MISSING')
    if (JWT.test(credential)) return { claims: this.verify(credential) }
    return { claims: await this.read(credential), key: credential }
  }

  /** The identity as it is now. @throws as `identify` */
  async refresh({ claims, key }: Identity): Promise<Identity> {
    if (key !== undefined) return { claims: await this.read(key), key }
    return { claims: inTime(claims) }
  }

  /** Calls `listener` for every change of a login session. @returns a function that ends this */
  follow(key: string, listener: LoginSessionListener): () => void {
    const followed = this.followed.get(key) ?? { listeners: new Set(), expiresMs: 0 }
    this.followed.set(key, followed)
    followed.listeners.add(listener)
    return () => {
      followed.listeners.delete(listener)
      if (followed.listeners.size === 0) this.followed.delete(key)
    }
  }

  close(): void {
    clearInterval(this.sweeper)
  }

  private async read(key: string): Promise<Claims> {
    const entry = key.length <= KEY_LENGTH_MAX && KEY.test(key) ? await this.kv.get(key) : undefined
    return inTime(claimsIn(entry, this.rules))
  }

  private async look(key: string): Promise<void> {
    const followed = this.followed.get(key)
    if (!followed) return
    let change: Claims | BrokerError
    try {
      const entry = await this.kv.get(key)
      followed.expiresMs = entry?.expiresMs ?? 0
      change = claimsIn(entry, this.rules)
    } catch (error) {
      // Out of reach: the session goes on, and is checked again later.
      if (!(error instanceof BrokerError) || error.code === 'SERVICE_UNAVAILABLE') return
      change = error
    }
    for (const listener of [...followed.listeners]) runGuarded('session change', () => listener(change))
  }

  /** The store does not report keys that run out, so they are checked here. */
  private sweep(nowMs: number): void {
    for (const [key, followed] of this.followed)
      if (followed.expiresMs <= nowMs) runGuarded('session change', () => this.look(key))
  }
}

function claimsIn(entry: KeyValueEntry | undefined, rules: ClaimRules): Claims {
  if (entry === undefined) throw new BrokerError('AUTH_FAILED', 'There is no such session')
  let claims: unknown
  try {
    claims = JSON.parse(Buffer.from(entry.value).toString())
  } catch {
    // Not JSON, so not claims.
  }
  if (!wellFormed(claims, rules))
    throw new BrokerError(
      'AUTH_FAILED',
      'The session holds no claims: sub (string of at most MAX_USER_ID_BYTES) and exp, and lists must be lists of strings',
    )
  return claims
}

/** @throws BrokerError AUTH_EXPIRED */
export function inTime(claims: Claims): Claims {
  if (claims.exp * 1000 <= Date.now()) throw new BrokerError('AUTH_EXPIRED', 'The session has expired')
  return claims
}
