import type { Consumer, ConsumerMessages, JetStreamClient, JetStreamManager, JsMsg } from 'nats'
import type { Logger } from 'pino'
import { reasonOf } from '../../errors.ts'
import { after, every, reportFault, runGuarded } from '../../guarded.ts'
import type { StoredMessage } from '../../log/event.ts'
import { type Bounds, type Consumption, EVENT_SUBJECTS, type Sink } from '../source.ts'
import { deliveredFrom, HEARTBEAT_MS, openConsumer, PULL_EXPIRES_MS, storedFrom } from './consumer.ts'
import { boundsOf, ensureStream, firstSeqAt, type StreamOptions, timeOf, unreadable } from './stream.ts'

/**
 * What the server may have on its way to us: so many messages, and about so many bytes. The server can count bytes
 * itself (`max_bytes`), but 2.9 stalls on it, so we choose the number of messages by their mean size: the stream's at
 * first, then that of what arrives. A server cuts off who has 64 MB waiting.
 */
const IN_FLIGHT_MESSAGES = 2_000
const IN_FLIGHT_BYTES = 8 * 1024 * 1024
/**
 * The mean has become so many times greater, or less, than the number was chosen for: the next consumer gets another.
 */
const OVER = 4
const UNDER = 16
const MEAN_OF_MESSAGES = 64
const RETRY_MS = 250
const RETRY_MS_MAX = 2_000
/** A reason that stays is told again after so long. */
const TOLD_AGAIN_MS = 60_000
/**
 * A stream that ends before what was read is taken to be cut short once it has done so for this long: a new leader in a
 * cluster may be late.
 */
const CUT_SHORT_MS = 2_000
const SILENT = 'the server fell silent'
/**
 * A stream that holds other subjects as well has gaps all the time: between two looks passes so much, and what comes
 * meanwhile waits.
 */
const GAP_LOOK_MS = 20
/** More than this does not wait for a look: it is read once more. */
const HELD_BYTES_MAX = 64 * 1024 * 1024
/** How often the consumer is asked what it still has. */
const LOOK_MS = 1_000
/** Looks in a row at which it has something and gave nothing. */
const STALLS_MAX = 5
/** nats.js gives the time of a message that is asked for by its sequence in floating-point nanoseconds. */
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
 * One consumer after another, each starting behind the last position seen: an outage, a server's restart, a consumer
 * that is gone or silent, or a pause ends one, and the next goes on without a gap. What arrives twice is dropped by its
 * sequence. Where sequences are missing, the stream is asked whether it still reaches back to them: then they were
 * deleted one by one, otherwise they are lost.
 */
export class NatsConsumption implements Consumption {
  /** Why it does not read at the moment; undefined while it does, or is paused. */
  trouble: string | undefined = 'the stream is not read yet'
  private readonly options: NatsConsumptionOptions
  private lastSeq: number
  /**
   * The last message that was read, and when it was stored: a stream that has another one there was cut short, and has
   * grown again.
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
  /** What came behind missing sequences, while the stream is asked about them. */
  private held: StoredMessage[] | undefined
  private heldBytes = 0
  private lookedMs = 0
  /** Up to here the stream has no event that was not given: what is missing is of other subjects. */
  private clearSeq = 0
  private wake: () => void = () => {}
  private readonly running: Promise<void>

  constructor(options: NatsConsumptionOptions) {
    this.options = options
    this.lastSeq = options.afterSeq
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

  /** The connection went or came: this consumer is over, the next one starts when it can. */
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
    // Once, it may be the machine that had no time. The next consumer goes on.
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
    // All of it comes again.
    this.held = undefined
    this.given = 0
    this.inFlightMax = Math.max(
      1,
      Math.min(IN_FLIGHT_MESSAGES, Math.floor(IN_FLIGHT_BYTES / Math.max(this.meanBytes, 1))),
    )
    const { consumer } = await openConsumer(js, jsm, stream.name, EVENT_SUBJECTS, this.lastSeq).catch(
      (error: unknown) => {
        throw unreadable(stream.name, error)
      },
    )
    this.replace(consumer)
    this.trouble = undefined
    if (this.stopped || this.paused || !this.options.connected()) return
    // nats.js writes into these options: they are this consumer's alone.
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
   * The consumer of before goes once there is the next one: left behind, it would stay on the server for a while, one
   * for each pause.
   */
  private replace(next: Consumer | undefined): void {
    void this.consumer?.delete().catch(() => {})
    this.consumer = next
  }

  private async checkStream(): Promise<void> {
    const { jsm, stream, log, sink } = this.options
    const { bounds, onlyEvents, meanBytes } = await ensureStream(jsm, stream, log)
    this.onlyEvents = onlyEvents
    if (this.meanBytes === 0) this.meanBytes = meanBytes
    const another = this.epoch !== '' && bounds.epoch !== this.epoch
    if (!another && bounds.lastSeq < this.lastSeq) this.waitWhetherCutShort(bounds)
    this.endsEarlySinceMs = 0
    const keptSeq = another ? bounds.firstSeq - 1 : await this.keptSeq(bounds)
    if (another || keptSeq < this.lastSeq) {
      log.warn(
        { stream: stream.name },
        another
          ? 'the stream is another one than before; clients with older positions are told'
          : 'the stream was cut short: it no longer has all that was read of it; clients are told',
      )
      this.lastSeq = keptSeq
      this.clearSeq = 0
      this.read = undefined
      sink.reset(another ? bounds : { ...bounds, lastSeq: keptSeq })
    }
    this.epoch = bounds.epoch
  }

  /** Up to where the stream still is what was read of it. */
  private async keptSeq(bounds: Bounds): Promise<number> {
    if (bounds.lastSeq < this.lastSeq) return bounds.lastSeq
    const { read } = this
    if (read === undefined) return this.lastSeq
    const { jsm, stream } = this.options
    const timeMs = await timeOf(jsm, stream.name, read.seq)
    if (timeMs === undefined || Math.abs(timeMs - read.timeMs) <= ROUNDING_MS) return this.lastSeq
    // What was stored after the cut is newer than all that was read.
    const newSeq = await firstSeqAt(jsm, stream.name, read.timeMs + 1 + ROUNDING_MS)
    return Math.max(bounds.firstSeq - 1, Math.min(newSeq, read.seq) - 1)
  }

  /** @throws while it may yet turn out to reach as far as before */
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
      // Whoever may publish to our inbox can send what is no message of a stream.
      reportFault('stream reader', error)
    }
  }

  private take(message: JsMsg): void {
    if (this.stopped) return
    const delivered = deliveredFrom(message)
    const { seq } = delivered
    // The connection lost one on its way to us: from there on once more.
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

  /** A consumer that somebody paused, or that the server forgot to serve, still sends heartbeats. */
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
        // What is wrong with the stream shows elsewhere, and at the next consumer.
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
    // Whatever it is, the next consumer begins behind what was given.
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
 * Deleting the stream under a consumer tells it nothing, and a pull may be forgotten: either shows in missing
 * heartbeats.
 */
async function stopWhenSilent(messages: ConsumerMessages): Promise<void> {
  for await (const { type } of await messages.status()) {
    if (type === 'heartbeats_missed') messages.stop(new Error(SILENT))
  }
}
