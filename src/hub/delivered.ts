import type { LogEntry } from '../log/entry.ts'
import { accepts, type Predicate } from './predicate.ts'

/**
 * Longest chain kept for a subscriber that goes back again and again before it has caught up. One that goes back more
 * often may get an event twice.
 */
const LINKS_MAX = 32

/** A room that a subscriber is in, and the events it wants from it. */
interface JoinedGroup {
  readonly room: { readonly name: string }
  readonly predicate: Predicate | undefined
}

/**
 * The rooms a subscriber was in when it went back in the log, and how far it had come: events it got then do not come
 * again through a room that it joined later. A subscriber that goes back again before it has caught up has a chain of
 * these.
 */
export interface Delivered {
  /** Everything up to here was delivered. */
  seq: number
  /** A later event whose own frame was delivered, but not the frame of its projection. 0: none. */
  begunSeq: number
  readonly groups: readonly JoinedGroup[]
  /** Start offsets by room; `joinedSeq` applies to rooms that are not in the map. */
  readonly startOffsets: ReadonlyMap<string, number> | undefined
  readonly joinedSeq: number
  /** Conversations that the subscriber did not take part in then. */
  without: readonly string[]
  before: Delivered | undefined
}

/** The chain from the first link that the subscriber has not passed yet; the links after it reach further. */
export function deliveredBeyond(delivered: Delivered | undefined, cursor: number): Delivered | undefined {
  let at = delivered
  while (at !== undefined && Math.max(at.seq, at.begunSeq) <= cursor) at = at.before
  return at
}

/** The newest sequence that was delivered to the subscriber. */
export function newestDelivered(delivered: Delivered | undefined): number {
  let newest = 0
  for (let at = delivered; at !== undefined; at = at.before) newest = Math.max(newest, at.seq, at.begunSeq)
  return newest
}

/** Adds a link to the chain; a chain that gets too long loses its oldest links. */
export function withDelivered(delivered: Delivered, before: Delivered | undefined): Delivered {
  delivered.before = before
  let last = delivered
  for (let links = 1; last.before !== undefined; links++) {
    if (links === LINKS_MAX) last.before = undefined
    else last = last.before
  }
  return delivered
}

/** Notes that a conversation's events were not delivered: the subscriber did not take part in it. */
export function excludeConversation(delivered: Delivered | undefined, conversation: string): void {
  for (let at = delivered; at !== undefined; at = at.before) at.without = [...at.without, conversation]
}

/** The chain without what was delivered through a room. */
export function withoutRoom(delivered: Delivered | undefined, name: string): Delivered | undefined {
  if (delivered === undefined) return undefined
  delivered.before = withoutRoom(delivered.before, name)
  return delivered.groups.some(({ room }) => room.name === name) ? delivered.before : delivered
}

/** Corrects the chain where less was delivered than assumed. */
export function lowerDelivered(delivered: Delivered | undefined, deliveredSeq: number): void {
  for (let at = delivered; at !== undefined; at = at.before) {
    at.seq = Math.min(at.seq, deliveredSeq)
    if (at.begunSeq > deliveredSeq) at.begunSeq = 0
  }
}

/** Whether an event was delivered then. Users are not checked: they are the same now as then. */
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

/** Whether an event's projection was delivered then, through the projection's room. */
export function wasProjected(delivered: Delivered, room: string, seq: number): boolean {
  for (let at: Delivered | undefined = delivered; at !== undefined; at = at.before) {
    if (seq <= at.seq && at.groups.some((group) => group.room.name === room) && seq > startOffsetOf(at, room))
      return true
  }
  return false
}

/** The groups a subscriber is in, and their start offsets. */
type Memberships = Pick<Delivered, 'groups' | 'startOffsets' | 'joinedSeq'>

/** Whether an event reaches the subscriber through its membership in a room. */
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

/** A room's start offset: the membership covers only events after this sequence. */
export function startOffsetOf({ startOffsets, joinedSeq }: Memberships, room: string): number {
  return startOffsets?.get(room) ?? joinedSeq
}
