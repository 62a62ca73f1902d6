import { reportFault, runGuarded } from '../guarded.ts'
import type { Encoder, LogEntry } from '../log/entry.ts'
import type { Chunk } from '../log/backfill.ts'
import type { EventLog } from '../log/event-log.ts'
import { formatPosition } from '../log/position.ts'
import type { Meters } from '../meters.ts'
import { lowerDelivered } from './delivered.ts'
import { CATCHING_UP, CLOSED, type Subscriber } from './subscriber.ts'

export interface CatchUpLimits {
  /** Unsent bytes in a socket above which it gets no more events until it drains. */
  readonly bufferBytes: number
  /** A subscriber whose socket takes nothing for this long is closed. */
  readonly stallMs: number
}

interface Live {
  /** Live subscribers have been sent everything up to this sequence; a subscriber that has it too may turn live. */
  headSeq(): number
  turnLive(subscriber: Subscriber): void
}

/** The most events examined in a row for one subscriber, and for all of them in one turn of the event loop. */
const SLICE_EVENTS = 1_024
const TURN_EVENTS = 8_192
const SOURCE_RETRY_MS = 500

/**
 * Feeds subscribers that are catching up. Each has a cursor into the log that advances as fast as its own socket
 * drains. A subscriber that reaches the head turns live in the same tick, so it misses nothing and gets nothing twice.
 */
export class CatchUp {
  /** Subscribers fed from the log. */
  readonly subscribers = new Set<Subscriber>()
  private readonly log: EventLog
  private readonly meters: Meters
  private readonly limits: CatchUpLimits
  private readonly live: Live
  /** Subscribers waiting to be fed, in order. */
  private ready: Subscriber[] = []
  /** Subscribers that were live in this turn of the event loop (`arriving`), and in the previous one (`arrived`). */
  private arriving: Subscriber[] = []
  private arrived: Subscriber[] = []
  private scheduled = false
  /**
   * Chunks already read, for subscribers still waiting for their turn: a chunk that thousands wait for is not fed to
   * all of them in a single turn.
   */
  private readonly fetched = new Map<
    Subscriber,
    { readonly chunk: Chunk; readonly cursor: number; readonly life: number }
  >()
  /**
   * Subscribers that have everything so far and wait for more: long-polling ones, those with a projection, and those
   * with a start offset ahead of the head.
   */
  private readonly ahead = new Set<Subscriber>()

  constructor(log: EventLog, meters: Meters, limits: CatchUpLimits, live: Live) {
    this.log = log
    this.meters = meters
    this.limits = limits
    this.live = live
  }

  /**
   * Takes over a subscriber. One that was live until now gets its first turn only after a whole turn of the event loop:
   * by then uWS has sent or dropped everything published to it before, so nothing it is fed can overtake that.
   */
  add(subscriber: Subscriber): void {
    this.subscribers.add(subscriber)
    if (!subscriber.leaving || subscriber.queued) return this.enqueue(subscriber)
    subscriber.queued = true
    this.arriving.push(subscriber)
    this.schedule()
  }

  remove(subscriber: Subscriber): void {
    this.subscribers.delete(subscriber)
    this.ahead.delete(subscriber)
    this.fetched.delete(subscriber)
  }

  /** The socket has room again, or a shorter queue. */
  drained(subscriber: Subscriber): void {
    subscriber.stalledSinceMs = 0
    if (subscriber.state === CATCHING_UP) this.enqueue(subscriber)
  }

  /** The head moved. */
  advanced(): void {
    for (const subscriber of this.ahead) {
      this.ahead.delete(subscriber)
      this.enqueue(subscriber)
    }
  }

  /**
   * Either the stream was replaced: old cursors mean nothing, so every subscriber continues from the new head. Or it
   * was cut short: cursors and start offsets beyond the new head move back to it.
   */
  reset(epochBefore: string): void {
    const cutShort = epochBefore === this.log.epoch
    const headSeq = this.live.headSeq()
    // A copy: telling one subscriber may close others on its socket, and they missed just as much.
    for (const subscriber of [...this.subscribers]) {
      const before = subscriber.cursor
      subscriber.cursor = cutShort ? Math.min(before, headSeq) : headSeq
      if (!cutShort) subscriber.startOffsets = subscriber.delivered = subscriber.refiltered = undefined
      subscriber.joinedSeq = cutShort ? Math.min(subscriber.joinedSeq, headSeq) : 0
      for (const [room, seq] of subscriber.startOffsets ?? [])
        if (seq > headSeq) subscriber.startOffsets?.set(room, headSeq)
      lowerDelivered(subscriber.delivered, headSeq)
      lowerDelivered(subscriber.refiltered, headSeq)
      if (!cutShort || subscriber.begunSeq > headSeq) subscriber.begunSeq = 0
      subscriber.owner.missed(
        formatPosition(epochBefore, before),
        this.log.position(Math.max(subscriber.cursor, headSeq) + 1),
      )
      this.enqueue(subscriber)
    }
  }

