/** A server that is measured. */
export type Side = 'raw' | 'roomcast' | 'socketioUws' | 'socketioWs'

export type ProtocolName = 'raw' | 'socketio'

/** What the clients speak; which application of Roomcast is used for it, and who is measured beside it. */
export interface Protocol {
  readonly name: ProtocolName
  readonly app: string
  readonly type: string
  /** A field that the event's schema wants, a string. */
  readonly idField: string
  /** Socket.IO: the namespace that everybody connects to. */
  readonly namespace?: string
  /** Socket.IO: the room that everybody is in by connecting. */
  readonly room?: string
  /** In the order in which they are measured and shown. */
  readonly sides: readonly Side[]
}

export const PROTOCOLS: Readonly<Record<ProtocolName, Protocol>> = {
  raw: { name: 'raw', app: 'game-djinn', type: 'game_added', idField: 'library_id', sides: ['raw', 'roomcast'] },
  socketio: { name: 'socketio', app: 'swe-agent', type: 'agent.connected', idField: 'agent_id', namespace: '/ws', room: 'global', sides: ['raw', 'roomcast', 'socketioUws', 'socketioWs'] },
}

export const SIDE_NAMES: Readonly<Record<Side, string>> = { raw: 'raw uWS', roomcast: 'Roomcast', socketioUws: 'socket.io on uWS', socketioWs: 'socket.io on ws' }

/** The NATS subject of a protocol's events. */
export function subjectOf({ app, type }: Protocol): string {
  return `events.${app}.${type}`
}

/** What Socket.IO event frames of a namespace begin with: Engine.IO `4` message, Socket.IO `2` event. */
export function eventPrefix(namespace: string): string {
  return `42${namespace},[`
}
