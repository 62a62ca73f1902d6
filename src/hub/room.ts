import type { Predicate } from './predicate.ts'
import type { Session } from './session.ts'
import type { View } from './view.ts'
import type { Wire } from './wire.ts'

let groups = 0

/** Adds to a list that mostly stays as short as it is: `push` would make room for 17. */
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

/** One native topic: a group's live members on one wire. */
export class Topic {
  readonly wire: Wire
  live = 0
  /** Its live member, where it came to none else: nothing is subscribed, and events go by the topic that only this session has. */
  only: Session | undefined
  /** Subscriptions since its subscribers were put in order (visiting-order.ts). */
  outOfOrder = 0
  private readonly serial: number
  private written: string | undefined

  /** @param serial of its group */
  constructor(wire: Wire, serial: number) {
    this.wire = wire
    this.serial = serial
  }

  /** Most topics are never subscribed to, and need none. */
  get name(): string {
    this.written ??= `${this.wire.id}/${this.serial.toString(36)}`
    return this.written
  }
}

/** The members of a room that want the same of it: one native topic per wire, one predicate evaluation per event. */
export class Group {
  readonly room: Room
  readonly predicate: Predicate | undefined
  topics: Topic[] = []
  private readonly serial = groups++
  /** Its one member. Most groups (`user:…`) never have another, and need no set. */
  private sole: Session | undefined
  /** From the second member on: all. */
  private all: Set<Session> | undefined

  constructor(room: Room, predicate: Predicate | undefined) {
    this.room = room
    this.predicate = predicate
  }

  get members(): Iterable<Session> {
    return this.all ?? (this.sole === undefined ? [] : [this.sole])
  }

  get size(): number {
    return this.all?.size ?? (this.sole === undefined ? 0 : 1)
  }

  has(session: Session): boolean {
    return this.all?.has(session) ?? this.sole === session
  }

  add(session: Session): void {
    if (this.all !== undefined) this.all.add(session)
    else if (this.sole === undefined) this.sole = session
    else if (this.sole !== session) {
      this.all = new Set([this.sole, session])
      this.sole = undefined
    }
  }

  delete(session: Session): void {
    this.all?.delete(session)
    if (this.sole === session) this.sole = undefined
  }

  topicOf(wire: Wire): Topic {
    for (const topic of this.topics) if (topic.wire.id === wire.id) return topic
    const topic = new Topic(wire, this.serial)
    this.topics = lengthened(this.topics, topic)
    return topic
  }
}

/** A room: who gets the events that name it. */
export class Room {
  readonly name: string
  groups: Group[] = []
  private readonly audience: Audience

  constructor(name: string, audience: Audience) {
    this.name = name
    this.audience = audience
  }

  get size(): number {
    let size = 0
    for (const group of this.groups) size += group.size
    return size
  }

  /** Whether a session could be in both. */
  sharesWireWith(other: Room): boolean {
    for (const { topics } of this.groups) {
      for (const { wire } of topics) if (other.groups.some((group) => group.topics.some((topic) => topic.wire === wire))) return true
    }
    return false
  }

  groupOf(predicate: Predicate | undefined): Group {
    const key = predicate?.key
    for (const group of this.groups) if (group.predicate?.key === key) return group
    const group = new Group(this, predicate)
    this.groups = lengthened(this.groups, group)
    return group
  }

  /** Forgets a group, and the room with its last one. */
  forget(group: Group): void {
    this.groups.splice(this.groups.indexOf(group), 1)
    if (this.groups.length === 0) this.audience.rooms.delete(this.name)
  }
}

/** Everyone who listens to one application: its rooms, and its sessions by user. */
export class Audience {
  readonly app: string
  readonly rooms = new Map<string, Room>()
  /** What those in one of its rooms see of every event, where there is such a room. */
  view: View | undefined
  /** First session of each user; the rest hang on `nextOfUser`. */
  private readonly users = new Map<string, Session>()

  constructor(app: string) {
    this.app = app
  }

  room(name: string): Room {
    let room = this.rooms.get(name)
    if (!room) this.rooms.set(name, (room = new Room(name, this)))
    return room
  }

  addUser(session: Session): void {
    session.nextOfUser = this.users.get(session.userId)
    this.users.set(session.userId, session)
  }

  removeUser(session: Session): void {
    let at = this.users.get(session.userId)
    if (at === session) {
      if (session.nextOfUser) this.users.set(session.userId, session.nextOfUser)
      else this.users.delete(session.userId)
    }
    for (; at; at = at.nextOfUser) if (at.nextOfUser === session) at.nextOfUser = session.nextOfUser
    session.nextOfUser = undefined
  }

  *sessions(): Iterable<Session> {
    for (const first of this.users.values()) for (let at: Session | undefined = first; at; at = at.nextOfUser) yield at
  }

  firstOfUser(userId: string): Session | undefined {
    return this.users.get(userId)
  }
}
