import { reportFault, runGuarded } from '../guarded.ts'
import type { Encoder, LogEntry } from '../log/entry.ts'
import type { Chunk } from '../log/backfill.ts'
import type { EventLog } from '../log/event-log.ts'
import { formatPosition } from '../log/position.ts'
import type { Meters } from '../meters.ts'
import { lowerHad } from './had.ts'
import { BEHIND, CLOSED, type Session } from './session.ts'

export interface CatchUpLimits {
  /** Unsent bytes in a socket from which on it must drain before it is fed more. */
  readonly bufferBytes: number
  /** A session whose socket took nothing for this long is closed. */
  readonly stallMs: number
}

interface Live {
  /** Everything up to here has gone out to live sessions; a session that has it too may turn live. */
  headSeq(): number
  turnLive(session: Session): void
}

/** Events looked at for one session before the next has its turn, and in one turn of the event loop. */
const SLICE_EVENTS = 1_024
const TURN_EVENTS = 8_192
const SOURCE_RETRY_MS = 500

/**
 * Feeds the sessions that are behind: each has a cursor into the log, which moves as fast as its own socket drains.
 * Reaching the head, a session turns live in the same tick, so that nothing is missed and nothing comes twice.
 */
export class CatchUp {
  /** Sessions that are fed from the log. */
  readonly sessions = new Set<Session>()
  private readonly log: EventLog
  private readonly meters: Meters
  private readonly limits: CatchUpLimits
  private readonly live: Live
  /** Those whose turn it is next, in order. */
  private ready: Session[] = []
  /** Those that were live in this turn of the event loop, and in the one before. */
  private arriving: Session[] = []
  private arrived: Session[] = []
  private scheduled = false
  /**
   * What was read for those whose turn is to come: a chunk that thousands wait for is not fed to all of them in one
   * turn.
   */
  private readonly fetched = new Map<
    Session,
    { readonly chunk: Chunk; readonly cursor: number; readonly life: number }
  >()
  /** Sessions that have everything there is and wait for more: long-polling ones, and those with a floor ahead. */
  private readonly ahead = new Set<Session>()

  constructor(log: EventLog, meters: Meters, limits: CatchUpLimits, live: Live) {
    this.log = log
    this.meters = meters
    this.limits = limits
    this.live = live
  }

  /**
   * Takes over a session. One that was live until now has its first turn after a whole turn of the event loop: by then
   * uWS has sent or dropped what was published to it before, and what it is fed cannot overtake that.
   */
  add(session: Session): void {
    this.sessions.add(session)
    if (!session.leaving || session.queued) return this.enqueue(session)
    session.queued = true
    this.arriving.push(session)
    this.schedule()
  }

  remove(session: Session): void {
    this.sessions.delete(session)
    this.ahead.delete(session)
    this.fetched.delete(session)
  }

  /** Its socket has room again, or less of a queue. */
  drained(session: Session): void {
    session.stalledSinceMs = 0
    if (session.state === BEHIND) this.enqueue(session)
  }

  /** The head moved. */
  advanced(): void {
    for (const session of this.ahead) {
      this.ahead.delete(session)
      this.enqueue(session)
    }
  }

  /**
   * The stream is another one: cursors of before mean nothing, everybody goes on from its head. Or it was cut short:
   * whoever is further has cursor and floors in what it is from there on.
   */
  reset(epochBefore: string): void {
    const cutShort = epochBefore === this.log.epoch
    const headSeq = this.live.headSeq()
    // A copy: one that is told may close others that share its socket, and those missed as much.
    for (const session of [...this.sessions]) {
      const before = session.cursor
      session.cursor = cutShort ? Math.min(before, headSeq) : headSeq
      if (!cutShort) session.floors = session.had = session.refiltered = undefined
      session.joinedSeq = cutShort ? Math.min(session.joinedSeq, headSeq) : 0
      for (const [room, seq] of session.floors ?? []) if (seq > headSeq) session.floors?.set(room, headSeq)
      lowerHad(session.had, headSeq)
      lowerHad(session.refiltered, headSeq)
      if (!cutShort || session.begunSeq > headSeq) session.begunSeq = 0
      session.missed(formatPosition(epochBefore, before), this.log.position(Math.max(session.cursor, headSeq) + 1))
      this.enqueue(session)
    }
  }

