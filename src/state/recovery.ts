import { hash } from 'node:crypto'
import type { EventLog } from '../log/event-log.ts'
import { runGuarded } from '../guarded.ts'
import { BrokerError } from '../errors.ts'
import { parsePosition, type Position } from '../log/position.ts'
import type { Identity } from './login-sessions.ts'
import type { KeyValue, Source } from '../source/source.ts'
import { randomId } from '../random-id.ts'

const BUCKET = 'roomcast_recovery'
/** How long a session's rooms are kept after their last write. */
const KEPT_MS = 24 * 3_600_000
/**
 * The rooms of a connected session are written again after this time, or up to `RENEW_SPREAD` of it sooner, so that not
 * all are written at once.
 */
const RENEW_MS = 6 * 3_600_000
const RENEW_SPREAD = 0.25
/** A private id: nonce, mark of its owner, and the position and time at which it was issued. */
const PID = /^[0-9a-f]{32}([0-9a-f]{8})\.([A-Za-z0-9]{1,40}-\d{1,16})(?:\.([0-9a-z]{1,9}))?$/
const SID_LENGTH = 20
/** The time since which the store has lost nothing, ms. A broker that finds the key missing writes it. */
const BORN_KEY = 'born'
const LOOK_MS = 10_000
/** States that could not be written yet and are tried again. */
const UNWRITTEN_MAX = 100_000
const WRITES_A_SWEEP = 200
/** No store takes a larger state, however often it is tried. */
const KEPT_BYTES_MAX = 524_288
/**
 * A client that comes back while the store is out of reach waits this long for it, as raw clients do, before it starts
 * over. A cluster's elections end sooner.
 */
const WAIT_MS = 25_000
const WAIT_STEP_MS = 250

/**
 * What a session's recovery needs to know of its presence channels. Brokers of earlier versions read and write these
 * field names.
 */
export interface PresenceState {
  /** Presence channels that it is in. */
  readonly places: readonly string[]
  /** Event types of channels that it joins. */
  readonly all?: readonly string[]
  /** Channels, their event types, and the commands that joined them. */
  readonly byPlace: readonly (readonly [string, readonly string[], string?])[]
}

export interface Recovered {
  readonly sinceSeq: number
  /** The log's `life` when that was found: in another one, the sequence is another stream's. */
  readonly logLife: number
  /** What was kept of the session. If nothing was: the rooms it gets by connecting. */
  readonly userId?: string
  readonly rooms?: readonly string[]
  readonly places?: PresenceState
  readonly identity?: Identity
  /** The client named its position and its rooms itself, without a private id. */
  readonly byPosition?: true
  /** With `byPosition`: the log no longer has all that followed it. `oldest` null: nothing is stored. */
  readonly missed?: { readonly since: string; readonly oldest: string | null }
}

/** The state kept of a session. */
export interface KeptState {
  readonly userId: string
  /** The application and namespace that its private id belongs to. */
  readonly namespace?: string
  readonly rooms: readonly string[]
  readonly places: PresenceState | undefined
  /** Set for a client that authenticated by a command, which it does not repeat when it comes back. */
  readonly identity?: Identity
}

/**
 * Connection state recovery (Socket.IO 4.6) from the log, on any broker. The client's `offset` says where it was; its
 * `pid` finds its rooms in the key-value store. A `pid` also names the position at which it was issued, so that a
 * client that has received nothing yet recovers as well.
 */
export class Recovery {
  /** How often the store was found empty: what was kept before then has to be written again. */
  losses = 0
  private readonly kv: KeyValue
  private readonly log: EventLog
  private readonly now: () => number
  private readonly unwritten = new Map<string, KeptState>()
  private writing = false
  private bornMs = 0
  private bornWrittenMs = 0
  private lookedMs = 0

  /** @param now the clock, ms since 1970 */
  static async open(source: Source, log: EventLog, now: () => number = Date.now): Promise<Recovery> {
    const recovery = new Recovery(await source.keyValue(BUCKET, KEPT_MS), log, now)
    await recovery.look().catch(() => {})
    return recovery
  }

  private constructor(kv: KeyValue, log: EventLog, now: () => number) {
    this.kv = kv
    this.log = log
    this.now = now
  }

  /** When a connected session has to be written again, ms since 1970. @param random from 0 to 1, spreads the times */
  renewalMs(random: number): number {
    return this.now() + RENEW_MS * (1 - RENEW_SPREAD * random)
  }

  /** Retries writes that failed, and checks whether the store lost its contents. Call about once a second. */
  sweep(): void {
    if (this.writing) return
    this.writing = true
    runGuarded('recovery', () =>
      this.writeAgain()
        .catch(() => {})
        .finally(() => {
          this.writing = false
        }),
    )
  }

  private async writeAgain(): Promise<void> {
    if (this.now() - this.lookedMs >= LOOK_MS) await this.look()
    const some = [...this.unwritten].slice(0, WRITES_A_SWEEP)
    await Promise.all(some.map(([pid, state]) => this.write(pid, state)))
  }

  private async look(): Promise<void> {
    const entry = await this.kv.get(BORN_KEY)
    const nowMs = this.now()
    this.lookedMs = nowMs
    const kept = entry && Number(Buffer.from(entry.value).toString())
    if (kept && nowMs - this.bornWrittenMs < RENEW_MS && kept === this.bornMs) return
    const bornMs = kept || nowMs
    if (this.bornMs !== 0 && bornMs !== this.bornMs) this.losses++
    await this.kv.put(BORN_KEY, Buffer.from(String(bornMs)))
    this.bornMs = bornMs
    this.bornWrittenMs = nowMs
  }

