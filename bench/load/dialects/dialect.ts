import type { Connection } from '../connection.ts'
import { OWN_SERIES, type Target } from '../target.ts'
import { centrifugo } from './centrifugo.ts'
import { nats } from './nats.ts'
import { roomcast } from './roomcast.ts'
import { socketIo } from './socketio.ts'

/** What clients and one kind of server say to each other. Shared by all connections of a cohort. */
export interface Dialect {
  /** Bytes behind the position that ends an event's frame. Undefined: events have no positions. */
  readonly tailBytes?: number
  /** Path and query of the upgrade. */
  pathOf(connection: Connection): string
  /** The WebSocket is open. */
  opened(connection: Connection): void
  /** Joins or leaves a room that is not the connection's own. */
  visit?(connection: Connection, room: string, on: boolean): void
  /** Sends a command that is answered, and one that others hear. */
  talk?(connection: Connection, room: string): void
  /**
   * A text or binary frame. It calls `connection.event` for each event in it, and `connection.ready` once events will
   * come.
   */
  frame(connection: Connection, bytes: Buffer, start: number, end: number): void
}

const DIALECTS = { roomcast, socketio: socketIo, nats, centrifugo }

export function dialectOf(target: Target): Dialect {
  return DIALECTS[target.dialect](target)
}

/** What a connection subscribes to, its own series put in. */
export function subscriptionOf({ subscribe = '' }: Target, { series }: Connection): string {
  return subscribe.replaceAll(OWN_SERIES, String(series))
}