  /** Closes whoever took nothing for too long. Call about once a second. */
  sweep(nowMs: number): void {
    for (const session of this.sessions) {
      if (session.peer.getBufferedAmount() <= this.limits.bufferBytes) continue
      if (session.stalledSinceMs === 0) session.stalledSinceMs = nowMs
      else if (nowMs - session.stalledSinceMs > this.limits.stallMs) session.stalled()
    }
  }

  /** Sessions that do not have everything yet. */
  get behind(): number {
    let count = 0
    for (const { mayBeLive, cursor } of this.sessions) if (mayBeLive || cursor < this.live.headSeq()) count++
    return count
  }

  /** How far the furthest session is behind. */
  lag(nowMs: number): { events: number; seconds: number } {
    let lowest = Number.MAX_SAFE_INTEGER
    for (const { cursor } of this.sessions) if (cursor < lowest) lowest = cursor
    if (lowest >= this.log.headSeq) return { events: 0, seconds: 0 }
    const { ring } = this.log
    const oldest = ring.at(ring.indexAfter(lowest))
    return { events: this.log.headSeq - lowest, seconds: oldest ? Math.max(0, nowMs - oldest.timeMs) / 1000 : 0 }
  }

  private enqueue(session: Session): void {
    if (session.queued) return
    session.queued = true
    this.ready.push(session)
    this.schedule()
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    setImmediate(this.run)
  }

  private readonly run = (): void => {
    let budget = TURN_EVENTS
    for (const session of this.arrived) {
      session.leaving = false
      this.ready.push(session)
    }
    this.arrived = this.arriving
    this.arriving = []
    const turn = this.ready
    this.ready = []
    let next = 0
    while (next < turn.length && budget > 0) {
      const session = turn[next++] as Session
      session.queued = false
      if (session.state === BEHIND) budget -= this.feedGuarded(session)
    }
    // Sessions that got no turn go first.
    if (next < turn.length) this.ready = turn.slice(next).concat(this.ready)
    this.log.ring.shrink()
    this.scheduled = false
    if (this.ready.length > 0 || this.arrived.length > 0 || this.arriving.length > 0) this.schedule()
  }

  /** A fault ends the session that it befell: it comes back, rather than waits for what never comes. */
  private feedGuarded(session: Session): number {
    try {
      return this.feed(session)
    } catch (error) {
      this.broke(session, error)
      return 1
    }
  }

  private broke(session: Session, error: unknown): void {
    reportFault('catching up', error)
    this.remove(session)
    runGuarded('catching up', () => session.stalled())
  }

  /** Gives one session a slice. @returns the events looked at */
  private feed(session: Session): number {
    const { ring } = this.log
    if (session.cursor < ring.completeAfter) {
      const fetched = this.fetched.get(session)
      this.fetched.delete(session)
      // Its cursor may have moved meanwhile, by a further `since`, or the stream be another one: then it is read anew.
      if (fetched?.life === this.log.life && fetched.cursor === session.cursor)
        return this.feedChunk(session, fetched.chunk)
      runGuarded('catching up', () => this.feedOlder(session).catch((error: unknown) => this.broke(session, error)))
      return 1
    }
    let looked = 0
    session.peer.cork(() => {
      const head = this.live.headSeq()
      let index = ring.indexAfter(session.cursor)
      while (looked < SLICE_EVENTS) {
        const entry = ring.at(index)
        if (entry === undefined || entry.seq > head) {
          session.cursor = Math.max(session.cursor, head)
          break
        }
        if (!ring.superseded(entry) && !this.offer(session, entry, true)) return
        session.cursor = entry.seq
        index++
        looked++
      }
      if (session.cursor < head) this.enqueue(session)
      else if (session.floorSeq > head) runGuarded('catching up', () => this.wait(session))
      else if (session.mayBeLive) this.finish(session)
      else {
        session.had = undefined
        this.ahead.add(session)
      }
    })
    return looked + 1
  }

