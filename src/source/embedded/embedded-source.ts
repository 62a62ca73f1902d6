import { randomBytes } from 'node:crypto'
import { BrokerError } from '../../errors.ts'
import { reportFault, soon } from '../../guarded.ts'
import type { StoredMessage } from '../../log/event.ts'
import {
  type Answer,
  type Bounds,
  type Consumption,
  EVENT_SUBJECTS,
  type KeyValue,
  type PublishOptions,
  type ReadPart,
  type Sink,
  type Source,
} from '../source.ts'
import { EmbeddedKeyValue } from './embedded-kv.ts'

/** Window for deduplication by message id: JetStream's default. */
const DUPLICATE_WINDOW_MS = 120_000
const EVENTS_MAX = 100_000
const BYTES_MAX = 64 * 1024 * 1024

/**
 * The source for a machine with nothing but Node: a bounded list and a map in this process. It does not survive a
 * restart, serves one process, and has no services behind it.
 */
export class EmbeddedSource implements Source {
  readonly kind = 'embedded'
  readonly connected = true
  readonly troubles: readonly string[] = []
  private readonly epoch = `e${randomBytes(5).toString('hex')}`
  private readonly messages: StoredMessage[] = []
  private bytes = 0
  private lastSeq = 0
  private readonly seen = new Map<string, { seq: number; timeMs: number }>()
  private readonly readers = new Set<Reader>()
  private readonly served = new Map<string, Answer>()
  private readonly buckets = new Map<string, EmbeddedKeyValue>()

  /**
   * @param subjects those of contracts, besides `events.>`
   * @throws BrokerError CONFIG_INVALID if there are any: nobody publishes to them here
   */
  constructor(subjects: readonly string[] = []) {
    if (subjects.length > 0)
      throw new BrokerError(
        'CONFIG_INVALID',
        `NATS_URL: contracts read ${subjects.join(', ')}, which only NATS has; the embedded source has events.<app>.<type> alone`,
      )
  }

  async bounds(): Promise<Bounds> {
    return { epoch: this.epoch, firstSeq: this.messages[0]?.seq ?? this.lastSeq + 1, lastSeq: this.lastSeq }
  }

  consume(afterSeq: number, sink: Sink): Consumption {
    const reader = new Reader(this.messages, afterSeq, sink, () => this.readers.delete(reader))
    this.readers.add(reader)
    reader.resume()
    return reader
  }

  async read(
    afterSeq: number,
    limit: number,
    { subject = EVENT_SUBJECTS, upToSeq = this.lastSeq, bytes = Number.POSITIVE_INFINITY }: ReadPart = {},
  ): Promise<StoredMessage[]> {
    const found: StoredMessage[] = []
    const start = subject.endsWith('>') ? subject.slice(0, -1) : undefined
    let size = 0
    for (let index = firstAfter(this.messages, afterSeq); found.length < limit && size < bytes; index++) {
      const message = this.messages[index]
      if (message === undefined || message.seq > upToSeq) break
      if (start === undefined ? message.subject !== subject : !message.subject.startsWith(start)) continue
      found.push(message)
      size += message.body.length
    }
    return found
  }

  async publish(
    subject: string,
    body: Uint8Array,
    { messageId, msgpack = false }: PublishOptions = {},
  ): Promise<number> {
    const timeMs = Date.now()
    const before = messageId === undefined ? undefined : this.remembered(messageId, timeMs)
    if (before !== undefined) return before
    const message = { seq: ++this.lastSeq, timeMs, subject, body, msgpack }
    if (messageId !== undefined) this.seen.set(messageId, { seq: message.seq, timeMs })
    this.messages.push(message)
    this.bytes += body.length
    while (this.messages.length > EVENTS_MAX || (this.bytes > BYTES_MAX && this.messages.length > 1)) {
      this.bytes -= (this.messages.shift() as StoredMessage).body.length
    }
    for (const reader of this.readers) reader.pump()
    return message.seq
  }

  /** Reaches only services that this process serves itself. */
  async request(subject: string, body: Uint8Array): Promise<Uint8Array> {
    const answer = this.served.get(subject)
    if (!answer)
      throw new BrokerError(
        'SERVICE_UNAVAILABLE',
        'No service answers here: the embedded source has none. Set NATS_URL to reach services',
      )
    const reply = await answer(body)
    if (reply === undefined) throw new BrokerError('TIMEOUT')
    return reply
  }

  serve(subject: string, _to: 'one' | 'all', answer: Answer): void {
    this.served.set(subject, answer)
  }

  /** There are no other brokers to notify. */
  notify(): void {}

  listen(): void {}

  async keyValue(bucket: string, ttlMs: number): Promise<KeyValue> {
    let kv = this.buckets.get(bucket)
    if (!kv) this.buckets.set(bucket, (kv = new EmbeddedKeyValue(ttlMs)))
    return kv
  }

  async close(): Promise<void> {
    for (const reader of this.readers) await reader.stop()
    for (const kv of this.buckets.values()) kv.close()
  }

  private remembered(messageId: string, nowMs: number): number | undefined {
    for (const [id, { timeMs }] of this.seen) {
      if (nowMs - timeMs < DUPLICATE_WINDOW_MS) break
      this.seen.delete(id)
    }
    return this.seen.get(messageId)?.seq
  }
}

class Reader implements Consumption {
  private readonly messages: readonly StoredMessage[]
  private readonly sink: Sink
  private readonly gone: () => void
  private lastSeq: number
  private running = false

  constructor(messages: readonly StoredMessage[], afterSeq: number, sink: Sink, gone: () => void) {
    this.messages = messages
    this.lastSeq = afterSeq
    this.sink = sink
    this.gone = gone
  }

  pump(): void {
    while (this.running) {
      // Looked up each time: the sink may publish, which pumps and drops old messages.
      const message = this.messages[firstAfter(this.messages, this.lastSeq)]
      if (message === undefined) return
      if (message.seq > this.lastSeq + 1) this.sink.lost(message.seq)
      this.lastSeq = message.seq
      try {
        this.sink.message(message)
      } catch (error) {
        // Otherwise the publisher would get this error.
        reportFault('stream reader', error)
      }
    }
  }

  pause(): void {
    this.running = false
  }

  resume(): void {
    this.running = true
    soon('stream reader', () => this.pump())
  }

  async stop(): Promise<void> {
    this.running = false
    this.gone()
  }
}

/** Index of the first message after `seq`; sequences here have no gaps. */
function firstAfter(messages: readonly StoredMessage[], seq: number): number {
  const first = messages[0]
  return first === undefined ? 0 : Math.max(0, seq + 1 - first.seq)
}
