import type { LogEntry } from '../log/entry.ts'
import type { Meters } from '../meters.ts'
import { accepts } from './predicate.ts'
import type { Audience, Group, Room } from './room.ts'
import { LIVE, type Session } from './session.ts'

/** Which of two sessions an event is published to first. */
interface Rehearsal {
  readonly sessions: readonly Session[]
  first: Session | undefined
}

/**
 * The way of one event through rooms, groups and wire formats to native topics: each session that wants it gets it
 * once.
 */
export class Delivery {
  private readonly meters: Meters
  /** While set, nothing is published. */
  private rehearsal: Rehearsal | undefined

  constructor(meters: Meters) {
    this.meters = meters
  }

  /**
   * Which of two sessions an event is published to first. Goes the same way through rooms and members as when it was
   * published, and only looks who comes.
   */
  reachesFirst(entry: LogEntry, one: Session, other: Session): Session | undefined {
    const rehearsal: Rehearsal = { sessions: [one, other], first: undefined }
    this.rehearsal = rehearsal
    this.distribute(entry)
    this.rehearsal = undefined
    return rehearsal.first
  }

  /** Publishes an event to all live sessions that want it. */
  distribute(entry: LogEntry): void {
    const { route } = entry
    const audience = route.audience as Audience
    if (route.conversation !== undefined)
      this.deliverToUsers(entry, audience, audience.participantsIn(route.conversation))
    else if (route.users !== undefined) this.deliverToUsers(entry, audience, route.users)
    else if (route.rooms.length === 1) this.deliverToRoom(entry, audience, route.rooms[0] as string)
    else this.deliverToRooms(entry, audience, route.rooms)
  }

  private deliverToRoom(entry: LogEntry, audience: Audience, name: string): void {
    const room = audience.rooms.get(name)
    if (room === undefined) return
    this.publish(entry, room)
    for (const group of room.filtered) if (isWanted(entry, group)) this.publish(entry, group)
  }

  private publish(entry: LogEntry, group: Group): void {
    if (group.sole !== undefined) return this.publishToOne(group.sole, entry)
    for (const topic of group.topics) {
      if (topic.live === 0) continue
      if (this.rehearsal !== undefined) {
        const { id } = topic.wire
        this.rehearse((session) => session.wire.id === id && group.has(session))
        continue
      }
      const frame = entry.frame(topic.wire)
      topic.wire.publish(topic.name, frame)
      this.meters.delivered(topic.wire.format, topic.live, frame.length)
    }
  }

  /**
   * uWS does not know who is in two rooms: of rooms that may share sessions the largest is published natively, the
   * others are walked. A session has one wire, so rooms without a wire in common share none.
   */
  private deliverToRooms(entry: LogEntry, audience: Audience, names: readonly string[]): void {
    const classes: Room[][] = []
    for (const name of names) {
      const room = audience.rooms.get(name)
      if (room === undefined) continue
      classify(room, classes)
    }
    for (const rooms of classes) this.deliverOnce(entry, audience, rooms)
  }

  private deliverOnce(entry: LogEntry, audience: Audience, rooms: Room[]): void {
    if (rooms.length > 1) rooms.sort((a, b) => b.population - a.population)
    this.deliverToRoom(entry, audience, (rooms[0] as Room).name)
    for (let i = 1; i < rooms.length; i++) {
      for (const group of (rooms[i] as Room).groups) {
        if (!isWanted(entry, group)) continue
        for (const session of group.members) {
          if (!isReachedInAny(session, rooms, i, entry)) this.publishToOne(session, entry)
        }
      }
    }
  }

  private deliverToUsers(entry: LogEntry, audience: Audience, users: readonly string[]): void {
    for (const user of users) {
      for (let session = audience.firstOfUser(user); session !== undefined; session = session.nextOfUser) {
        if (entry.route.rooms.some((room) => isReachedIn(session as Session, room, entry)))
          this.publishToOne(session, entry)
      }
    }
  }

  /** By a topic of its own rather than `send`, so that the event stands in line with those of its rooms. */
  private publishToOne(session: Session, entry: LogEntry): void {
    if (this.rehearsal !== undefined) return this.rehearse((other) => other === session)
    if (session.state !== LIVE) return
    const { wire } = session
    if (session.ownTopic === undefined) {
      session.ownTopic = `s${session.id}`
      session.peer.subscribe(session.ownTopic)
    }
    const frame = entry.frame(wire)
    wire.publish(session.ownTopic, frame)
    this.meters.delivered(wire.format, 1, frame.length)
  }

  private rehearse(reaches: (session: Session) => boolean): void {
    if (this.rehearsal) this.rehearsal.first ??= this.rehearsal.sessions.find(reaches)
  }
}

/** Puts a room with those that it shares a wire with, directly or by way of others. */
function classify(room: Room, classes: Room[][]): void {
  let own: Room[] | undefined
  for (let i = 0; i < classes.length; i++) {
    const others = classes[i] as Room[]
    if (!others.some((other) => other.sharesWireWith(room))) continue
    if (own === undefined) own = others
    else {
      own.push(...others)
      classes.splice(i--, 1)
    }
  }
  if (own === undefined) classes.push([room])
  else own.push(room)
}

/** Whether the session gets this event by one of the first rooms of a list. */
function isReachedInAny(session: Session, rooms: readonly Room[], count: number, entry: LogEntry): boolean {
  for (let i = 0; i < count; i++) if (isReachedIn(session, (rooms[i] as Room).name, entry)) return true
  return false
}

/** Whether the session gets this event by its membership in that room. */
function isReachedIn(session: Session, room: string, entry: LogEntry): boolean {
  const group = session.groupIn(room)
  return group !== undefined && isWanted(entry, group)
}

function isWanted(entry: LogEntry, { predicate }: Group): boolean {
  return predicate === undefined || accepts(predicate, entry.route.facets)
}