  /** What the ring no longer has comes from the source. Not queued again before it is there. */
  private async feedOlder(session: Session): Promise<void> {
    session.queued = true
    const { cursor } = session
    const { life } = this.log
    let chunk: Chunk | undefined
    let firstSeq = 0
    try {
      firstSeq = (await this.log.bounds()).firstSeq
      if (firstSeq <= cursor + 1) chunk = await this.log.older(cursor)
      // What the stream forgot while the chunk was read may be missing in it.
      firstSeq = this.log.firstSeq
    } catch {
      // The source is out of reach: the session waits with it.
      await new Promise((resolve) => setTimeout(resolve, SOURCE_RETRY_MS))
    }
    session.queued = false
    if (session.state !== BEHIND) return
    // Its cursor may have gone back meanwhile, by a further `since`, or the stream be another one: then once more from
    // there.
    if (session.cursor === cursor && this.log.life === life) {
      if (firstSeq > cursor + 1) this.miss(session, firstSeq)
      else if (chunk !== undefined) this.fetched.set(session, { chunk, cursor, life })
    }
    this.enqueue(session)
  }

  /**
   * A session has events that this broker has yet to read: it waits for those behind them. Where the stream has none of
   * them, it is not the stream that they came from.
   */
  private async wait(session: Session): Promise<void> {
    session.queued = true
    const { life } = this.log
    let lastSeq = Number.POSITIVE_INFINITY
    let asked = true
    try {
      lastSeq = (await this.log.bounds()).lastSeq
    } catch {
      asked = false
      await new Promise((resolve) => setTimeout(resolve, SOURCE_RETRY_MS))
    }
    session.queued = false
    if (session.state !== BEHIND) return
    if (!asked || this.log.life !== life || session.floorSeq <= this.live.headSeq()) return this.enqueue(session)
    this.ahead.add(session)
    const { floorSeq } = session
    if (lastSeq >= floorSeq) return
    for (const [room, seq] of session.floors ?? []) if (seq > lastSeq) session.floors?.set(room, lastSeq)
    session.missed(this.log.position(floorSeq), this.log.position(lastSeq + 1))
    this.enqueue(session)
  }

  private miss(session: Session, firstSeq: number): void {
    const { cursor } = session
    session.cursor = firstSeq - 1
    session.missed(this.log.position(cursor), this.log.position(firstSeq))
  }

  /** @returns the events looked at */
  private feedChunk(session: Session, { entries, upToSeq }: Chunk): number {
    let looked = 0
    session.peer.cork(() => {
      for (const entry of entries) {
        looked++
        if (entry.seq <= session.cursor) continue
        if (!this.offer(session, entry, false)) return
        session.cursor = entry.seq
      }
      session.cursor = Math.max(session.cursor, upToSeq)
      this.enqueue(session)
    })
    return looked + 1
  }

  /**
   * Sends an event that the session wants, and what its view shows of it.
   * @returns false where its socket has to drain first
   */
  private offer(session: Session, entry: LogEntry, inRing: boolean): boolean {
    const begun = session.begunSeq === entry.seq
    if (!begun && session.wants(entry) && !this.send(session, entry, session.wire, inRing)) return false
    if (!session.view?.isOpen(session, entry)) return true
    const shown = this.send(session, entry, session.view.encoderOf(session.wire), inRing)
    if (!shown) session.begunSeq = entry.seq
    else if (begun) session.begunSeq = 0
    return shown
  }

  private send(session: Session, entry: LogEntry, encoder: Encoder, inRing: boolean): boolean {
    if (session.peer.getBufferedAmount() > this.limits.bufferBytes) return false
    const bytesBefore = entry.bytes
    let frame: Uint8Array
    try {
      frame = entry.frame(encoder)
    } catch (error) {
      this.meters.unencodable(entry, error)
      return true
    }
    if (inRing) this.log.ring.grew(entry.bytes - bytesBefore)
    if (frame.length === 0) return true
    if (session.peer.send(frame, session.wire.binary) === 2) return false
    this.meters.caughtUp(session.wire.format, frame.length)
    return true
  }

  private finish(session: Session): void {
    // An early close of its socket within the cork leaves nothing to do.
    if (session.state === CLOSED) return
    session.stalledSinceMs = 0
    this.sessions.delete(session)
    this.live.turnLive(session)
  }
}
