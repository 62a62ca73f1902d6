import type { LogEntry } from '../log/entry.ts'
import { accepts } from './predicate.ts'
import type { Group } from './room.ts'

/** Links kept of a session that goes back again and again before it has caught up. */
const LINKS_MAX = 32

/**
 * What a session was in when it went back in the log, and how far it had come: what it got then does not come again by
 * a room that it joined later. A session that goes back once more before it got there has a chain of these.
 */
export interface Had {
  /** Everything up to here was delivered. */
  seq: number
  /** An event behind that, of which its own frame was delivered and that of its view was not. 0: none. */
  begunSeq: number
  readonly groups: readonly Group[]
  /** By room, from behind which sequence on; of rooms that are not in it, from behind `joinedSeq`. */
  readonly floors: ReadonlyMap<string, number> | undefined
  readonly joinedSeq: number
  /** Conversations that the session took no part in then. */
  without: readonly string[]
  before: Had | undefined
}

/** The chain without the links that the session has come past: those behind them reach further. */
export function hadBeyond(had: Had | undefined, cursor: number): Had | undefined {
  let at = had
  while (at !== undefined && Math.max(at.seq, at.begunSeq) <= cursor) at = at.before
  return at
}

/** Up to where the session had events. */
export function newestHad(had: Had | undefined): number {
  let newest = 0
  for (let at = had; at !== undefined; at = at.before) newest = Math.max(newest, at.seq, at.begunSeq)
  return newest
}

/** The chain with one link more. */
export function havingHad(had: Had, before: Had | undefined): Had {
  had.before = before
  let last = had
  for (let links = 1; last.before !== undefined; links++) {
    if (links === LINKS_MAX) last.before = undefined
    else last = last.before
  }
  return had
}

/** A conversation's events were not had: the session took no part in it. */
export function excludeConversation(had: Had | undefined, conversation: string): void {
  for (let at = had; at !== undefined; at = at.before) at.without = [...at.without, conversation]
}

/** The chain without what was had by a room. */
export function withoutRoom(had: Had | undefined, name: string): Had | undefined {
  if (had === undefined) return undefined
  had.before = withoutRoom(had.before, name)
  return had.groups.some(({ room }) => room.name === name) ? had.before : had
}

/** Less was delivered than had been thought. */
export function lowerHad(had: Had | undefined, deliveredSeq: number): void {
  for (let at = had; at !== undefined; at = at.before) {
    at.seq = Math.min(at.seq, deliveredSeq)
    if (at.begunSeq > deliveredSeq) at.begunSeq = 0
  }
}

/** Whether an event was delivered then. Who was to get it is the same now. */
export function wasHad(had: Had, entry: LogEntry): boolean {
  for (let at: Had | undefined = had; at !== undefined; at = at.before) {
    if (
      (entry.seq > at.seq && entry.seq !== at.begunSeq) ||
      (entry.route.conversation !== undefined && at.without.includes(entry.route.conversation))
    )
      continue
    for (const room of entry.route.rooms) if (opens(at, room, entry)) return true
  }
  return false
}

/** Whether an event was shown then to those in a room. */
export function wasShown(had: Had, room: string, seq: number): boolean {
  for (let at: Had | undefined = had; at !== undefined; at = at.before) {
    if (seq <= at.seq && at.groups.some((group) => group.room.name === room) && seq > floorOf(at, room)) return true
  }
  return false
}

/** In which groups somebody is, and from where on. */
type Memberships = Pick<Had, 'groups' | 'floors' | 'joinedSeq'>

/** Whether an event comes by membership in a room. */
export function opens(memberships: Memberships, room: string, entry: LogEntry): boolean {
  for (const group of memberships.groups) {
    if (group.room.name !== room) continue
    return (
      entry.seq > floorOf(memberships, room) &&
      (group.predicate === undefined || accepts(group.predicate, entry.route.facets))
    )
  }
  return false
}

/** Events of a room up to this sequence came before the membership in it. */
export function floorOf({ floors, joinedSeq }: Memberships, room: string): number {
  return floors?.get(room) ?? joinedSeq
}
