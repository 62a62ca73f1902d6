import type { LogEntry } from '../log/entry.ts'
import { accepts, type Predicate } from './predicate.ts'

/** Links kept of a subscriber that goes back again and again before it has caught up. */
const LINKS_MAX = 32

/** A room that somebody is in, and what they want of it. */
interface JoinedGroup {
  readonly room: { readonly name: string }
  readonly predicate: Predicate | undefined
}

/**
 * What a subscriber was in when it went back in the log, and how far it had come: what it got then does not come again
 * by a room that it joined later. A subscriber that goes back once more before it got there has a chain of these.
 */
export interface Delivered {
  /** Everything up to here was delivered. */
  seq: number
  /** An event behind that, of which its own frame was delivered and that of its projection was not. 0: none. */
  begunSeq: number
  readonly groups: readonly JoinedGroup[]
  /** By room, from behind which sequence on; of rooms that are not in it, from behind `joinedSeq`. */
  readonly startOffsets: ReadonlyMap<string, number> | undefined
  readonly joinedSeq: number
  /** Conversations that the subscriber took no part in then. */
  without: readonly string[]
  before: Delivered | undefined
}

/** The chain without the links that the subscriber has come past: those behind them reach further. */
export function deliveredBeyond(delivered: Delivered | undefined, cursor: number): Delivered | undefined {
  let at = delivered
  while (at !== undefined && Math.max(at.seq, at.begunSeq) <= cursor) at = at.before
  return at
}

/** Up to where the subscriber had events. */
export function newestDelivered(delivered: Delivered | undefined): number {
  let newest = 0
  for (let at = delivered; at !== undefined; at = at.before) newest = Math.max(newest, at.seq, at.begunSeq)
  return newest
}

/** The chain with one link more. */
export function withDelivered(delivered: Delivered, before: Delivered | undefined): Delivered {
  delivered.before = before
  let last = delivered
  for (let links = 1; last.before !== undefined; links++) {
    if (links === LINKS_MAX) last.before = undefined
    else last = last.before
  }
  return delivered
}

/** A conversation's events were not had: the subscriber took no part in it. */
export function excludeConversation(delivered: Delivered | undefined, conversation: string): void {
  for (let at = delivered; at !== undefined; at = at.before) at.without = [...at.without, conversation]
}

/** The chain without what was had by a room. */
export function withoutRoom(delivered: Delivered | undefined, name: string): Delivered | undefined {
  if (delivered === undefined) return undefined
  delivered.before = withoutRoom(delivered.before, name)
  return delivered.groups.some(({ room }) => room.name === name) ? delivered.before : delivered
}

/** Less was delivered than had been thought. */
export function lowerDelivered(delivered: Delivered | undefined, deliveredSeq: number): void {
  for (let at = delivered; at !== undefined; at = at.before) {
    at.seq = Math.min(at.seq, deliveredSeq)
    if (at.begunSeq > deliveredSeq) at.begunSeq = 0
  }
}

/** Whether an event was delivered then. Who was to get it is the same now. */
export function wasDelivered(delivered: Delivered, entry: LogEntry): boolean {
  for (let at: Delivered | undefined = delivered; at !== undefined; at = at.before) {
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
export function wasProjected(delivered: Delivered, room: string, seq: number): boolean {
  for (let at: Delivered | undefined = delivered; at !== undefined; at = at.before) {
    if (seq <= at.seq && at.groups.some((group) => group.room.name === room) && seq > startOffsetOf(at, room))
      return true
  }
  return false
}

/** In which groups somebody is, and from where on. */
type Memberships = Pick<Delivered, 'groups' | 'startOffsets' | 'joinedSeq'>

/** Whether an event comes by membership in a room. */
export function opens(memberships: Memberships, room: string, entry: LogEntry): boolean {
  for (const group of memberships.groups) {
    if (group.room.name !== room) continue
    return (
      entry.seq > startOffsetOf(memberships, room) &&
      (group.predicate === undefined || accepts(group.predicate, entry.route.fieldValues))
    )
  }
  return false
}

/** Events of a room up to this sequence came before the membership in it. */
export function startOffsetOf({ startOffsets, joinedSeq }: Memberships, room: string): number {
  return startOffsets?.get(room) ?? joinedSeq
}
