import pLimit from 'p-limit'
import type { Bounds, Source } from '../source/source.ts'
import type { EventEnvelope, StoredMessage } from './event.ts'
import type { Turns } from '../turns.ts'

/** Positions in a segment, unless the summary sets its own `span`. */
const SPAN = 16_384
/** Bytes requested at once for each subject. */
const PAGE_BYTES = 4 * 1024 * 1024
/** Segments read at once, across all queries. */
const READS_MAX = 4
const reads = pLimit(READS_MAX)
/** Messages, and about as many bytes, that are decoded at a time. */
const DECODED_MESSAGES = 128
const DECODED_BYTES = 256 * 1024
/** How long a segment may hold events that the stream has dropped; a full stream drops something all the time. */
const STALE_MS = 1_000

/** How a segment of the log is summarized. */
export interface SegmentSummary<P> {
  readonly make: () => P
  /** Takes in the next event. @returns roughly how many bytes the segment grew by */
  readonly add: (segment: P, event: EventEnvelope, bodyBytes: number) => number
  /** Positions in a segment. The smaller it is, the less is read to get what is new. */
  readonly span?: number
}

export interface LogSegmentsOptions<P> extends SegmentSummary<P> {
  readonly source: Source
  readonly app: string
  /** Further subjects of the application. */
  readonly subjects: readonly string[]
  /** Decodes a message. @throws if it is no event */
  readonly read: (message: StoredMessage) => EventEnvelope
  /** Event types; undefined: all types of the application. */
  readonly types: readonly string[] | undefined
  /** Memory for segments. */
  readonly bytesMax: number
  /** How far back queries go, in positions. */
  readonly positionsMax: number
  /** Shares the event loop among all queries. */
  readonly turns: Turns
}

interface Segment<P> {
  value: P
  bytes: number
  readonly afterSeq: number
  upToSeq: number
  /** How far callers want it to reach; whoever reads next reads that far, for all who wait. */
  wantedSeq: number
  readonly madeMs: number
  /** It outgrew its memory, so that only its newest part is here. */
  cut: boolean
  /** Settles once its latest read has ended. */
  ready: Promise<void>
}

/**
 * The stored log seen from its end, segment by segment, each summarized for one kind of query. Segments are read from
 * the source by subject, shared, and kept in bounded memory, the newest: a thousand clients that ask for their history
 * cost one read. Of the newest segment, only new events are read.
 */
export class LogSegments<P> {
  private readonly options: LogSegmentsOptions<P>
  private readonly span: number
  private readonly subjects: readonly string[]
  private readonly segments = new Map<number, Segment<P>>()
  private epoch = ''

  constructor(options: LogSegmentsOptions<P>) {
    this.options = options
    this.span = options.span ?? SPAN
    this.subjects = [
      ...(options.types?.map((type) => `events.${options.app}.${type}`) ?? [`events.${options.app}.>`]),
      ...options.subjects,
    ]
  }

  /**
   * Walks through what is stored now, the newest segment first.
   * @param look returns false once it has seen enough
   * @returns whether it saw everything, or enough
   * @throws BrokerError SERVICE_UNAVAILABLE while the source is out of reach
   */
  async walk(bounds: Bounds, look: (segment: P) => boolean): Promise<boolean> {
    if (bounds.epoch !== this.epoch) this.clear(bounds.epoch)
    if (bounds.firstSeq > bounds.lastSeq) return true
    const floorSeq = Math.max(bounds.firstSeq - 1, bounds.lastSeq - this.options.positionsMax)
    for (
      let number = Math.floor((bounds.lastSeq - 1) / this.span);
      number * this.span + this.span > floorSeq && number >= 0;
      number--
    ) {
      const segment = await this.segment(number, bounds)
      if (!(await this.options.turns.run(() => look(segment.value)))) return true
      if (segment.cut) return false
    }
    return floorSeq === bounds.firstSeq - 1
  }

  /** The stream was cut short or replaced: what was read from it no longer holds. */
  forget(): void {
    this.clear('')
  }

