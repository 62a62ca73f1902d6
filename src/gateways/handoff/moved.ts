import type { Identity } from '../../state/login-sessions.ts'
import type { Subscriber } from '../../hub/subscriber.ts'
import type { PresenceState, Recovered } from '../../state/recovery.ts'

/** What a session is, for another worker to go on with. */
export interface MovedNamespace {
  readonly name: string
  readonly auth: Readonly<Record<string, unknown>>
  /** Without: it has yet to say who it is. */
  readonly identity: Identity | undefined
  readonly pid: string
  readonly recovered: Recovered | undefined
  readonly openedMs: number
  readonly places: PresenceState | undefined
  /** Questions that it has been asked. */
  readonly asked: number
  /** Rooms by the sequence up to which the client has their events. */
  readonly rooms: readonly (readonly [sinceSeq: number, rooms: readonly string[]])[]
}

/** Over so long is spread what sessions that come back all at once write. */
const RENEWAL_SPREAD_MS = 600_000

/**
 * When the rooms of a session that came back or moved are to be written again: when that was done last is not known
 * here.
 */
export function renewalMs(openedMs: number): number {
  return openedMs + Math.random() * RENEWAL_SPREAD_MS
}

export function roomsBySeq({ groups, cursor, startOffsets }: Subscriber): MovedNamespace['rooms'] {
  const rooms = new Map<number, string[]>()
  for (const { room } of groups) {
    const sinceSeq = Math.max(cursor, startOffsets?.get(room.name) ?? 0)
    rooms.set(sinceSeq, [...(rooms.get(sinceSeq) ?? []), room.name])
  }
  return [...rooms]
}

/** What a connection is, for another worker to go on with. */
export type MovedConnection = readonly MovedNamespace[]
