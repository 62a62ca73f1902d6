import type { Predicate } from './predicate.ts'
import type { Projection } from './projection.ts'
import type { Wire } from './wire.ts'

let groups = 0

/** An empty list that is never changed: `lengthened` puts another one in its place. */
const NONE: never[] = []

/** Adds to a list that mostly stays this short: `push` would reserve room for 17. */
export function lengthened<T>(list: T[], item: T): T[] {
  switch (list.length) {
    case 0:
      return [item]
    case 1:
      return [list[0] as T, item]
    default:
      list.push(item)
      return list
  }
}

/** A member of rooms: one of the hub's subscribers. */
export interface Member<M> {
  readonly wire: Wire
  readonly userId: string
  /** The next subscriber of the same user, and the one before. */
  nextOfUser: M | undefined
  previousOfUser: M | undefined
}

/** One native topic: a group's live members on one wire. */
export class Topic {
  readonly wire: Wire
  readonly name: string
  live = 0

  constructor(wire: Wire, group: number) {
    this.wire = wire
    this.name = `${wire.id}/${group.toString(36)}`
  }
}

/** The members of a room that want the same events: one native topic per wire, one predicate evaluation per event. */
export abstract class Group<M extends Member<M>> {
  abstract readonly room: Room<M>
  readonly predicate: Predicate | undefined
  /** Empty until the second member joins. */
  topics: Topic[] = NONE
  /** The group's only member, which gets events through its own topic. Most groups (`user:…`) never have a second. */
  sole: M | undefined
  /** All members, from the second one on. */
  private all: Set<M> | undefined
  private readonly serial = groups++

  constructor(predicate: Predicate | undefined) {
    this.predicate = predicate
  }

  get members(): Iterable<M> {
    return this.all ?? (this.sole === undefined ? NONE : [this.sole])
  }

  get size(): number {
    return this.all?.size ?? (this.sole === undefined ? 0 : 1)
  }

  has(subscriber: M): boolean {
    return this.all?.has(subscriber) ?? this.sole === subscriber
  }

  add(subscriber: M): void {
    if (this.all !== undefined) this.all.add(subscriber)
    else if (this.sole === undefined) this.sole = subscriber
    else if (this.sole !== subscriber) {
      this.all = new Set([this.sole, subscriber])
      this.sole = undefined
    }
  }

  delete(subscriber: M): void {
    this.all?.delete(subscriber)
    if (this.sole === subscriber) this.sole = undefined
  }

  topicOf(wire: Wire): Topic {
    for (const topic of this.topics) if (topic.wire.id === wire.id) return topic
    const topic = new Topic(wire, this.serial)
    this.topics = lengthened(this.topics, topic)
    return topic
  }

  /**
   * Ids of the wires that live members may be on. Two wire objects with the same id count as one wire: a namespace is
   * made again after it became empty.
   */
  get wireIds(): readonly string[] {
    return this.sole === undefined ? this.topics.map(({ wire }) => wire.id) : [this.sole.wire.id]
  }
}

/**
 * A room: the subscribers that get the events naming it. The room's own group holds those that want all of its events;
 * the others are in the `filtered` groups.
 */
export class Room<M extends Member<M>> extends Group<M> {
  readonly name: string
  filtered: Group<M>[] = NONE
  private readonly application: ApplicationRooms<M>

  constructor(name: string, application: ApplicationRooms<M>) {
    super(undefined)
    this.name = name
    this.application = application
  }

  get room(): Room<M> {
    return this
  }

  get groups(): readonly Group<M>[] {
    return [this, ...this.filtered]
  }

  get population(): number {
    let population = this.size
    for (const group of this.filtered) population += group.size
    return population
  }

  /** Whether a subscriber could be in both rooms. */
  sharesWireWith(other: Room<M>): boolean {
    return this.groups.some(({ wireIds }) =>
      wireIds.some((id) => other.groups.some((group) => group.wireIds.includes(id))),
    )
  }

  groupOf(predicate: Predicate | undefined): Group<M> {
    if (predicate === undefined) return this
    for (const group of this.filtered) if (group.predicate?.key === predicate.key) return group
    const group = new FilteredGroup(this, predicate)
    this.filtered = lengthened(this.filtered, group)
    return group
  }

  /** Forgets a group that has no members left, and the room with its last group. */
  forget(group: Group<M>): void {
    if (group !== this) this.filtered.splice(this.filtered.indexOf(group), 1)
    if (this.size === 0 && this.filtered.length === 0) this.application.rooms.delete(this.name)
  }
}

class FilteredGroup<M extends Member<M>> extends Group<M> {
  readonly room: Room<M>

  constructor(room: Room<M>, predicate: Predicate) {
    super(predicate)
    this.room = room
  }
}

/** Everyone who listens to one application: its rooms, and its subscribers by user. */
export class ApplicationRooms<M extends Member<M>> {
  readonly app: string
  readonly rooms = new Map<string, Room<M>>()
  /** Users who currently take part in a conversation. */
  readonly participantsIn: (conversation: string) => readonly string[]
  /** What the members of one room see of every event, if the application has such a room. */
  projection: Projection | undefined
  /** The first subscriber of each user; the others are linked through `nextOfUser`. */
  private readonly users = new Map<string, M>()

  constructor(app: string, participantsIn: (conversation: string) => readonly string[] = () => NONE) {
    this.app = app
    this.participantsIn = participantsIn
  }

  room(name: string): Room<M> {
    let room = this.rooms.get(name)
    if (!room) this.rooms.set(name, (room = new Room(name, this)))
    return room
  }

  addUser(subscriber: M): void {
    const first = this.users.get(subscriber.userId)
    subscriber.nextOfUser = first
    if (first) first.previousOfUser = subscriber
    this.users.set(subscriber.userId, subscriber)
  }

  /** Takes the same time however many others the user has: thousands may leave at once. */
  removeUser(subscriber: M): void {
    const { userId, nextOfUser: next, previousOfUser: previous } = subscriber
    if (previous) previous.nextOfUser = next
    else if (this.users.get(userId) === subscriber) {
      if (next) this.users.set(userId, next)
      else this.users.delete(userId)
    }
    if (next) next.previousOfUser = previous
    subscriber.nextOfUser = subscriber.previousOfUser = undefined
  }

  *subscribers(): Iterable<M> {
    for (const first of this.users.values()) for (let at: M | undefined = first; at; at = at.nextOfUser) yield at
  }

  firstOfUser(userId: string): M | undefined {
    return this.users.get(userId)
  }
}
