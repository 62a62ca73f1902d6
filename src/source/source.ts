import { BrokerError } from '../errors.ts'
import type { StoredMessage } from '../log/event.ts'

/** How far the stream reaches. An empty stream has `firstSeq = lastSeq + 1`. */
export interface Bounds {
  readonly epoch: string
  readonly firstSeq: number
  readonly lastSeq: number
}

/** Who reads the stream. Called synchronously, in order. */
export interface Sink {
  message(message: StoredMessage): void
  /**
   * What was read before no longer counts. Either the stream is another one now, with another epoch, and is read from
   * its first event on; or it is the same one (as `bounds.epoch` tells) and was cut short, and is read on after
   * `bounds.lastSeq`: sequences from there on are given a second time.
   */
  reset(bounds: Bounds): void
  /**
   * What lies between the last message and this sequence, which the next one has at least, was forgotten by the stream
   * before it could be read.
   */
  lost(firstSeq: number): void
}

/**
 * A reading of the stream that goes on for ever, over outages, without a repetition, and without a gap that its sink is
 * not told.
 */
export interface Consumption {
  /** No messages until `resume`; those already on their way still arrive. */
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

/** Which messages a reading is of. */
export interface ReadPart {
  /** A subject, or all that begin so: `events.app.>`. Default: all events. */
  readonly subject?: string
  /** None after this sequence. */
  readonly upToSeq?: number
  /** It ends once their bodies have so many bytes, or soon after. */
  readonly bytes?: number
}

export interface KeyValueEntry {
  readonly key: string
  readonly value: Uint8Array
  readonly revision: number
  /** When the key goes unless it is written again, ms since 1970. */
  readonly expiresMs: number
}

/** Told of a key; `value` undefined: it is gone. What it throws is reported, and costs nobody else a change. */
export type Changed = (key: string, value: Uint8Array | undefined) => void

/**
 * Writes what it knows into a bucket that was lost. `write` leaves a key alone that somebody has written already, and
 * does not fail.
 */
export type Remade = (write: (key: string, value: Uint8Array) => Promise<void>) => Promise<void>

/** NATS ends a connection whose protocol line is longer than 4 KB, and a key is part of such lines. */
const KEY_BYTES_MAX = 2_048

/** Whether a key can be in a bucket at all. */
export function isKey(key: string): boolean {
  return key.length <= KEY_BYTES_MAX && /^[-/=\w]+(\.[-/=\w]+)*$/.test(key)
}

/** @throws BrokerError INVALID_MESSAGE where a key cannot be in a bucket: what it is made of came from a client */
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
 * A bucket of keys, shared by all brokers. Keys: `[-/_=.a-zA-Z0-9]+`, of at most 2,048 bytes; longer ones are
 * INVALID_MESSAGE.
 */
export interface KeyValue {
  get(key: string): Promise<KeyValueEntry | undefined>
  /** @returns the revision */
  put(key: string, value: Uint8Array): Promise<number>
  /** Writes only where the key does not exist. @returns the revision, or undefined where it does */
  create(key: string, value: Uint8Array): Promise<number | undefined>
  /** Writes only over that revision. @returns the new revision, or undefined where another was first */
  update(key: string, value: Uint8Array, revision: number): Promise<number | undefined>
  /** @param revision deletes only that one. @returns false where the key has another, or is gone */
  delete(key: string, revision?: number): Promise<boolean>
  /**
   * Calls `changed` for every key there is, then for every change. Resolves once what there was has been seen. Goes on
   * over outages.
   * @param remade called where the bucket was lost with all its keys, and made again empty; until it is done, other
   *   questions wait
   */
  watch(changed: Changed, remade?: Remade): Promise<void>
}

/** What a request is answered. It does not fail. */
export type Answer = (body: Uint8Array) => Promise<Uint8Array | undefined>

/**
 * Where events, commands and shared state live: NATS, or the process itself. Both pass one conformance suite
 * (`test/conformance/`). Failures are BrokerErrors: SERVICE_UNAVAILABLE while it is out of reach, TIMEOUT.
 */
export interface Source {
  readonly kind: 'nats' | 'embedded'
  readonly connected: boolean
  /**
   * What keeps it from working at the moment, each in words for an operator; none while events are read and every
   * bucket is there.
   */
  readonly troubles: readonly string[]
  /** Bounds of the stream now. */
  bounds(): Promise<Bounds>
  consume(afterSeq: number, sink: Sink): Consumption
  /**
   * Up to `limit` stored messages after `afterSeq`, in order; fewer only where there are no more, or `bytes` are
   * reached.
   * @throws BrokerError SERVICE_UNAVAILABLE where it cannot be read to its end: what is returned has no hole
   */
  read(afterSeq: number, limit: number, part?: ReadPart): Promise<StoredMessage[]>
  /** Stores an event. @returns its sequence, once it is stored */
  publish(subject: string, body: Uint8Array, options?: PublishOptions): Promise<number>
  /** Asks a service. */
  request(subject: string, body: Uint8Array, timeoutMs: number): Promise<Uint8Array>
  /**
   * Answers requests on a subject. Of all brokers that serve it `one` gets each request; or `all` do, and whoever has
   * nothing to say answers undefined. This broker's own requests need not come back to it.
   */
  serve(subject: string, to: 'one' | 'all', answer: Answer): void
  /**
   * Tells all other brokers something; not stored, and lost while the source is out of reach.
   * @throws BrokerError PAYLOAD_TOO_LARGE
   */
  notify(subject: string, body: Uint8Array): void
  /** Hears what other brokers tell. */
  listen(subject: string, heard: (body: Uint8Array) => void): void
  /** Opens a bucket, made when missing: then its keys go `ttlMs` after their last write. 0: they stay. */
  keyValue(bucket: string, ttlMs: number): Promise<KeyValue>
  close(): Promise<void>
}

export const EVENT_SUBJECTS = 'events.>'
