import { eventPrefix } from '../protocol.ts'

export interface Target {
  readonly port: number
  /** Path and query. */
  readonly path: string
  /** Sent once connected; the connection is ready when `subscribed` comes back. Without it: when it is open. */
  readonly subscribe?: string
  /** Socket.IO: to be connected to, with the token in CONNECT; ready when `connection_established` comes. */
  readonly namespace?: string
}

/** From now on the connection gets events. */
export const READY = Symbol('ready')

type Answer = string | typeof READY | undefined

/** What one client and the server say to each other beside events. */
export interface Dialogue {
  /** Path and query of the upgrade. */
  readonly path: string
  /** What is said once the WebSocket is open. */
  readonly opening: Answer
  /** What events begin with, once it is ready. Undefined: all that comes is events. */
  readonly eventPrefix?: Buffer
  /** What is said to a message that is no event. One that should not come is thrown. */
  answer(message: string): Answer
}

export function dialogueOf({ path, subscribe, namespace }: Target, token: string): Dialogue {
  if (namespace !== undefined) return socketIo(path, namespace, token)
  return { path: `${path}?token=${token}`, opening: subscribe ?? READY, answer: subscribing }
}

function subscribing(message: string): Answer {
  if (message.startsWith('{"type":"connection_established"')) return undefined
  if (message.startsWith('{"type":"subscribed"')) return READY
  throw new Error(`unexpected before "subscribed": ${message.slice(0, 500)}`)
}

const prefixes = new Map<string, Buffer>()

/** Engine.IO 4: `0` open, `2` ping, `3` pong, `4` message; Socket.IO 5 in it: `0` CONNECT, `2` EVENT. */
function socketIo(path: string, namespace: string, token: string): Dialogue {
  let prefix = prefixes.get(namespace)
  if (!prefix) prefixes.set(namespace, (prefix = Buffer.from(eventPrefix(namespace))))
  return {
    path,
    opening: undefined,
    eventPrefix: prefix,
    answer(message) {
      if (message === '2') return '3'
      if (message.startsWith('0{')) return `40${namespace},{"token":"${token}"}`
      if (message.startsWith(`40${namespace},{`)) return undefined
      if (message.startsWith(`${prefix}"connection_established",`)) return READY
      throw new Error(`unexpected from a Socket.IO server: ${message.slice(0, 500)}`)
    },
  }
}
