import type { PlaceState } from '../../commands/place.ts'
import type { EventLog } from '../../log/event-log.ts'
import { parsePosition } from '../../log/position.ts'
import type { Identity } from '../../guard/sessions.ts'
import type { KeyValue, Source } from '../../source/source.ts'
import { randomId } from './random-id.ts'

const BUCKET = 'roomcast_recovery'
/** How long a session's rooms are kept after they last changed. */
const KEPT_MS = 24 * 3_600_000
/** A private id: nonce (which begins with the public id), whose it is, the position at which it was given. */
const PID = /^[0-9a-f]{32}([0-9a-f]{8})\.([A-Za-z0-9]{1,40}-\d{1,16})$/
const SID_LENGTH = 20

export interface Recovered {
  readonly sinceSeq: number
  /** What was kept of it. Without: the rooms that it has by connecting. */
  readonly userId?: string
  readonly rooms?: readonly string[]
  readonly places?: PlaceState
  readonly identity?: Identity
}

/** What is kept of a session. */
export interface KeptState {
  readonly userId: string
  readonly rooms: readonly string[]
  readonly places: PlaceState | undefined
  /** Of a client that authenticated by a command: it does not do so again when it comes back. */
  readonly identity?: Identity
}

/**
 * Connection state recovery (Socket.IO 4.6) from the log, on any broker: the client's `offset` says where it was, its
 * `pid` finds its rooms in the key-value store. A `pid` names the position at which it was given, so that a client
 * that received nothing yet recovers as well.
 */
export class Recovery {
  private readonly kv: KeyValue
  private readonly log: EventLog

  static async open(source: Source, log: EventLog): Promise<Recovery> {
    return new Recovery(await source.keyValue(BUCKET, KEPT_MS), log)
  }

  private constructor(kv: KeyValue, log: EventLog) {
    this.kv = kv
    this.log = log
  }

  /** A new session's private id. @param userId undefined: not known yet */
  issue(seq: number, userId: string | undefined): string {
    return `${randomId()}${ownerMark(userId)}.${this.log.position(seq)}`
  }

  /** The public id that belongs to a private one; the same on every broker. */
  sidOf(pid: string): string {
    return pid.slice(0, SID_LENGTH)
  }

  /** Keeps what a session is in. Without the store in reach, it recovers into the rooms that it has by connecting. */
  async keep(pid: string, state: KeptState): Promise<void> {
    await this.kv.put(pid, Buffer.from(JSON.stringify(state))).catch(() => {})
  }

  async forget(pid: string): Promise<void> {
    await this.kv.delete(pid).catch(() => {})
  }

  /**
   * @param userId undefined: not known yet
   * @returns undefined where nothing is to be recovered: an unknown id, another user's, or history that is gone
   */
  async find(pid: unknown, offset: unknown, userId: string | undefined): Promise<Recovered | undefined> {
    const [, mark, issuedAt = ''] = (typeof pid === 'string' && PID.exec(pid)) || []
    const position = parsePosition(typeof offset === 'string' ? offset : issuedAt)
    if (!position || typeof pid !== 'string') return undefined
    if (userId !== undefined && mark !== ownerMark(userId) && mark !== ownerMark()) return undefined
    try {
      const [bounds, kept] = await Promise.all([this.log.recentBounds(position.seq), this.kv.get(pid)])
      if (position.epoch !== bounds.epoch || position.seq > bounds.lastSeq || position.seq + 1 < bounds.firstSeq) return undefined
      const state = kept && (JSON.parse(Buffer.from(kept.value).toString()) as KeptState)
      if (state && userId !== undefined && state.userId !== userId) return undefined
      return { sinceSeq: position.seq, ...state }
    } catch {
      return undefined
    }
  }
}

/**
 * Tells that a private id is another user's, also where nothing was kept of the session. A mark, not a proof (FNV-1a): what
 * a client gets to see is decided by its claims.
 */
function ownerMark(userId = ''): string {
  let hash = 0x811c9dc5
  for (let i = 0; i < userId.length; i++) hash = Math.imul(hash ^ userId.charCodeAt(i), 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}
