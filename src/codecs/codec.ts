import type { EventEnvelope } from '../log/event.ts'

/** A message of the raw protocol that is not an event. */
export interface OutgoingMessage {
  readonly type: string
  readonly data: unknown
  readonly timestamp: string
  /** In an answer: the id of the command. */
  readonly id?: string | number
}

/** A wire format of the raw WebSocket protocol. */
export interface Codec {
  readonly name: 'json' | 'msgpack'
  /** Whether its frames are binary WebSocket frames. */
  readonly binary: boolean
  /**
   * Encodes an event for clients. The position is the last value of the frame: when a full socket drops a frame, uWS
   * hands it back, and `seqInTail` reads from its end which event it was.
   */
  encodeEvent(event: EventEnvelope, position: string): Uint8Array
  encodeMessage(message: OutgoingMessage): Uint8Array
  /** @throws if the frame is not in this format */
  decode(frame: ArrayBuffer, binary: boolean): unknown
}

/**
 * The fields of an event frame: exactly `type`, `data`, `timestamp`, `id`, and `source_id` if the producer gave an `id`
 * (docs/protocol.md).
 */
export function eventFields(event: EventEnvelope, position: string): Record<string, unknown> {
  return event.id === undefined
    ? { type: event.type, data: event.data, timestamp: event.timestamp, id: position }
    : { type: event.type, data: event.data, timestamp: event.timestamp, source_id: event.id, id: position }
}

/** The fields of a message. `id` is not the last, so that no answer can be mistaken for an event. */
export function messageFields(message: OutgoingMessage): Record<string, unknown> {
  const { type, data, timestamp, id } = message
  return id === undefined ? { type, data, timestamp } : { type, id, data, timestamp }
}
