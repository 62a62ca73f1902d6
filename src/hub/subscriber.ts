import type { LogEntry } from '../log/entry.ts'
import { type Delivered, opens, startOffsetOf, wasDelivered, wasProjected } from './delivered.ts'
import type { ApplicationRooms, Group } from './room.ts'
import type { Projection } from './projection.ts'
import type { Peer, Wire } from './wire.ts'

/**
 * How a subscriber gets its events. `live`: native topics, no JavaScript per delivery. `overflowed`: its socket was
 * full and dropped an event; it is taken off its topics before anything else can be published. `catching up`: a cursor
 * into the log, fed by direct sends as fast as the socket drains, until it reaches the head.
 */
export const LIVE = 0
export const OVERFLOWED = 1
export const CATCHING_UP = 2
export const CLOSED = 3

let subscribers = 0
let connections = 0

/** The next connection's. */
export function connectionOrder(): number {
  return connections++
}

/** The gateway's side of a subscriber: told what becomes of its delivery. */
export interface SubscriberOwner {
  /** The socket took nothing for too long: ends the connection. */
  stalled(): void
  /** The log no longer has what the subscriber needs. @param oldest the oldest position still stored */
  missed(since: string, oldest: string): void
}

export interface SubscriberOptions {
  readonly application: ApplicationRooms<Subscriber>
  readonly wire: Wire
  /** Empty: not known yet; `identify` follows. */
  readonly userId: string
  readonly peer: Peer
  readonly owner: SubscriberOwner
  /** Of its connection, where that was opened before. */
  readonly order?: number
  /** False: its connection cannot hold native topics yet; `Hub.turnNative` follows once it can. */
  readonly native?: boolean
}

/**
 * One client's membership in one application: where it is in the log, and which rooms it is in. Gateways make it and
 * read it; only the hub changes it.
 */
export class Subscriber {
  private readonly serial: number
  /** Grows with the time at which its connection was opened, and so does its place in memory. */
  readonly order: number
  readonly application: ApplicationRooms<Subscriber>
  readonly wire: Wire
  readonly owner: SubscriberOwner
  userId: string
  peer: Peer
  /** The room joined last is at the end. */
  groups: Group<Subscriber>[] = []
  /** Where it is in the room that has one. */
  projection: Projection | undefined
  state: typeof LIVE | typeof OVERFLOWED | typeof CATCHING_UP | typeof CLOSED = LIVE
  /** While not live: everything up to this sequence was delivered. */
  cursor = 0
  /** The event whose own frame it has, while the socket is too full for that of its projection. */
  begunSeq = 0
  /** By room: events up to this sequence are not for this subscriber by that room. Of others: up to `joinedSeq`. */
  startOffsets: Map<string, number> | undefined
  joinedSeq = 0
  /** Rooms whose filter was another one, and what it had by that. */
  refiltered: Delivered | undefined
  /** While catching up, where it went back: what it had. */
  delivered: Delivered | undefined
  /**
   * It left its topics in this turn of the event loop or the one before: uWS may still hold frames for it, and drop
   * them.
   */
  leaving = false
  /** Since when its socket takes nothing, ms; 0: it does. */
  stalledSinceMs = 0
  /** Whether it waits its turn to be fed. */
  queued = false
  /** The topic that only it has, once it is subscribed to it. */
  ownTopic: string | undefined
  nextOfUser: Subscriber | undefined
  /** Whether its connection can hold native topics. Otherwise (long-polling) it is fed from the log for ever. */
  native: boolean

  constructor(options: SubscriberOptions) {
    const { application, wire, userId, peer, owner, order = connectionOrder(), native = true } = options
    this.serial = subscribers++
    this.order = order
    this.application = application
    this.wire = wire
    this.owner = owner
    this.userId = userId
    this.peer = peer
    this.native = native
  }

  /** Says whose it is, before it is opened. */
  identify(userId: string): void {
    this.userId = userId
  }

  get id(): string {
    return this.serial.toString(36)
  }

  /** Whether it may be live once it has everything. */
  get mayBeLive(): boolean {
    return this.native && this.projection === undefined
  }

  groupIn(room: string): Group<Subscriber> | undefined {
    for (const group of this.groups) if (group.room.name === room) return group
    return undefined
  }

  /** Whether an event is for this subscriber, seen from its cursor. */
  wants(entry: LogEntry): boolean {
    const { route } = entry
    if (route.application !== this.application) return false
    const users = route.conversation === undefined ? route.users : this.application.participantsIn(route.conversation)
    if (users !== undefined && !users.includes(this.userId)) return false
    for (const room of route.rooms)
      if (opens(this, room, entry))
        return this.delivered === undefined || !(wasDelivered(this.delivered, entry) || this.hadBefore(entry))
    return false
  }

  /** Whether an event is for it in the form of its projection, seen from its cursor. */
  wantsProjected({ route, seq }: LogEntry): boolean {
    const { projection, delivered } = this
    if (projection === undefined || route.application !== this.application) return false
    if (seq <= startOffsetOf(this, projection.room)) return false
    return delivered === undefined || !wasProjected(delivered, projection.room, seq)
  }

  /** Whether it had an event by a filter of before. Of conversations nobody knows who took part then. */
  private hadBefore(entry: LogEntry): boolean {
    return (
      this.refiltered !== undefined && entry.route.conversation === undefined && wasDelivered(this.refiltered, entry)
    )
  }

  /** The sequence from which on nothing is held back by startOffsets. */
  get startOffsetMax(): number {
    let highest = 0
    if (this.startOffsets !== undefined) for (const seq of this.startOffsets.values()) if (seq > highest) highest = seq
    return highest
  }
}
