export type ProtocolName = 'raw' | 'socketio'

/** What is published, and what Roomcast's clients speak: which application of the broker is used for it. */
export interface Workload {
  readonly protocol: ProtocolName
  readonly app: string
  readonly type: string
  /** A field that the event's schema wants, a string. */
  readonly idField: string
  /** What stands in it; `{series}` is the event's series. Default: "bench". */
  readonly id?: string
  /** Further fields of the data, as JSON: `"status":"in_progress",`. */
  readonly fields?: string
  /** Raw: path of the endpoint, and `data` of the subscription as JSON. */
  readonly path?: string
  readonly subscribe?: string
  readonly format?: 'json' | 'msgpack'
  /** Socket.IO: the namespace that everybody connects to. */
  readonly namespace?: string
  /** Socket.IO: the room that everybody is in by connecting. */
  readonly room?: string
  /** Socket.IO: a room to join. */
  readonly join?: string
  /** Socket.IO: `connection_established` follows CONNECT's answer. */
  readonly welcomes?: boolean
}

/** One event type, to everybody: built-in applications, as their users use them. */
export const WORKLOADS: Readonly<Record<ProtocolName, Workload>> = {
  raw: {
    protocol: 'raw',
    app: 'game-djinn',
    type: 'game_added',
    idField: 'library_id',
    path: '/ws',
    subscribe: '{"events":["game_added"]}',
  },
  socketio: {
    protocol: 'socketio',
    app: 'swe-agent',
    type: 'agent.connected',
    idField: 'agent_id',
    namespace: '/ws',
    room: 'global',
    welcomes: true,
  },
}

/** Many rooms, in the bench's own application (contract.ts): clients of both protocols share them. */
export const ROOM_WORKLOADS: Readonly<Record<ProtocolName, Workload>> = {
  raw: {
    protocol: 'raw',
    app: 'bench',
    type: 'own',
    idField: 'by',
    path: '/bench',
    subscribe: '{"rooms":["room:{series}"]}',
  },
  socketio: {
    protocol: 'socketio',
    app: 'bench',
    type: 'own',
    idField: 'by',
    namespace: '/bench',
    join: 'room:{series}',
  },
}

/** The NATS subject of a workload's events. */
export function subjectOf({ app, type }: { readonly app: string; readonly type: string }): string {
  return `events.${app}.${type}`
}

/** What Socket.IO event frames of a namespace begin with: Engine.IO `4` message, Socket.IO `2` event. */
export function eventPrefix(namespace: string): string {
  return `42${namespace},[`
}
