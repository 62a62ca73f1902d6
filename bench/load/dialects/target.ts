export type DialectName = 'roomcast' | 'socketio' | 'nats' | 'centrifugo'

/** Stands for the number of a connection's own series, in what it subscribes to. */
export const OWN_SERIES = '{series}'

/** Where connections go, and what they say there to get events. */
export interface Target {
  readonly dialect: DialectName
  readonly port: number
  /** Path and query. */
  readonly path: string
  /** How numbers stand in events. Default: json. */
  readonly format?: 'json' | 'msgpack'
  /**
   * What is subscribed to. `roomcast`: data of the command, as JSON; undefined: events come by connecting. `socketio`:
   * a room to join; undefined: the rooms that one is in by connecting. `nats`: a subject. `centrifugo`: a channel.
   */
  readonly subscribe?: string
  /** Socket.IO: the namespace to connect to. */
  readonly namespace?: string
  /** Socket.IO: starts by long-polling and upgrades to WebSocket. */
  readonly polling?: true
  /** Socket.IO: `connection_established` follows CONNECT's answer. */
  readonly welcomes?: boolean
}
