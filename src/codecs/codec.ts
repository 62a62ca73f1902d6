import type { EventEnvelope } from '../log/event.ts'

/** A message as the raw protocol writes it, beside events. */
export interface OutgoingMessage {
  readonly type: string
  readonly data: unknown
  readonly timestamp: string
  /** The command's own id, in an answer to it. */
  readonly id?: string | number
}

/** A wire format of the raw WebSocket protocol. */
export interface Codec {
  readonly name: 'json' | 'msgpack'
  /** Whether its frames are binary. */
  readonly binary: boolean
  /**
   * An event as clients get it. The position is the frame's last value: a full socket hands dropped frames back, and
   * `seqInTail` reads from their end which event they were.
   */
  encodeEvent(event: EventEnvelope, position: string): Uint8Array
  encodeMessage(message: OutgoingMessage): Uint8Array
  /** @throws where the frame is not of this format */
  decode(frame: ArrayBuffer, binary: boolean): unknown
}

/**
 * An event frame's fields: exactly `type`, `data`, `timestamp`, `id`, and `source_id` where the producer gave an `id`
 * (specs/README.md, "game-djinn").
 */
export function eventFields(event: EventEnvelope, position: string): Record<string, unknown> {
  return event.id === undefined
    ? { type: event.type, data: event.data, timestamp: event.timestamp, id: position }
    : { type: event.type, data: event.data, timestamp: event.timestamp, source_id: event.id, id: position }
}

/** A message's fields; `id` before the end, so that no answer can be taken for an event. */
export function messageFields(message: OutgoingMessage): Record<string, unknown> {
  const { type, data, timestamp, id } = message
  return id === undefined ? { type, data, timestamp } : { type, id, data, timestamp }
}
