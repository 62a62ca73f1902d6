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
  /** Reads and routes a stored message. @returns undefined if it is not an event of any application */
  readonly route: (message: StoredMessage, position: string) => LogEntry | undefined
  /** Forgets what was learned from events after this sequence: they no longer hold. */
  readonly forget?: (afterSeq: number) => void
}

/** If live delivery falls behind by more than this part of the ring, reading pauses until it has caught up. */
const PAUSE_PART = 0.25
/** For pausing, a ring counts as at least this large: pausing for a few events costs more than holding them. */
const RING_EVENTS_MIN = 256
const WARM_UP_LOOK_MS = 500
const BOUNDS_RECENT_MS = 20

/** Live delivery, which the log calls when there is something to do. */
export interface LogListener {
  /** Events were added. */
  appended(): void
  /**
   * The stream was replaced: old positions, which have that epoch, no longer mean anything. If the epoch is still the
   * same, the stream was cut short: positions after `headSeq` are given out again.
   */
  reset(epochBefore: string): void
}

/**
 * The log: the stream, with its newest part in memory. Live delivery walks it with `next`. Clients that are behind walk
 * it with cursors: first the events older than the ring (`older`), then the ring.
 */
export class EventLog {
  readonly ring: Ring
  epoch = ''
  epochBytes: Uint8Array = new Uint8Array()
  /** Sequence of the newest message seen, event or not. */
  headSeq = 0
  /** The stream's first sequence, as far as is known. */
  firstSeq = 0
  /** How often the log began anew: at its start, and whenever the stream was replaced or cut short. */
  life = 0
  private readonly options: EventLogOptions
  private readonly backfill: Backfill
  private consumption: Consumption | undefined
  private paused = false
  private warmedUp = false
  private stopped = false
  private asking: Promise<Bounds> | undefined
  /**
   * Gaps that live delivery has not reached yet: the first sequence the stream still had, and how many before it were
   * never read.
   */
  private readonly gaps: { readonly firstSeq: number; readonly count: number }[] = []
  /** Requests for the bounds so far, and the number of the last one whose answer counts. */
  private questions = 0
  private answered = 0
  /** The last known bounds, and when they came. */
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

  /** Fills the ring with the newest part of the stream, then continues live. Resolves once the ring is warm. */
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
            // Nobody is live yet. Once routed, the decoded event is not needed again, and it may be many times larger
            // than its body.
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
   * Call this before live delivery goes on to a sequence. From then on, clients that are behind find that the log no
   * longer has the lost events.
   * @returns how many events before that sequence were lost
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

  /** Live delivery is done with the entry that `next()` gave. */
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
   * The stream's current bounds; callers at the same time share one request. The ring forgets what the stream forgot.
   * @throws BrokerError SERVICE_UNAVAILABLE; Error if the stream was replaced or cut short and the log has not noticed
   *   yet
   */
  bounds(): Promise<Bounds> {
    this.asking ??= this.ask().finally(() => {
      this.asking = undefined
    })
    return this.asking
  }

  private async ask(): Promise<Bounds> {
    const { life, headSeq } = this
    const question = ++this.questions
    const bounds = await this.options.source.bounds()
    if (this.life !== life || bounds.epoch !== this.epoch || bounds.lastSeq < headSeq)
      throw new Error('the stream is another one than a moment ago')
    // What was not read yet may still come: the ring has all that follows the newest message read.
    this.ring.dropBefore(Math.min(bounds.firstSeq, this.headSeq + 1))
    // Of answers that overtake each other, the one that was asked for last counts.
    if (question > this.answered) {
      this.answered = question
      this.firstSeq = bounds.firstSeq
    }
    this.known = bounds
    this.knownMs = Date.now()
    return bounds
  }

  /**
   * Reads from the source. Checks afterwards that the stream is still the same, so that no message is another stream's.
   */
  private async read(afterSeq: number, limit: number): Promise<StoredMessage[]> {
    const { life } = this
    const messages = await this.options.source.read(afterSeq, limit)
    await this.ask()
    if (this.life !== life) throw new Error('the stream is another one than a moment ago')
    return messages
  }

  /**
   * The stream's bounds as they were a moment ago, so that thousands of clients coming back at once do not each wait
   * for the source. For a `seq` beyond them it asks again, so that no existing position is taken for a missing one.
   */
  async recentBounds(seq: number): Promise<Bounds> {
    if (this.known !== undefined && Date.now() - this.knownMs < BOUNDS_RECENT_MS && seq <= this.known.lastSeq)
      return this.known
    return this.bounds()
  }

  /** The next chunk of events after `seq`, which must be older than the ring (`ring.completeAfter`). */
  older(seq: number): Promise<Chunk> {
    return this.backfill.after(seq, this.ring.completeAfter)
  }

  /**
   * When the newest event up to a sequence was stored, ms since 1970.
   * @returns undefined if that is no longer known
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

  /**
   * If the stream ends in messages that are deleted or not ours, none shows that the ring is warm: asks the source
   * instead.
   */
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

  /** @returns whether it added an event */
  private append(message: StoredMessage): boolean {
    // A stream that was cut short may be read again from further back.
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

  /** Whether live delivery is behind by this part of the ring, or by large events that more than fill the ring. */
  private isBehind(part: number): boolean {
    const { backlog, bytes } = this.ring
    return (
      backlog > RING_EVENTS_MIN * part && (backlog > this.options.ringEvents * part || bytes > this.options.ringBytes)
    )
  }
}
