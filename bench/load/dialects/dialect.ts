import { OWN_SERIES, type Target } from './target.ts'

/** What a dialect reads of a connection, and does with it. */
export interface DialectConnection {
  readonly token: string
  /** The series that it gets beside the common one; 0: none. */
  readonly series: number
  /** Position of the last event received; undefined: none yet. */
  readonly position: string | undefined
  /** For dialects whose messages span frames: the beginning of a message that is not complete. */
  rest: Buffer
  /** Socket.IO: the private id that recovers the session; empty: none. */
  pid: string
  /** Called by the dialect once the server confirmed the subscription. */
  ready(): void
  /** The server refused: closes the connection, with the reason. */
  refuse(reason: string): void
  /** The server reported that it no longer has events which this client needs. */
  toldMissed(): void
  /** Takes a message's bytes if it is an event. @returns false: it is none */
  event(bytes: Buffer, start: number, end: number): boolean
  sendText(text: string): void
  sendBinary(bytes: Uint8Array): void
}

/** The protocol between clients and one kind of server. Shared by all connections of a group. */
export interface Dialect {
  /** Bytes after the position at the end of an event's frame. Undefined: events have no positions. */
  readonly tailBytes?: number
  /** Path and query of the upgrade. */
  pathOf(connection: DialectConnection): string
  /** The WebSocket is open. */
  opened(connection: DialectConnection): void
  /** Joins or leaves a room that is not the connection's own. */
  visit?(connection: DialectConnection, room: string, on: boolean): void
  /** Sends a command that is answered, and one that others hear. */
  talk?(connection: DialectConnection, room: string): void
  /**
   * A text or binary frame. It calls `connection.event` for each event in it, and `connection.ready` once events will
   * come.
   */
  frame(connection: DialectConnection, bytes: Buffer, start: number, end: number): void
}

/** What a connection subscribes to, with its series filled in. */
export function subscriptionOf({ subscribe = '' }: Target, { series }: DialectConnection): string {
  return subscribe.replaceAll(OWN_SERIES, String(series))
}
