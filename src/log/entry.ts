import type { EventEnvelope } from './event.ts'

/** Where an event goes, worked out once when it enters the log. */
export interface Route<Audience = unknown> {
  /** The application's listeners. */
  readonly audience: Audience
  readonly type: string
  /** Names of the rooms that it goes to. */
  readonly rooms: readonly string[]
  /** Where set: only these users get it. */
  readonly users: readonly string[] | undefined
  /** Where set: only those who take part in this conversation by the time that they would get it. */
  readonly conversation?: string | undefined
  /** Its values by facet of the contract (filters and access), for predicates. */
  readonly facets: readonly (readonly string[] | undefined)[]
  /** Where set: an older event of the same key may be skipped by who is catching up. */
  readonly latestKey: string | undefined
}

/** One wire format of one endpoint: what turns an event into the bytes that its subscribers get. */
export interface Encoder {
  encodeEvent(event: EventEnvelope, position: string): Uint8Array
}

/** Rough size of an entry's own objects, beside its body and frames. */
const ENTRY_OVERHEAD_BYTES = 400

/** One event in the log: its route, its body, and its encoded frame for each wire format that asked for one. */
export class LogEntry {
  readonly seq: number
  readonly timeMs: number
  readonly position: string
  readonly route: Route
  /** Bytes it holds, frames included. */
  bytes: number
  private readonly read: () => EventEnvelope
  private encoders: Encoder[] = []
  private frames: Uint8Array[] = []
  private envelope: EventEnvelope | undefined

  /**
   * @param envelope kept until `forget()`, so that live delivery decodes once
   * @param read decodes the body again when a frame is wanted later
   */
  constructor(seq: number, timeMs: number, position: string, route: Route, bodyBytes: number, envelope: EventEnvelope, read: () => EventEnvelope) {
    this.seq = seq
    this.timeMs = timeMs
    this.position = position
    this.route = route
    this.bytes = bodyBytes + ENTRY_OVERHEAD_BYTES
    this.envelope = envelope
    this.read = read
  }

  /** The event's frame in a wire format, encoded at most once. */
  frame(encoder: Encoder): Uint8Array {
    const { encoders } = this
    for (let i = 0; i < encoders.length; i++) if (encoders[i] === encoder) return this.frames[i] as Uint8Array
    const frame = encoder.encodeEvent(this.envelope ?? this.read(), this.position)
    encoders.push(encoder)
    this.frames.push(frame)
    this.bytes += frame.length
    return frame
  }

  /** Live delivery is over: the decoded event goes, body and frames stay. */
  forget(): void {
    this.envelope = undefined
  }
}
