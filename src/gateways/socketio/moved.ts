import type { PlaceState } from '../../commands/place.ts'
import type { Identity } from '../../guard/sessions.ts'
import type { Recovered } from './recovery.ts'

/** What a session is, for another worker to go on with. */
export interface MovedNamespace {
  readonly name: string
  readonly auth: Readonly<Record<string, unknown>>
  /** Without: it has yet to say who it is. */
  readonly identity: Identity | undefined
  readonly pid: string
  readonly recovered: Recovered | undefined
  readonly openedMs: number
  readonly places: PlaceState | undefined
  /** Questions that it has been asked. */
  readonly asked: number
  /** Rooms by the sequence up to which the client has their events. */
  readonly rooms: readonly (readonly [sinceSeq: number, rooms: readonly string[]])[]
}

/** What a connection is, for another worker to go on with. */
export type MovedConnection = readonly MovedNamespace[]
