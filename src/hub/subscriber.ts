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

/** The gateway's side of a subscriber; it hears what happens to the subscriber's delivery. */
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
  /** False: the connection cannot hold native topics yet; `Hub.turnNative` follows once it can. */
  readonly native?: boolean
}

/**
 * One client's membership in one application: its place in the log, and the rooms it is in. Gateways make it and read
 * it; only the hub changes it.
 */
export class Subscriber {
  private readonly serial: number
  readonly application: ApplicationRooms<Subscriber>
  readonly wire: Wire
  readonly owner: SubscriberOwner
  userId: string
  peer: Peer
  /** The room joined last is at the end. */
  groups: Group<Subscriber>[] = []
  /** The application's projection, while the subscriber is in that projection's room. */
  projection: Projection | undefined
  state: typeof LIVE | typeof OVERFLOWED | typeof CATCHING_UP | typeof CLOSED = LIVE
  /** While not live: everything up to this sequence was delivered. */
  cursor = 0
  /** The event whose own frame was sent, while the socket is too full for the frame of its projection. 0: none. */
  begunSeq = 0
  /** Start offsets by room: events up to these sequences are not for this subscriber. Other rooms: `joinedSeq`. */
  startOffsets: Map<string, number> | undefined
  joinedSeq = 0
  /** Rooms whose filter changed, and what the subscriber got through the previous filter. */
  refiltered: Delivered | undefined
  /** What it had before it went back, kept while it catches up. */
  delivered: Delivered | undefined
  /**
   * It left its topics in this turn of the event loop or the previous one: uWS may still hold frames for it, and drop
   * them.
   */
  leaving = false
  /** When its socket stopped taking anything, ms; 0: it has not stopped. */
  stalledSinceMs = 0
  /** Whether it is waiting for its turn to be fed. */
  queued = false
  /** The topic that it alone subscribes to; undefined until it does. */
  ownTopic: string | undefined
  nextOfUser: Subscriber | undefined
  previousOfUser: Subscriber | undefined
  /** Whether its connection can hold native topics. If not (long-polling), it is always fed from the log. */
  native: boolean

  constructor(options: SubscriberOptions) {
    const { application, wire, userId, peer, owner, native = true } = options
    this.serial = subscribers++
    this.application = application
    this.wire = wire
    this.owner = owner
    this.userId = userId
    this.peer = peer
    this.native = native
  }

  /** Sets the user, before the subscriber is opened. */
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

  /** Events of a room up to this sequence are not for the subscriber. */
  startAfter(room: string, seq: number): void {
    this.startOffsets ??= new Map()
    this.startOffsets.set(room, seq)
  }

  /** Whether an event is for this subscriber, and was not delivered to it before it went back. */
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

  /** Whether an event's projection is for this subscriber, and was not delivered to it before it went back. */
  wantsProjected({ route, seq }: LogEntry): boolean {
    const { projection, delivered } = this
    if (projection === undefined || route.application !== this.application) return false
    if (seq <= startOffsetOf(this, projection.room)) return false
    return delivered === undefined || !wasProjected(delivered, projection.room, seq)
  }

  /** Whether it got an event through a previous filter. Conversations do not count: nobody knows who took part then. */
  private hadBefore(entry: LogEntry): boolean {
    return (
      this.refiltered !== undefined && entry.route.conversation === undefined && wasDelivered(this.refiltered, entry)
    )
  }

  /** The sequence after which start offsets hold nothing back. */
  get startOffsetMax(): number {
    let highest = 0
    if (this.startOffsets !== undefined) for (const seq of this.startOffsets.values()) if (seq > highest) highest = seq
    return highest
  }
}
