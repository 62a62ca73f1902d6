import type { EventEnvelope, StoredMessage } from './event.ts'

/** Where an event goes, worked out once when it enters the log. */
export interface Route<Application = unknown> {
  /** The rooms of its application. */
  readonly application: Application
  readonly type: string
  /** Names of the rooms it goes to. */
  readonly rooms: readonly string[]
  /** If set, only these users get it. */
  readonly users: readonly string[] | undefined
  /** If set, only users who take part in this conversation at the time of delivery get it. */
  readonly conversation?: string | undefined
  /** Its values for the fields of the contract (filters and access), for predicates. */
  readonly fieldValues: readonly (readonly string[] | undefined)[]
  /** If set, a subscriber that is catching up may skip an older event of the same key. */
  readonly latestKey: string | undefined
}

/** One wire format of one endpoint: turns an event into the bytes that its subscribers get. */
export interface Encoder {
  encodeEvent(event: EventEnvelope, position: string): Uint8Array
}

/** uWebSockets.js sends a frame of this size at once, instead of holding it for the end of the turn. */
const LARGE_FRAME_BYTES = 16_384
/** How much larger than its body a frame may be: msgpack has `false` in one byte. */
const JSON_GROWTH = 1.25
const MSGPACK_GROWTH = 5
const FRAME_OVERHEAD_BYTES = 512

/** Rough size of an entry's own objects, without its body and frames. */
const ENTRY_OVERHEAD_BYTES = 400

/** One event in the log: its route, its stored message, and its encoded frame in each wire format asked for so far. */
export class LogEntry {
  readonly seq: number
  readonly timeMs: number
  readonly position: string
  readonly route: Route
  /** Bytes it takes up, frames included. */
  bytes: number
  /** Whether one of its frames may be large for uWebSockets.js. */
  readonly mayBeLarge: boolean
  private readonly message: StoredMessage
  private readonly read: (message: StoredMessage) => EventEnvelope
  private envelope: EventEnvelope | undefined
  /** Most events have one frame. */
  private encoder: Encoder | undefined
  private encoded: Uint8Array | undefined
  private more: Map<Encoder, Uint8Array> | undefined

  /**
   * @param envelope kept until `forget()`, so that live delivery decodes once
   * @param read decodes the message again if a frame is needed later
   */
  constructor(
    message: StoredMessage,
    position: string,
    route: Route,
    envelope: EventEnvelope,
    read: (message: StoredMessage) => EventEnvelope,
  ) {
    this.seq = message.seq
    this.timeMs = message.timeMs
    this.position = position
    this.route = route
    this.bytes = message.body.length + ENTRY_OVERHEAD_BYTES
    const growth = message.msgpack ? MSGPACK_GROWTH : JSON_GROWTH
    // Nobody knows how much a zipped body unfolds to.
    this.mayBeLarge =
      message.body.length * growth + FRAME_OVERHEAD_BYTES >= LARGE_FRAME_BYTES ||
      (message.headers !== undefined && message.headers.encoding !== '')
    this.message = message
    this.read = read
    this.envelope = envelope
  }

  /** The event's frame for one wire, encoded at most once. Two endpoints that speak JSON are two wires. */
  frame(encoder: Encoder): Uint8Array {
    if (this.encoder === encoder) return this.encoded as Uint8Array
    const before = this.more?.get(encoder)
    if (before !== undefined) return before
    const frame = encoder.encodeEvent(this.envelope ?? this.read(this.message), this.position)
    if (this.encoder === undefined) {
      this.encoder = encoder
      this.encoded = frame
    } else {
      this.more ??= new Map()
      this.more.set(encoder, frame)
    }
    this.bytes += frame.length
    return frame
  }

  /** Live delivery is over: drops the decoded event, but keeps body and frames. */
  forget(): void {
    this.envelope = undefined
  }
}
