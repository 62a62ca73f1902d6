import type { Consumer, ConsumerMessages, JetStreamClient, JetStreamManager, JsMsg } from 'nats'
import type { Logger } from 'pino'
import { reasonOf } from '../../errors.ts'
import { after, every, reportFault, runGuarded } from '../../guarded.ts'
import type { StoredMessage } from '../../log/event.ts'
import type { Bounds, Consumption, Sink } from '../source.ts'
import { deliveredFrom, HEARTBEAT_MS, openConsumer, PULL_EXPIRES_MS, storedFrom } from './consumer.ts'
import {
  boundsOf,
  ensureStream,
  filterOf,
  firstSeqAt,
  type StreamOptions,
  timeOf,
  unreadable,
  unwantedOf,
} from './stream.ts'

/**
 * What the server may have on its way to us: this many messages, and about this many bytes. The server can count bytes
 * itself (`max_bytes`), but 2.9 stalls on it. So we choose the number of messages by their mean size: the stream's at
 * first, then that of the messages that arrive. A server cuts off a client that has 64 MB waiting.
 */
const IN_FLIGHT_MESSAGES = 2_000
const IN_FLIGHT_BYTES = 8 * 1024 * 1024
/**
 * When the bytes in flight, by the current mean, exceed `IN_FLIGHT_BYTES` by the factor `OVER`, or fall below it by the
 * factor `UNDER`, the next consumer gets another number of messages.
 */
const OVER = 4
const UNDER = 16
const MEAN_OF_MESSAGES = 64
const RETRY_MS = 250
const RETRY_MS_MAX = 2_000
/** A reason that persists is logged again after this time. */
const TOLD_AGAIN_MS = 60_000
/**
 * A stream that ends before the last message read counts as cut short only once it has done so for this long: a new
 * leader in a cluster may be late.
 */
const CUT_SHORT_MS = 2_000
const SILENT = 'the server fell silent'
/**
 * A stream that also holds other subjects has gaps all the time. It is asked about them at most once in this time; what
 * arrives meanwhile waits.
 */
const GAP_LOOK_MS = 20
/** Once more bytes than this are waiting, they are dropped and read again. */
const HELD_BYTES_MAX = 64 * 1024 * 1024
/** How often the consumer is asked what it still has. */
const LOOK_MS = 1_000
/** A consumer ends after this many looks in a row at which it had messages but gave none. */
const STALLS_MAX = 5
/** Tolerance: nats.js gives the time of a message requested by sequence in floating-point nanoseconds. */
const ROUNDING_MS = 1

export interface NatsConsumptionOptions {
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly stream: StreamOptions
  readonly log: Logger
  readonly sink: Sink
  readonly afterSeq: number
  readonly connected: () => boolean
}

/**
 * Reads with one consumer after another, each starting after the last position seen. An outage, a server restart, a
 * lost or silent consumer, or a pause ends one, and the next continues without a gap. Messages that arrive twice are
 * dropped by their sequence. If sequences are missing, the stream is asked whether it still reaches back to them: if
 * so, they were deleted one by one; otherwise they are lost.
 */
export class NatsConsumption implements Consumption {
  /** Why it is not reading at the moment; undefined while it reads, or is paused. */
  trouble: string | undefined = 'the stream is not read yet'
  private readonly options: NatsConsumptionOptions
  private lastSeq: number
  private readonly unwanted: ((subject: string) => boolean) | undefined
  /**
   * The last message read, and when it was stored. A stream that has another message in its place was cut short, and
   * has grown again.
   */
  private read: { readonly seq: number; readonly timeMs: number } | undefined
  private epoch = ''
  private stopped = false
  private paused = false
  private messages: ConsumerMessages | undefined
  private consumer: Consumer | undefined
  private onlyEvents = false
  private meanBytes = 0
  private inFlightMax = IN_FLIGHT_MESSAGES
  /** Messages that this consumer has given. */
  private given = 0
  private failures = 0
  private toldMs = 0
  private endsEarlySinceMs = 0
  /** Messages that came after missing sequences, while the stream is asked about those. */
  private held: StoredMessage[] | undefined
  private heldBytes = 0
  private lookedMs = 0
  /** Up to here the stream has no event that was not given: missing sequences belong to other subjects. */
  private clearSeq = 0
  private wake: () => void = () => {}
  private readonly running: Promise<void>

  constructor(options: NatsConsumptionOptions) {
    this.options = options
    this.lastSeq = options.afterSeq
    this.unwanted = unwantedOf(options.stream.subjects)
    this.running = this.run()
  }

  pause(): void {
    this.paused = true
    this.interrupt()
  }

  resume(): void {
    this.paused = false
    this.wake()
  }

  /** The connection was lost or is back: this consumer ends, and the next one starts when it can. */
  interrupt(): void {
    this.messages?.stop()
    this.wake()
  }

