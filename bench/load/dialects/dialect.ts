import { OWN_SERIES, type Target } from './target.ts'

/** What a dialect reads of a connection, and does with it. */
export interface DialectConnection {
  readonly token: string
  /** The series that it gets beside the common one; 0: none. */
  readonly series: number
  /** Where it goes on, if it got anything yet. */
  readonly position: string | undefined
  /** Dialects that read over the borders of frames: what is not whole yet. */
  rest: Buffer
  /** Socket.IO: private id, with which it recovers. */
  pid: string
  /** Events will come from now on. */
  ready(): void
  /** The server said no: this connection ends. */
  refuse(reason: string): void
  /** The server said that there are events which it no longer has. */
  toldMissed(): void
  /** An event's bytes. @returns false: they are none */
  event(bytes: Buffer, start: number, end: number): boolean
  sendText(text: string): void
  sendBinary(bytes: Uint8Array): void
}

/** What clients and one kind of server say to each other. Shared by all connections of a group. */
export interface Dialect {
  /** Bytes behind the position that ends an event's frame. Undefined: events have no positions. */
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

/** What a connection subscribes to, its own series put in. */
export function subscriptionOf({ subscribe = '' }: Target, { series }: DialectConnection): string {
  return subscribe.replaceAll(OWN_SERIES, String(series))
}
