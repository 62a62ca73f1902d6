import { type Consumer, type ConsumerMessages, DeliverPolicy, type JetStreamClient, type JetStreamManager, type JsMsg } from 'nats'
import type { Logger } from 'pino'
import { reasonOf } from '../../errors.ts'
import { MSGPACK_TYPE, type StoredMessage } from '../../log/event.ts'
import { type Consumption, EVENT_SUBJECTS, type Sink } from '../source.ts'
import { boundsOf, ensureStream, lookAt, type StreamOptions } from './stream.ts'

/** Unread bytes that the server may have on their way to us. Above NATS' largest message. */
const IN_FLIGHT_BYTES = 8 * 1024 * 1024
const RETRY_MS = 250

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
 * One ordered consumer after another, each starting behind the last position seen: an outage, a server's restart or a
 * pause ends one, and the next goes on without a gap. What arrives twice is dropped by its sequence. Where sequences are missing, the
 * stream is asked whether it still reaches back to them: then they were deleted one by one, otherwise they are lost.
 */
export class NatsConsumption implements Consumption {
  private readonly options: NatsConsumptionOptions
  private lastSeq: number
  private epoch = ''
  private stopped = false
  private paused = false
  private messages: ConsumerMessages | undefined
  private consumer: Consumer | undefined
  private onlyEvents = false
  /** What came behind missing sequences, while the stream is asked about them. */
  private held: JsMsg[] | undefined
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
      if (this.paused || !this.options.connected()) {
        await new Promise<void>((resolve) => {
          this.wake = resolve
        })
        continue
      }
      try {
        await this.consumeOnce()
      } catch (error) {
        if (this.stopped) return
        if (this.options.connected()) this.options.log.warn({ reason: reasonOf(error) }, 'reading the stream failed, trying again')
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
  }

  private async consumeOnce(): Promise<void> {
    const { js, jsm, stream } = this.options
    await this.checkStream()
    // All of it comes again.
    this.held = undefined
    const consumer = await js.consumers.get(stream.name, {
      filterSubjects: EVENT_SUBJECTS,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.lastSeq + 1,
    })
    const messages = await consumer.consume({ max_bytes: IN_FLIGHT_BYTES, callback: (message) => this.take(message) })
    if (this.stopped || this.paused || !this.options.connected()) messages.stop()
    this.messages = messages
    // Deleting the stream under a consumer tells it nothing: its end shows in the consumer's missing heartbeats.
    void this.stopWhenStreamGoes(messages, jsm)
    this.replace(consumer)
    await messages.closed()
  }

  /** The consumer of before goes once the next one reads: left behind, it would stay on the server for minutes, one for each pause. */
  private replace(next: Consumer | undefined): void {
    void this.consumer?.delete().catch(() => {})
    this.consumer = next
  }

  private async stopWhenStreamGoes(messages: ConsumerMessages, jsm: JetStreamManager): Promise<void> {
    for await (const status of await messages.status()) {
      if (status.type !== 'heartbeats_missed' && status.type !== 'stream_not_found' && status.type !== 'consumer_not_found' && status.type !== 'consumer_deleted') continue
      const bounds = await boundsOf(jsm, this.options.stream.name).catch(() => undefined)
      if (bounds?.epoch === this.epoch) continue
      // A server tells of the deletion before it is done with it: made again at once, the stream could inherit files.
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      messages.stop()
    }
  }

  private async checkStream(): Promise<void> {
    const { jsm, stream, log, sink } = this.options
    await ensureStream(jsm, stream, log)
    const { bounds, onlyEvents } = await lookAt(jsm, stream.name)
    this.onlyEvents = onlyEvents
    const another = this.epoch !== '' && bounds.epoch !== this.epoch
    if (another || bounds.lastSeq < this.lastSeq) {
      log.warn({ stream: stream.name }, 'the stream is another one than before; clients with older positions are told')
      this.lastSeq = bounds.firstSeq - 1
      sink.reset(bounds)
    }
    this.epoch = bounds.epoch
  }

  private take(message: JsMsg): void {
    const { seq } = message
    if (seq <= this.lastSeq || this.stopped) return
    if (this.held !== undefined) this.held.push(message)
    else if (seq === this.lastSeq + 1 || !this.onlyEvents) this.give(message)
    else {
      this.held = [message]
      void this.lookIntoGap(this.held)
    }
  }

  private give(message: JsMsg): void {
    this.lastSeq = message.seq
    this.options.sink.message(storedFrom(message))
  }

  private async lookIntoGap(held: readonly JsMsg[]): Promise<void> {
    const { jsm, stream, log, sink } = this.options
    const bounds = await boundsOf(jsm, stream.name).catch(() => undefined)
    if (this.held !== held || this.stopped) return
    this.held = undefined
    // Whatever it is, the next consumer begins behind what was given.
    if (bounds?.epoch !== this.epoch) return this.interrupt()
    for (const message of held) {
      const nextSeq = this.lastSeq + 1
      if (message.seq < nextSeq) continue
      const firstSeq = Math.min(bounds.firstSeq, message.seq)
      if (firstSeq > nextSeq) {
        log.warn({ stream: stream.name, from: nextSeq, to: firstSeq - 1 }, 'the stream forgot events before they were read: its limits are too small; clients are told')
        sink.lost(firstSeq)
      }
      this.give(message)
    }
  }
}

export function storedFrom(message: JsMsg): StoredMessage {
  return {
    seq: message.seq,
    timeMs: Math.floor(message.info.timestampNanos / 1e6),
    subject: message.subject,
    // A copy: the client's view would keep the whole network chunk alive in the ring.
    body: message.data.slice(),
    msgpack: message.headers !== undefined && message.headers.get('Content-Type') === MSGPACK_TYPE,
  }
}
