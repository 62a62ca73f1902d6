import type { Identity } from '../../state/login-sessions.ts'
import type { EventLog } from '../../log/event-log.ts'
import type { Subscriber } from '../../hub/subscriber.ts'
import type { PresenceState, Recovered } from '../../state/recovery.ts'

/** What a socket is, for another worker to go on from. */
export interface HandedOverSocket {
  /** Of its namespace. */
  readonly name: string
  readonly auth: Readonly<Record<string, unknown>>
  /** Without: it has yet to say who it is. */
  readonly identity: Identity | undefined
  readonly pid: string
  readonly positions: boolean
  readonly recovered: Recovered | undefined
  /** The stream that its sequences are of. */
  readonly epoch: string
  /** The `life` of the log there, as `recovered` has it unless the stream became another one since. */
  readonly logLife: number
  readonly openedMs: number
  /** The presence channels it is in, and what it selected of each. */
  readonly places: PresenceState | undefined
  /** How many requests of services it has been sent. */
  readonly requestsSent: number
  /** Rooms by the sequence up to which the client has their events. */
  readonly rooms: readonly (readonly [sinceSeq: number, rooms: readonly string[]])[]
}

/** What a connection is, for another worker to go on from. */
export type HandedOverConnection = readonly HandedOverSocket[]

/** No log is in it. */
const NO_LIFE = -1

/** The rooms of sockets that come back all at once are written again over this time. */
const RENEWAL_SPREAD_MS = 600_000

/**
 * When the rooms of a socket that came back, or came from another worker, are to be written again: when that was done
 * last is not known here.
 */
export function renewalMs(openedMs: number): number {
  return openedMs + Math.random() * RENEWAL_SPREAD_MS
}

/** What a socket goes on from, by the life of the log in this process. */
export function recoveredHere({ recovered, epoch, logLife }: HandedOverSocket, log: EventLog): Recovered | undefined {
  if (recovered === undefined) return undefined
  return { ...recovered, logLife: epoch === log.epoch && recovered.logLife === logLife ? log.life : NO_LIFE }
}

export function roomsBySeq({ groups, cursor, startOffsets }: Subscriber): HandedOverSocket['rooms'] {
  const rooms = new Map<number, string[]>()
  for (const { room } of groups) {
    const sinceSeq = Math.max(cursor, startOffsets?.get(room.name) ?? 0)
    rooms.set(sinceSeq, [...(rooms.get(sinceSeq) ?? []), room.name])
  }
  return [...rooms]
}
