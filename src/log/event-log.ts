import { runGuarded } from '../guarded.ts'
import type { Bounds, Consumption, Sink, Source } from '../source/source.ts'
import { Backfill, type Chunk } from './backfill.ts'
import type { LogEntry } from './entry.ts'
import type { StoredMessage } from './event.ts'
import { formatPosition } from './position.ts'
import { Ring } from './ring.ts'

export interface EventLogOptions {
  readonly source: Source
  readonly ringEvents: number
  readonly ringBytes: number
  readonly backfillBytes: number
  /** Reads and routes a stored message. @returns undefined for one that is nobody's event */
  readonly route: (message: StoredMessage, position: string) => LogEntry | undefined
  /** What was learned from events after this sequence is no longer true. */
  readonly forget?: (afterSeq: number) => void
}

/** Live delivery further behind than this part of the ring: reading pauses until it has caught up. */
const PAUSE_PART = 0.25
/** No ring is taken to be smaller than this: to pause for a few events costs more than to hold them. */
const RING_EVENTS_MIN = 256
const WARM_UP_LOOK_MS = 500
const BOUNDS_RECENT_MS = 20

/** Live delivery: it is told when there is something to do. */
export interface LogListener {
  /** Events were added. */
  appended(): void
  /**
   * The stream is another one: positions of before, of that epoch, no longer mean anything. Where the epoch is the
   * same, the stream was cut short: positions after `headSeq` are given anew.
   */
  reset(epochBefore: string): void
}

/**
 * The log: the stream, with its newest part in memory. Live delivery walks it with `next`; clients that are behind
 * walk it with cursors, first what is older than the ring (`older`), then the ring.
 */
export class EventLog {
  readonly ring: Ring
  epoch = ''
  epochBytes: Uint8Array = new Uint8Array()
  /** Sequence of the newest message seen, event or not. */
  headSeq = 0
  /** The stream begins here, or further on: so far as is known. */
  firstSeq = 0
  /** How often the stream was another one. */
  life = 0
  private readonly options: EventLogOptions
  private readonly backfill: Backfill
  private consumption: Consumption | undefined
  private paused = false
  private warmedUp = false
  private stopped = false
  private asking: Promise<Bounds> | undefined
  /**
   * Where the stream had forgotten what came before, and how much of it was never read. Live delivery has yet to get
   * there.
   */
  private readonly gaps: { readonly firstSeq: number; readonly count: number }[] = []
  /** The last answer, and when it came. */
  private known: Bounds | undefined
  private knownMs = 0

  constructor(options: EventLogOptions) {
    this.options = options
    this.ring = new Ring(options.ringEvents, options.ringBytes)
    this.backfill = new Backfill(
      { read: (afterSeq, limit) => this.read(afterSeq, limit) },
      options.backfillBytes,
      (message) => options.route(message, this.position(message.seq)),
    )
  }

  position(seq: number): string {
    return formatPosition(this.epoch, seq)
  }

  /** Fills the ring with the newest part of the stream, then goes on live. Resolves when the ring is warm. */
  async start(listener: LogListener): Promise<void> {
    const bounds = await this.options.source.bounds()
    const afterSeq = Math.max(bounds.firstSeq - 1, bounds.lastSeq - this.options.ringEvents)
    this.begin(bounds.epoch, afterSeq)
    await new Promise<void>((resolve) => {
      const warm = () => {
        this.warmedUp = true
        resolve()
      }
      if (afterSeq >= bounds.lastSeq) warm()
      const sink: Sink = {
        message: (message) => {
          const isEvent = this.append(message)
          if (this.warmedUp) return listener.appended()
          if (isEvent) {
            // Nobody is live yet: what was decoded to route it is not needed again, and may be many times the size of
            // its body.
            this.ring.next()?.forget()
            this.ring.delivered()
          }
          if (message.seq >= bounds.lastSeq) warm()
        },
        reset: (anew) => {
          const { epoch } = this
          const cutShort = anew.epoch === epoch
          this.begin(anew.epoch, cutShort ? anew.lastSeq : anew.firstSeq - 1)
          this.options.forget?.(cutShort ? anew.lastSeq : 0)
          if (!this.warmedUp) warm()
          listener.reset(epoch)
        },
        lost: (firstSeq) => {
          this.gaps.push({ firstSeq, count: firstSeq - 1 - this.headSeq })
        },
      }
      this.consumption = this.options.source.consume(afterSeq, sink)
      runGuarded('warming up', () => this.warmAtEnd(warm))
    })
  }

  /** The next event for live delivery. */
  next(): LogEntry | undefined {
    return this.ring.next()
  }