  private async segment(number: number, bounds: Bounds): Promise<Segment<P>> {
    const afterSeq = Math.max(number * this.span, bounds.firstSeq - 1)
    const upToSeq = Math.min((number + 1) * this.span, bounds.lastSeq)
    let segment = this.segments.get(number)
    const outdated =
      segment && segment.afterSeq < afterSeq && (segment.upToSeq <= afterSeq || Date.now() - segment.madeMs > STALE_MS)
    if (!segment || outdated) {
      segment = {
        value: this.options.make(),
        bytes: 0,
        afterSeq,
        upToSeq: afterSeq,
        wantedSeq: upToSeq,
        madeMs: Date.now(),
        cut: false,
        ready: Promise.resolve(),
      }
      this.segments.set(number, segment)
    }
    const current = segment
    current.wantedSeq = Math.max(current.wantedSeq, upToSeq)
    current.ready = current.ready.then(() =>
      current.upToSeq < upToSeq ? reads(() => this.extend(current)) : undefined,
    )
    try {
      await current.ready
    } catch (error) {
      if (this.segments.get(number) === current) this.segments.delete(number)
      throw error
    }
    return current
  }

  private async extend(segment: Segment<P>): Promise<void> {
    const upToSeq = segment.wantedSeq
    while (segment.upToSeq < upToSeq) {
      const pages = await Promise.all(this.subjects.map((subject) => this.read(subject, segment.upToSeq, upToSeq)))
      // Events of all subjects come in one order, so the page that ends first limits the others.
      const reached = Math.min(...pages.map((page) => page.reached))
      const messages = pages.flatMap((page) => page.messages).filter(({ seq }) => seq <= reached)
      await this.addAll(
        segment,
        // Patterns of subjects may overlap.
        messages.sort((a, b) => a.seq - b.seq).filter(({ seq }, index, all) => seq !== all[index - 1]?.seq),
      )
      segment.upToSeq = reached
    }
    this.evict()
  }

  /** Keeps the newest: every query begins there, and most end there. */
  private evict(): void {
    let bytes = 0
    for (const number of [...this.segments.keys()].sort((a, b) => b - a)) {
      bytes += this.segments.get(number)?.bytes ?? 0
      if (bytes > this.options.bytesMax) this.segments.delete(number)
    }
  }

  private async addAll(segment: Segment<P>, messages: readonly StoredMessage[]): Promise<void> {
    for (let done = 0; done < messages.length; )
      done = await this.options.turns.run(() => {
        const end = Math.min(done + DECODED_MESSAGES, messages.length)
        let [at, bytes] = [done, 0]
        for (; at < end && bytes < DECODED_BYTES; at++) {
          const message = messages[at] as StoredMessage
          this.add(segment, message)
          bytes += message.body.length
        }
        return at
      })
  }

  private async read(
    subject: string,
    afterSeq: number,
    upToSeq: number,
  ): Promise<{ messages: StoredMessage[]; reached: number }> {
    const messages = await this.options.source.read(afterSeq, this.span, { subject, upToSeq, bytes: PAGE_BYTES })
    const bytes = messages.reduce((sum, { body }) => sum + body.length, 0)
    return { messages, reached: bytes < PAGE_BYTES ? upToSeq : (messages[messages.length - 1] as StoredMessage).seq }
  }

  private add(segment: Segment<P>, message: StoredMessage): void {
    const { types, bytesMax, make, add, read } = this.options
    let grown: number
    try {
      const event = read(message)
      if (types !== undefined && !types.includes(event.type)) return
      grown = add(segment.value, event, message.body.length)
    } catch {
      // Not an event, or the contract's functions fail on it: that was reported when it came in.
      return
    }
    segment.bytes += grown
    if (segment.bytes <= bytesMax) return
    segment.value = make()
    segment.bytes = 0
    segment.cut = true
  }

  private clear(epoch: string): void {
    this.segments.clear()
    this.epoch = epoch
  }
}
