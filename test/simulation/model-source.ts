import { BrokerError } from '../../src/errors.ts'
import type { StoredMessage } from '../../src/log/event.ts'
import type { Bounds, Consumption, KeyValue, Sink, Source } from '../../src/source/source.ts'

/**
 * A stream in memory whose every step the test takes: what is stored reaches its reader, and questions are answered,
 * only when told to. It can forget its beginning, lose its end, be another one, and be out of reach.
 */
export class ModelSource implements Source {
  readonly kind = 'nats'
  connected = true
  readonly troubles: readonly string[] = []
  epoch = 'e1'
  firstSeq = 1
  messages: StoredMessage[] = []
  /** Questions on their way, in the order in which they were asked. */
  readonly questions: (() => void)[] = []
  /** So many of the next readings fail: they ended early. */
  failures = 0
  /** It lost its end, and its reader has yet to hear of it. */
  cutShort = false
  /** Whether questions are answered at once. */
  prompt = false
  lives = 1
  private endSeq = 0
  private sink: Sink | undefined
  private paused = false
  /** Where its reader is, and in which life of the stream. */
  private readSeq = 0
  private readEpoch = ''

  get lastSeq(): number {
    return this.endSeq
  }

  store(subject: string, body: string, timeMs = 0): number {
    const seq = ++this.endSeq
    this.messages.push({ seq, timeMs, subject, body: Buffer.from(body), msgpack: false })
    return seq
  }

  /** Forgets what comes before a sequence. */
  trim(firstSeq: number): void {
    this.firstSeq = Math.max(this.firstSeq, Math.min(firstSeq, this.lastSeq + 1))
    this.messages = this.messages.filter(({ seq }) => seq >= this.firstSeq)
  }

  /** Deletes one message of those in between. */
  remove(seq: number): void {
    if (seq > this.firstSeq && seq < this.lastSeq)
      this.messages = this.messages.filter((message) => message.seq !== seq)
  }

  /**
   * Loses what comes after a sequence; the stream stays what it is, and gives these sequences anew once that was
   * noticed.
   */
  cut(lastSeq: number): void {
    if (lastSeq < 1) return
    this.firstSeq = Math.min(this.firstSeq, lastSeq + 1)
    this.messages = this.messages.filter(({ seq }) => seq <= lastSeq)
    this.endSeq = lastSeq
    this.cutShort = this.readEpoch === this.epoch && lastSeq < this.readSeq
  }

  /** Another stream under the same name. */
  renew(): void {
    this.epoch = `e${++this.lives}`
    this.firstSeq = 1
    this.endSeq = 0
    this.messages = []
    this.cutShort = false
  }

  /** Whether its reader has something to get. */
  get readable(): boolean {
    return (
      this.connected &&
      !this.paused &&
      this.sink !== undefined &&
      (this.readEpoch !== this.epoch ||
        this.lastSeq < this.readSeq ||
        this.messages.some(({ seq }) => seq > this.readSeq))
    )
  }

  /** Its reader gets the next messages, or hears what became of the stream. */
  deliver(count = Number.POSITIVE_INFINITY): void {
    const { sink } = this
    if (!sink || !this.readable) return
    const bounds = this.boundsNow()
    if (this.readEpoch !== bounds.epoch || bounds.lastSeq < this.readSeq) {
      this.readSeq = this.readEpoch === bounds.epoch ? bounds.lastSeq : bounds.firstSeq - 1
      this.readEpoch = bounds.epoch
      this.cutShort = false
      return sink.reset(bounds)
    }
    for (let n = 0; n < count && !this.paused; n++) {
      const message = this.messages.find(({ seq }) => seq > this.readSeq)
      if (message === undefined) return
      if (this.firstSeq > this.readSeq + 1) sink.lost(Math.min(this.firstSeq, message.seq))
      this.readSeq = message.seq
      sink.message(message)
    }
  }

  async bounds(): Promise<Bounds> {
    await this.asked()
    return this.boundsNow()
  }

  consume(afterSeq: number, sink: Sink): Consumption {
    this.sink = sink
    this.readSeq = afterSeq
    this.readEpoch = this.epoch
    return { pause: () => void (this.paused = true), resume: () => void (this.paused = false), stop: async () => {} }
  }

  async read(afterSeq: number, limit: number): Promise<StoredMessage[]> {
    await this.asked()
    if (this.failures > 0) {
      this.failures--
      throw new BrokerError('SERVICE_UNAVAILABLE', 'The reading ended early')
    }
    return this.messages.filter(({ seq }) => seq > afterSeq).slice(0, limit)
  }

  async publish(subject: string, body: Uint8Array): Promise<number> {
    return this.store(subject, Buffer.from(body).toString())
  }

  async request(): Promise<Uint8Array> {
    throw new BrokerError('SERVICE_UNAVAILABLE')
  }

  serve(): void {}
  notify(): void {}
  listen(): void {}

  async keyValue(): Promise<KeyValue> {
    throw new BrokerError('SERVICE_UNAVAILABLE')
  }

  async close(): Promise<void> {}

  private boundsNow(): Bounds {
    return { epoch: this.epoch, firstSeq: this.firstSeq, lastSeq: this.lastSeq }
  }

  private async asked(): Promise<void> {
    if (!this.prompt) await new Promise<void>((resolve) => this.questions.push(resolve))
    if (!this.connected) throw new BrokerError('SERVICE_UNAVAILABLE')
  }
}