  async stop(): Promise<void> {
    this.stopped = true
    this.interrupt()
    await this.running
    if (this.options.connected()) this.replace(undefined)
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      if (this.paused || !this.options.connected()) await this.woken()
      else {
        try {
          await this.consumeOnce()
        } catch (error) {
          if (this.stopped) return
          this.failed(reasonOf(error))
          await this.woken(Math.min(RETRY_MS * 2 ** this.failures++, RETRY_MS_MAX))
        }
      }
    }
  }

  private async woken(atLatestMs?: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined
    await new Promise<void>((resolve) => {
      this.wake = resolve
      if (atLatestMs !== undefined) timer = after('stream reader', atLatestMs, resolve)
    })
    clearTimeout(timer)
  }

  private failed(reason: string): void {
    if (!this.options.connected()) return
    const trouble = `the stream cannot be read: ${reason}`
    const now = Date.now()
    // A single silence may only mean that the machine had no time. The next consumer goes on.
    if (reason === SILENT && this.failures === 0) this.options.log.info({ reason }, 'reading the stream anew')
    else if (trouble !== this.trouble || now - this.toldMs > TOLD_AGAIN_MS) {
      this.toldMs = now
      this.options.log.warn({ reason }, 'reading the stream failed, trying again')
    }
    this.trouble = trouble
  }

  private async consumeOnce(): Promise<void> {
    const { js, jsm, stream } = this.options
    await this.checkStream()
    // The messages held so far come again.
    this.held = undefined
    this.given = 0
    this.inFlightMax = Math.max(
      1,
      Math.min(IN_FLIGHT_MESSAGES, Math.floor(IN_FLIGHT_BYTES / Math.max(this.meanBytes, 1))),
    )
    const { consumer } = await openConsumer(js, jsm, stream.name, filterOf(stream.subjects), this.lastSeq).catch(
      (error: unknown) => {
        throw unreadable(stream.name, error)
      },
    )
    this.replace(consumer)
    this.trouble = undefined
    if (this.stopped || this.paused || !this.options.connected()) return
    // nats.js writes into these options, so each consumer needs its own.
    const messages = await consumer.consume({
      max_messages: this.inFlightMax,
      expires: PULL_EXPIRES_MS,
      idle_heartbeat: HEARTBEAT_MS,
      abort_on_missing_resource: true,
      callback: (message) => this.arrive(message),
    })
    this.messages = messages
    runGuarded('stream status', () => stopWhenSilent(messages))
    if (this.stopped || this.paused || !this.options.connected()) messages.stop()
    const startedMs = Date.now()
    const look = this.looker(consumer, messages)
    const ended = await messages.closed().finally(() => clearInterval(look))
    if (Date.now() - startedMs > RETRY_MS_MAX) this.failures = 0
    if (ended instanceof Error) throw ended
  }

  /**
   * Deletes the previous consumer once the next one exists. Left behind, it would stay on the server for a while, one
   * for each pause.
   */
  private replace(next: Consumer | undefined): void {
    void this.consumer?.delete().catch(() => {})
    this.consumer = next
  }

  private async checkStream(): Promise<void> {
    const { jsm, stream, log, sink } = this.options
    const { bounds, onlyEvents, meanBytes } = await ensureStream(jsm, stream, log)
    this.onlyEvents = onlyEvents || this.unwanted !== undefined
    if (this.meanBytes === 0) this.meanBytes = meanBytes
    const another = this.epoch !== '' && bounds.epoch !== this.epoch
    if (!another && bounds.lastSeq < this.lastSeq) this.waitWhetherCutShort(bounds)
    this.endsEarlySinceMs = 0
    const keptSeq = another ? bounds.firstSeq - 1 : await this.keptSeq(bounds)
    if (another || keptSeq < this.lastSeq) {
      log.warn(
        { stream: stream.name },
        another
          ? 'the stream was replaced; clients with older positions are told'
          : 'the stream was cut short: it no longer has all that was read of it; clients are told',
      )
      this.lastSeq = keptSeq
      this.clearSeq = 0
      this.read = undefined
      sink.reset(another ? bounds : { ...bounds, lastSeq: keptSeq })
    }
    this.epoch = bounds.epoch
  }

  /** The sequence up to which the stream is still the one that was read. */
  private async keptSeq(bounds: Bounds): Promise<number> {
    if (bounds.lastSeq < this.lastSeq) return bounds.lastSeq
    const { read } = this
    if (read === undefined) return this.lastSeq
    const { jsm, stream } = this.options
    const timeMs = await timeOf(jsm, stream.name, read.seq)
    if (timeMs === undefined || Math.abs(timeMs - read.timeMs) <= ROUNDING_MS) return this.lastSeq
    // Messages stored after the cut are newer than all that were read.
    const newSeq = await firstSeqAt(jsm, stream.name, read.timeMs + 1 + ROUNDING_MS)
    return Math.max(bounds.firstSeq - 1, Math.min(newSeq, read.seq) - 1)
  }

  /** @throws Error while the stream may yet turn out to reach as far as before */
  private waitWhetherCutShort({ lastSeq }: Bounds): void {
    const now = Date.now()
    if (this.endsEarlySinceMs === 0) this.endsEarlySinceMs = now
    if (now - this.endsEarlySinceMs < CUT_SHORT_MS)
      throw new Error(`it ends at ${lastSeq}, and was read up to ${this.lastSeq}`)
  }

  private arrive(message: JsMsg): void {
    try {
      this.take(message)
    } catch (error) {
      // Anyone who may publish to our inbox can send messages that come from no stream.
      reportFault('stream reader', error)
    }
  }

  private take(message: JsMsg): void {
    if (this.stopped) return
    const delivered = deliveredFrom(message)
    const { seq } = delivered
    // The connection lost a message on its way to us: reads again from there.
    if (delivered.deliverySeq !== ++this.given) return this.interrupt()
    this.measure(message.data.length)
    if (seq <= this.lastSeq) return
    const stored = storedFrom(message, delivered)
    if (this.held === undefined && seq === this.lastSeq + 1) return this.give(stored)
    if (this.held === undefined) {
      const held: StoredMessage[] = (this.held = [])
      this.heldBytes = 0
      runGuarded('stream gap', () => this.lookIntoGap(held))
    }
    this.held.push(stored)
    this.heldBytes += stored.body.length
    if (this.heldBytes > HELD_BYTES_MAX) this.interrupt()
  }

  private give(stored: StoredMessage): void {
    this.lastSeq = stored.seq
    this.read = stored
    if (this.unwanted?.(stored.subject)) return
    try {
      this.options.sink.message(stored)
    } catch (error) {
      reportFault('stream reader', error)
    }
  }

  private measure(bytes: number): void {
    this.meanBytes += (bytes - this.meanBytes) / MEAN_OF_MESSAGES
    const inFlight = this.meanBytes * this.inFlightMax
    if (
      (inFlight > IN_FLIGHT_BYTES * OVER && this.inFlightMax > 1) ||
      (inFlight < IN_FLIGHT_BYTES / UNDER && this.inFlightMax < IN_FLIGHT_MESSAGES)
    )
      this.messages?.stop()
  }

  /**
   * Ends a consumer that sends heartbeats but no events, because somebody paused it or the server forgot to serve it.
   */
  private looker(consumer: Consumer, messages: ConsumerMessages): NodeJS.Timeout {
    let stalls = 0
    let looking = false
    return every('stream look', LOOK_MS, async () => {
      if (looking || this.paused || this.messages !== messages) return
      looking = true
      const { given } = this
      try {
        const bounds = this.onlyEvents ? undefined : await boundsOf(this.options.jsm, this.options.stream.name)
        const { num_pending, delivered } = await consumer.info()
        if (this.messages !== messages || this.given !== given) stalls = 0
        else if (num_pending > 0) stalls++
        else {
          stalls = 0
          if (bounds?.epoch === this.epoch && this.held === undefined && delivered.consumer_seq === given)
            this.clearSeq = bounds.lastSeq
        }
      } catch {
        // Trouble with the stream shows elsewhere, and at the next consumer.
      } finally {
        looking = false
      }
      if (stalls >= STALLS_MAX) messages.stop(new Error('its consumer has events and gives none'))
    })
  }

  private async lookIntoGap(held: readonly StoredMessage[]): Promise<void> {
    const { jsm, stream, log, sink } = this.options
    const waitMs = this.lookedMs + GAP_LOOK_MS - Date.now()
    if (waitMs > 0 && !this.onlyEvents)
      await new Promise((resolve) => setTimeout(resolve, Math.min(waitMs, GAP_LOOK_MS)))
    const bounds = await boundsOf(jsm, stream.name).catch(() => undefined)
    if (this.held !== held || this.stopped) return
    this.lookedMs = Date.now()
    this.held = undefined
    // Whatever happened, the next consumer begins after the last message given.
    if (bounds?.epoch !== this.epoch) return this.interrupt()
    for (const message of held) {
      if (message.seq <= this.lastSeq) continue
      const nextSeq = Math.max(this.lastSeq, this.clearSeq) + 1
      const firstSeq = Math.min(bounds.firstSeq, message.seq)
      if (firstSeq > nextSeq) {
        log.warn(
          { stream: stream.name, from: nextSeq, to: firstSeq - 1 },
          'the stream forgot events before they were read: its limits are too small; clients are told',
        )
        sink.lost(firstSeq)
      }
      this.give(message)
    }
  }
}

/**
 * Deleting the stream under a consumer tells it nothing, and a pull may be forgotten: both show as missing heartbeats.
 */
async function stopWhenSilent(messages: ConsumerMessages): Promise<void> {
  for await (const { type } of await messages.status()) {
    if (type === 'heartbeats_missed') messages.stop(new Error(SILENT))
  }
}
