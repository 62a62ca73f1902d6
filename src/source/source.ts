import { BrokerError } from '../errors.ts'
import type { StoredMessage } from '../log/event.ts'

/** How far the stream reaches. An empty stream has `firstSeq = lastSeq + 1`. */
export interface Bounds {
  readonly epoch: string
  readonly firstSeq: number
  readonly lastSeq: number
}

/** The reader of the stream. Called synchronously, in order. */
export interface Sink {
  message(message: StoredMessage): void
  /**
   * What was read before no longer counts. Either the stream was replaced: it has another epoch, and is read from its
   * first event on. Or, if `bounds.epoch` is the same, it was cut short and is read on after `bounds.lastSeq`: later
   * sequences are given out a second time.
   */
  reset(bounds: Bounds): void
  /**
   * The stream forgot the messages between the last one and this sequence before they could be read. The next message
   * has this sequence or a later one.
   */
  lost(firstSeq: number): void
}

/** Reads the stream for ever, across outages, without repetitions, and tells its sink of every gap. */
export interface Consumption {
  /** No messages arrive until `resume`, except those already on their way. */
  pause(): void
  resume(): void
  stop(): Promise<void>
}

export interface PublishOptions {
  /** Deduplicates within the stream's window. */
  readonly messageId?: string
  /** The body is msgpack; otherwise JSON. */
  readonly msgpack?: boolean
}

/** Which messages to read. */
export interface ReadPart {
  /** A subject, or all subjects with a prefix: `events.app.>`. Default: all events. */
  readonly subject?: string
  /** No message after this sequence. */
  readonly upToSeq?: number
  /** The read ends once the bodies add up to this many bytes, or soon after. */
  readonly bytes?: number
}

export interface KeyValueEntry {
  readonly key: string
  readonly value: Uint8Array
  readonly revision: number
  /** When the key expires unless it is written again, ms since 1970. */
  readonly expiresMs: number
}

/** Hears of a key; `value` undefined: it is gone. What it throws is reported, and makes nobody else miss a change. */
export type Changed = (key: string, value: Uint8Array | undefined) => void

/**
 * Writes what it knows into a bucket that was lost. `write` never fails, and leaves a key alone that somebody has
 * already written.
 */
export type Remade = (write: (key: string, value: Uint8Array) => Promise<void>) => Promise<void>

/** NATS ends a connection whose protocol line is longer than 4 KB, and a key is part of such lines. */
const KEY_BYTES_MAX = 2_048

/** Whether a bucket can hold a key at all. */
export function isKey(key: string): boolean {
  return key.length <= KEY_BYTES_MAX && /^[-/=\w]+(\.[-/=\w]+)*$/.test(key)
}

/** @throws BrokerError INVALID_MESSAGE if no bucket can hold the key: its parts come from a client */
export function checkKey(key: string): void {
  if (isKey(key)) return
  throw new BrokerError(
    'INVALID_MESSAGE',
    key.length > KEY_BYTES_MAX
      ? `A name in it is too long: it makes a key of more than ${KEY_BYTES_MAX} bytes`
      : 'A name in it makes no key: keys have letters, digits, and -_/=. between them',
  )
}

/**
 * A bucket of keys, shared by all brokers. Keys: `[-/_=.a-zA-Z0-9]+`, of at most 2,048 bytes; longer ones throw
 * INVALID_MESSAGE.
 */
export interface KeyValue {
  get(key: string): Promise<KeyValueEntry | undefined>
  /** @returns the revision */
  put(key: string, value: Uint8Array): Promise<number>
  /** Writes only if the key does not exist. @returns the revision, or undefined if it exists */
  create(key: string, value: Uint8Array): Promise<number | undefined>
  /** Writes only over that revision. @returns the new revision, or undefined if somebody else wrote first */
  update(key: string, value: Uint8Array, revision: number): Promise<number | undefined>
  /** @param revision deletes only that one. @returns false if the key has another revision, or is gone */
  delete(key: string, revision?: number): Promise<boolean>
  /**
   * Calls `changed` for every existing key, then for every change. Resolves once it has seen the existing keys. Goes on
   * across outages.
   * @param remade called if the bucket was lost with all its keys and made again empty; until it is done, other
   *   requests wait
   */
  watch(changed: Changed, remade?: Remade): Promise<void>
}

/** Answers a request; undefined: no answer. It does not fail. */
export type Answer = (body: Uint8Array) => Promise<Uint8Array | undefined>

/**
 * Where events, commands and shared state live: NATS, or the process itself. Both pass one conformance suite
 * (`test/conformance/`). Failures are BrokerErrors: SERVICE_UNAVAILABLE while it is out of reach, TIMEOUT.
 */
export interface Source {
  readonly kind: 'nats' | 'embedded'
  readonly connected: boolean
  /**
   * What keeps it from working at the moment, each in words for an operator; empty while events are read and every
   * bucket is there.
   */
  readonly troubles: readonly string[]
  /** The stream's current bounds. */
  bounds(): Promise<Bounds>
  consume(afterSeq: number, sink: Sink): Consumption
  /**
   * Up to `limit` stored messages after `afterSeq`, in order; fewer only if there are no more, or `bytes` is reached.
   * @throws BrokerError SERVICE_UNAVAILABLE if it cannot be read to its end: what is returned has no hole
   */
  read(afterSeq: number, limit: number, part?: ReadPart): Promise<StoredMessage[]>
  /**
   * Stores an event.
   * @returns its sequence, once it is stored; undefined if another stream has it, from which this one takes it
   */
  publish(subject: string, body: Uint8Array, options?: PublishOptions): Promise<number | undefined>
  /** Asks a service. */
  request(subject: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array>
  /**
   * Answers requests on a subject. With `one`, each request goes to one of the brokers that serve it; with `all`, to
   * all of them, and those that have nothing to say answer undefined. This broker's own requests need not come back to
   * it.
   */
  serve(subject: string, to: 'one' | 'all', answer: Answer): void
  /**
   * Notifies all other brokers. Not stored, and lost while the source is out of reach.
   * @throws BrokerError PAYLOAD_TOO_LARGE
   */
  notify(subject: string, body: Uint8Array): void
  /** Hears the notifications of other brokers. */
  listen(subject: string, heard: (body: Uint8Array) => void): void
  /** Opens a bucket. A missing one is made, with keys that expire `ttlMs` after their last write; 0: never. */
  keyValue(bucket: string, ttlMs: number): Promise<KeyValue>
  close(): Promise<void>
}

export const EVENT_SUBJECTS = 'events.>'
