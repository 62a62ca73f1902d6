import type { Encoder } from '../log/entry.ts'

/** A message that is not a stored event. */
export interface Message {
  readonly type: string
  readonly data: unknown
  /** Socket.IO: all arguments, unless there is exactly one. */
  readonly args?: readonly unknown[]
}

/**
 * One wire format of one endpoint: how its events look, and which uWS app its sockets live in. Events are encoded once
 * per wire, and only for wires that somebody in the room uses.
 */
export interface Wire extends Encoder {
  /** Short and unique within the process; the first part of topic names. */
  readonly id: string
  /** The label in metrics: `json`, `msgpack`, `socketio`. */
  readonly format: string
  readonly binary: boolean
  /** Encodes a message that is not an event. */
  encodeMessage(message: Message): Uint8Array
  /** Publishes to a native topic. */
  publish(topic: string, frame: Uint8Array): void
}

/** What the hub needs of a connection; a uWS WebSocket is one. */
export interface Peer {
  /** 0: queued, 1: sent, 2: dropped. */
  send(frame: Uint8Array, binary?: boolean): number
  getBufferedAmount(): number
  subscribe(topic: string): boolean
  unsubscribe(topic: string): boolean
  cork(callback: () => void): unknown
  /** Closes at once, without a close frame. */
  close(): unknown
}

/** Stands in for the connection of a closed subscriber: code that still uses it finds a peer that takes nothing. */
export const NO_PEER: Peer = {
  send: () => 2,
  getBufferedAmount: () => 0,
  subscribe: () => false,
  unsubscribe: () => false,
  cork: (callback) => callback(),
  close: () => {},
}