  /** Closes subscribers whose socket took nothing for too long. Call about once a second. */
  sweep(nowMs: number): void {
    for (const subscriber of this.subscribers) {
      if (subscriber.peer.getBufferedAmount() <= this.limits.bufferBytes) continue
      if (subscriber.stalledSinceMs === 0) subscriber.stalledSinceMs = nowMs
      else if (nowMs - subscriber.stalledSinceMs > this.limits.stallMs) subscriber.owner.stalled()
    }
  }

  /** Subscribers that do not have everything yet. */
  get catchingUp(): number {
    let count = 0
    for (const { mayBeLive, cursor } of this.subscribers) if (mayBeLive || cursor < this.live.headSeq()) count++
    return count
  }

  /** How far behind the slowest subscriber is. */
  lag(nowMs: number): { events: number; seconds: number } {
    let lowest = Number.MAX_SAFE_INTEGER
    for (const { cursor } of this.subscribers) if (cursor < lowest) lowest = cursor
    if (lowest >= this.log.headSeq) return { events: 0, seconds: 0 }
    const { ring } = this.log
    const oldest = ring.at(ring.indexAfter(lowest))
    return { events: this.log.headSeq - lowest, seconds: oldest ? Math.max(0, nowMs - oldest.timeMs) / 1000 : 0 }
  }

  private enqueue(subscriber: Subscriber): void {
    if (subscriber.queued) return
    subscriber.queued = true
    this.ready.push(subscriber)
    this.schedule()
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    setImmediate(this.run)
  }

  private readonly run = (): void => {
    let budget = TURN_EVENTS
    for (const subscriber of this.arrived) {
      subscriber.leaving = false
      this.ready.push(subscriber)
    }
    this.arrived = this.arriving
    this.arriving = []
    const turn = this.ready
    this.ready = []
    let next = 0
    while (next < turn.length && budget > 0) {
      const subscriber = turn[next++] as Subscriber
      subscriber.queued = false
      if (subscriber.state === CATCHING_UP) budget -= this.feedGuarded(subscriber)
    }
    // Subscribers that got no turn go first.
    if (next < turn.length) this.ready = turn.slice(next).concat(this.ready)
    this.log.ring.shrink()
    this.scheduled = false
    if (this.ready.length > 0 || this.arrived.length > 0 || this.arriving.length > 0) this.schedule()
  }

  /**
   * A fault closes the subscriber it happened to, so that its client reconnects instead of waiting for events that
   * never come.
   */
  private feedGuarded(subscriber: Subscriber): number {
    try {
      return this.feed(subscriber)
    } catch (error) {
      this.broke(subscriber, error)
      return 1
    }
  }

  private broke(subscriber: Subscriber, error: unknown): void {
    reportFault('catching up', error)
    this.remove(subscriber)
    runGuarded('catching up', () => subscriber.owner.stalled())
  }

  /** Feeds one subscriber a slice. @returns the number of events examined */
  private feed(subscriber: Subscriber): number {
    const { ring } = this.log
    if (subscriber.cursor < ring.completeAfter) {
      const fetched = this.fetched.get(subscriber)
      this.fetched.delete(subscriber)
      // Meanwhile another `since` may have moved the cursor, or the stream may have been replaced: then it is read
      // again.
      if (fetched?.life === this.log.life && fetched.cursor === subscriber.cursor)
        return this.feedChunk(subscriber, fetched.chunk)
      runGuarded('catching up', () =>
        this.feedOlder(subscriber).catch((error: unknown) => this.broke(subscriber, error)),
      )
      return 1
    }
    let looked = 0
    subscriber.peer.cork(() => {
      const head = this.live.headSeq()
      let index = ring.indexAfter(subscriber.cursor)
      while (looked < SLICE_EVENTS) {
        const entry = ring.at(index)
        if (entry === undefined || entry.seq > head) {
          subscriber.cursor = Math.max(subscriber.cursor, head)
          break
        }
        if (!ring.superseded(entry) && !this.offer(subscriber, entry, true)) return
        subscriber.cursor = entry.seq
        index++
        looked++
      }
      if (subscriber.cursor < head) this.enqueue(subscriber)
      else if (subscriber.startOffsetMax > head) runGuarded('catching up', () => this.wait(subscriber))
      else if (subscriber.mayBeLive) this.finish(subscriber)
      else {
        subscriber.delivered = undefined
        this.ahead.add(subscriber)
      }
    })
    return looked + 1
  }