  /** A new session's private id. @param userId undefined: not known yet */
  issue(seq: number, userId: string | undefined): string {
    return `${randomId()}${ownerMark(userId)}.${this.log.position(seq)}.${this.now().toString(36)}`
  }

  /**
   * The public id that belongs to a private one; the same on every broker. It is a digest, because clients can choose
   * private ids of which nothing is kept: none of these may lead to the public id of another client, by which services
   * know and ask that client.
   */
  sidOf(pid: string): string {
    return hash('sha256', pid, 'base64url').slice(0, SID_LENGTH)
  }

  /**
   * Keeps what a session is in. If the store is out of reach, the state is known here, and written as soon as possible.
   */
  async keep(pid: string, state: KeptState): Promise<void> {
    this.unwritten.delete(pid)
    this.unwritten.set(pid, state)
    if (this.unwritten.size > UNWRITTEN_MAX) this.unwritten.delete(this.unwritten.keys().next().value as string)
    await this.write(pid, state).catch(() => {})
  }

  /** The session does not recover, however soon it comes back: it lacks events, or its user logged out. */
  async spoil(pid: string): Promise<void> {
    await this.keep(pid, SPOILT)
  }

  private async write(pid: string, state: KeptState): Promise<void> {
    const value = Buffer.from(JSON.stringify(state))
    if (value.length > KEPT_BYTES_MAX) return this.keep(pid, SPOILT)
    await this.kv.put(pid, value)
    // Unless it changed meanwhile.
    if (this.unwritten.get(pid) === state) this.unwritten.delete(pid)
  }

  /**
   * @param userId undefined: not known yet
   * @param gone whether the client has left meanwhile
   * @param namespace where the client wants to continue: state kept for another namespace does not count
   * @returns undefined if nothing can be recovered: the id is unknown or another user's, the history is gone, or the
   *   store stays out of reach
   */
  async find(
    pid: unknown,
    offset: unknown,
    userId: string | undefined,
    gone: () => boolean = () => false,
    namespace?: string,
  ): Promise<Recovered | undefined> {
    const [, mark, issuedAt = '', issuedMs] = (typeof pid === 'string' && PID.exec(pid)) || []
    const position = parsePosition(typeof offset === 'string' ? offset : issuedAt)
    if (!position || typeof pid !== 'string') return undefined
    if (userId !== undefined && mark !== ownerMark(userId) && mark !== ownerMark()) return undefined
    for (const untilMs = this.now() + WAIT_MS; ; ) {
      try {
        return await this.lookUp(pid, position, Number.parseInt(issuedMs ?? '', 36), userId, namespace)
      } catch (error) {
        if (!isOutOfReach(error) || gone() || this.now() >= untilMs) return undefined
        await new Promise((resolve) => setTimeout(resolve, WAIT_STEP_MS))
      }
    }
  }

  private async lookUp(
    pid: string,
    { epoch, seq }: Position,
    issuedMs: number,
    userId: string | undefined,
    namespace: string | undefined,
  ): Promise<Recovered | undefined> {
    const logLife = this.log.life
    const [bounds, state] = await Promise.all([this.log.recentBounds(seq), this.stateOf(pid)])
    if (epoch !== bounds.epoch || seq > bounds.lastSeq || seq + 1 < bounds.firstSeq) return undefined
    if (state === undefined && !(await this.wouldBeKept(seq, issuedMs))) return undefined
    if (state === SPOILT || (state && userId !== undefined && state.userId !== userId)) return undefined
    // A login that one application accepts does not count for another.
    if (state?.namespace !== undefined && state.namespace !== namespace) return undefined
    return { sinceSeq: seq, logLife, ...state }
  }

  /** @throws Error if what is kept is not a state */
  private async stateOf(pid: string): Promise<KeptState | undefined> {
    const kept = this.unwritten.get(pid)
    if (kept) return kept
    const entry = await this.kv.get(pid)
    if (entry === undefined) return undefined
    const { userId, namespace, rooms, places, identity } = JSON.parse(Buffer.from(entry.value).toString()) as KeptState
    if (userId === SPOILT.userId) return SPOILT
    if (typeof userId !== 'string' || !Array.isArray(rooms) || !rooms.every((room) => typeof room === 'string'))
      throw new Error('no state')
    return {
      userId,
      ...(namespace === undefined ? undefined : { namespace }),
      rooms,
      places,
      ...(identity === undefined ? undefined : { identity }),
    }
  }

  /**
   * Whether the session's state would still be kept if there ever was any. If so, there never was, and the session has
   * the rooms that it gets by connecting. It was connected when its id was issued, and when it got the event at its
   * position.
   */
  private async wouldBeKept(seq: number, issuedMs: number): Promise<boolean> {
    const keptSinceMs = Math.max(this.bornMs, this.now() - KEPT_MS + RENEW_MS)
    return issuedMs >= keptSinceMs || ((await this.log.timeOf(seq)) ?? 0) >= keptSinceMs
  }
}

function isOutOfReach(error: unknown): boolean {
  return error instanceof BrokerError && (error.code === 'SERVICE_UNAVAILABLE' || error.code === 'TIMEOUT')
}

/** The state of a session that must not recover: no user has this name. */
const SPOILT: KeptState = { userId: '', rooms: [], places: undefined }

/**
 * Marks a private id as its owner's, so that another user's id is recognized even if nothing was kept of the session. A
 * mark, not a proof (FNV-1a): a client's claims decide what it gets to see.
 */
function ownerMark(userId = ''): string {
  let hash = 0x811c9dc5
  for (let i = 0; i < userId.length; i++) hash = Math.imul(hash ^ userId.charCodeAt(i), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}