  /**
   * To be asked before live delivery goes on to a sequence: how many events before it were lost. From then on clients
   * that are behind find that the log no longer has them.
   */
  passGaps(seq: number): number {
    let lost = 0
    while (this.gaps[0] !== undefined && this.gaps[0].firstSeq <= seq) {
      const { firstSeq, count } = this.gaps.shift() as { firstSeq: number; count: number }
      this.ring.dropBefore(firstSeq)
      lost += count
    }
    return lost
  }

  /** Live delivery is done with `next()`. */
  delivered(entry: LogEntry): void {
    entry.forget()
    this.ring.delivered()
    this.ring.shrink()
    if (this.paused && !this.isBehind(PAUSE_PART / 2)) {
      this.paused = false
      this.consumption?.resume()
    }
  }

  /**
   * The stream's bounds now; callers at the same time share one question. The ring forgets what the stream forgot.
   * @throws BrokerError SERVICE_UNAVAILABLE; Error where the stream is another one, or was cut short, which the log has
   *   yet to notice
   */
  bounds(): Promise<Bounds> {
    this.asking ??= this.ask().finally(() => {
      this.asking = undefined
    })
    return this.asking
  }

  private async ask(): Promise<Bounds> {
    const { life, headSeq } = this
    const bounds = await this.options.source.bounds()
    if (this.life !== life || bounds.epoch !== this.epoch || bounds.lastSeq < headSeq)
      throw new Error('the stream is another one than a moment ago')
    this.ring.dropBefore(bounds.firstSeq)
    this.firstSeq = Math.max(this.firstSeq, bounds.firstSeq)
    this.known = bounds
    this.knownMs = Date.now()
    return bounds
  }

  /** What the source has under this log's positions. Asked before and after, so that none of it is another stream's. */
  private async read(afterSeq: number, limit: number): Promise<StoredMessage[]> {
    const { life } = this
    const messages = await this.options.source.read(afterSeq, limit)
    await this.ask()
    if (this.life !== life) throw new Error('the stream is another one than a moment ago')
    return messages
  }

  /**
   * The stream's bounds, as they were a moment ago: thousands of clients that come back at once need not wait for the
   * source each. What lies past them is asked for, so that no position which exists is taken for one that does not.
   */
  async recentBounds(seq: number): Promise<Bounds> {
    if (this.known !== undefined && Date.now() - this.knownMs < BOUNDS_RECENT_MS && seq <= this.known.lastSeq)
      return this.known
    return this.bounds()
  }

  /** The next chunk of events after `seq`, which is older than the ring (`ring.completeAfter`). */
  older(seq: number): Promise<Chunk> {
    return this.backfill.after(seq, this.ring.completeAfter)
  }

  /**
   * When the newest event up to a sequence was stored, ms since 1970.
   * @returns undefined where that is not known any more
   */
  async timeOf(seq: number): Promise<number | undefined> {
    const { ring } = this
    const inRing = ring.at(ring.indexAfter(seq) - 1)
    const upToSeq = Math.min(seq, ring.completeAfter)
    if (inRing !== undefined || upToSeq === 0) return inRing?.timeMs
    const { entries } = await this.older(upToSeq - 1)
    return entries.findLast((entry) => entry.seq <= seq)?.timeMs
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.consumption?.stop()
  }

  /** Where the stream ends in messages that are not ours, or were deleted, none of them tells that this was all. */
  private async warmAtEnd(warm: () => void): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, WARM_UP_LOOK_MS))
      if (this.warmedUp || this.stopped) return
      const { headSeq } = this
      const rest = await this.options.source.read(headSeq, 1).catch(() => undefined)
      if (rest?.length === 0 && this.headSeq === headSeq) warm()
    }
  }

  private begin(epoch: string, floorSeq: number): void {
    this.life++
    this.firstSeq = 0
    this.epoch = epoch
    this.known = undefined
    this.epochBytes = Buffer.from(epoch)
    this.headSeq = floorSeq
    this.ring.reset(floorSeq)
    this.gaps.length = 0
    this.backfill.clear()
  }

  /** @returns whether it is somebody's event */
  private append(message: StoredMessage): boolean {
    // A stream that was cut short may be read once more from further back.
    if (message.seq <= this.headSeq) return false
    this.headSeq = message.seq
    const entry = this.options.route(message, this.position(message.seq))
    if (!entry) return false
    this.ring.append(entry)
    if (!this.paused && this.warmedUp && this.isBehind(PAUSE_PART)) {
      this.paused = true
      this.consumption?.pause()
    }
    return true
  }

  /** Whether live delivery is: by this part of the ring, or by large events that fill more than all of it. */
  private isBehind(part: number): boolean {
    const { backlog, bytes } = this.ring
    return (
      backlog > RING_EVENTS_MIN * part && (backlog > this.options.ringEvents * part || bytes > this.options.ringBytes)
    )
  }
}