  /** Reads from the source what the ring no longer has. The subscriber is not queued again until that has arrived. */
  private async feedOlder(subscriber: Subscriber): Promise<void> {
    subscriber.queued = true
    const { cursor } = subscriber
    const { life } = this.log
    let chunk: Chunk | undefined
    let firstSeq = 0
    try {
      firstSeq = (await this.log.bounds()).firstSeq
      if (firstSeq <= cursor + 1) chunk = await this.log.older(cursor)
      // The chunk may lack events that the stream dropped while it was being read.
      firstSeq = this.log.firstSeq
    } catch {
      // The source is out of reach: the subscriber waits until it is back.
      await new Promise((resolve) => setTimeout(resolve, SOURCE_RETRY_MS))
    }
    subscriber.queued = false
    if (subscriber.state !== CATCHING_UP) return
    // If another `since` moved the cursor meanwhile, or the stream was replaced, feeding starts again from the new
    // cursor.
    if (subscriber.cursor === cursor && this.log.life === life) {
      if (firstSeq > cursor + 1) this.miss(subscriber, firstSeq)
      else if (chunk !== undefined) this.fetched.set(subscriber, { chunk, cursor, life })
    }
    this.enqueue(subscriber)
  }

  /**
   * The subscriber already has events that this broker has not read yet, so it waits for those that follow. If the
   * stream does not reach that far, the events came from another stream.
   */
  private async wait(subscriber: Subscriber): Promise<void> {
    subscriber.queued = true
    const { life } = this.log
    let lastSeq = Number.POSITIVE_INFINITY
    let asked = true
    try {
      lastSeq = (await this.log.bounds()).lastSeq
    } catch {
      asked = false
      await new Promise((resolve) => setTimeout(resolve, SOURCE_RETRY_MS))
    }
    subscriber.queued = false
    if (subscriber.state !== CATCHING_UP) return
    const headSeq = this.live.headSeq()
    // Meanwhile another `since` may have moved the cursor back.
    if (!asked || this.log.life !== life || subscriber.startOffsetMax <= headSeq || subscriber.cursor < headSeq)
      return this.enqueue(subscriber)
    this.ahead.add(subscriber)
    const { startOffsetMax } = subscriber
    if (lastSeq >= startOffsetMax) return
    for (const [room, seq] of subscriber.startOffsets ?? [])
      if (seq > lastSeq) subscriber.startOffsets?.set(room, lastSeq)
    subscriber.owner.missed(this.log.position(startOffsetMax), this.log.position(lastSeq + 1))
    this.enqueue(subscriber)
  }

  /**
   * The cursor never goes beyond what the log has read: a stream that is cut short before it is read that far gives the
   * sequences in between to other events.
   */
  private miss(subscriber: Subscriber, firstSeq: number): void {
    const { cursor } = subscriber
    subscriber.cursor = Math.min(firstSeq - 1, Math.max(this.log.ring.completeAfter, this.live.headSeq()))
    subscriber.owner.missed(this.log.position(cursor), this.log.position(firstSeq))
  }

  /** @returns the number of events examined */
  private feedChunk(subscriber: Subscriber, { entries, upToSeq }: Chunk): number {
    let looked = 0
    subscriber.peer.cork(() => {
      for (const entry of entries) {
        looked++
        if (entry.seq <= subscriber.cursor) continue
        if (!this.offer(subscriber, entry, false)) return
        subscriber.cursor = entry.seq
      }
      subscriber.cursor = Math.max(subscriber.cursor, upToSeq)
      this.enqueue(subscriber)
    })
    return looked + 1
  }

  /**
   * Sends an event and its projection, each if the subscriber wants it.
   * @returns false if the socket has to drain first
   */
  private offer(subscriber: Subscriber, entry: LogEntry, inRing: boolean): boolean {
    const begun = subscriber.begunSeq === entry.seq
    if (!begun && subscriber.wants(entry) && !this.send(subscriber, entry, subscriber.wire, inRing)) return false
    const { projection } = subscriber
    if (projection === undefined || !subscriber.wantsProjected(entry)) return true
    const shown = this.send(subscriber, entry, projection.encoderOf(subscriber.wire), inRing)
    if (!shown) subscriber.begunSeq = entry.seq
    else if (begun) subscriber.begunSeq = 0
    return shown
  }

  private send(subscriber: Subscriber, entry: LogEntry, encoder: Encoder, inRing: boolean): boolean {
    if (subscriber.peer.getBufferedAmount() > this.limits.bufferBytes) return false
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
    if (subscriber.peer.send(frame, subscriber.wire.binary) === 2) return false
    this.meters.caughtUp(subscriber.wire.format, frame.length)
    return true
  }

  private finish(subscriber: Subscriber): void {
    // If its socket was closed early, within the cork, nothing is left to do.
    if (subscriber.state === CLOSED) return
    subscriber.stalledSinceMs = 0
    this.subscribers.delete(subscriber)
    this.live.turnLive(subscriber)
  }
}
