import type { LogEntry } from '../log/entry.ts'
import type { Meters } from '../meters.ts'
import { accepts } from './predicate.ts'
import type { ApplicationRooms, Group, Room } from './room.ts'
import { LIVE, type Subscriber } from './subscriber.ts'

/** A dry run: which of two subscribers an event is published to first. */
interface DryRun {
  readonly subscribers: readonly Subscriber[]
  first: Subscriber | undefined
}

/**
 * Takes one event through rooms, groups and wire formats to native topics: each subscriber that wants it gets it once.
 */
export class Delivery {
  private readonly meters: Meters
  /** While set, nothing is published. */
  private dryRun: DryRun | undefined

  constructor(meters: Meters) {
    this.meters = meters
  }

  /**
   * Tells which of two subscribers an event was published to first, by walking rooms and members as publishing did,
   * without publishing anything.
   */
  reachesFirst(entry: LogEntry, one: Subscriber, other: Subscriber): Subscriber | undefined {
    const dryRun: DryRun = { subscribers: [one, other], first: undefined }
    this.dryRun = dryRun
    this.distribute(entry)
    this.dryRun = undefined
    return dryRun.first
  }

  /** Publishes an event to all live subscribers that want it. */
  distribute(entry: LogEntry): void {
    const { route } = entry
    const application = route.application as ApplicationRooms<Subscriber>
    if (route.conversation !== undefined)
      this.deliverToUsers(entry, application, application.participantsIn(route.conversation))
    else if (route.users !== undefined) this.deliverToUsers(entry, application, route.users)
    else if (route.rooms.length === 1) this.deliverToRoom(entry, application, route.rooms[0] as string)
    else this.deliverToRooms(entry, application, route.rooms)
  }

  private deliverToRoom(entry: LogEntry, application: ApplicationRooms<Subscriber>, name: string): void {
    const room = application.rooms.get(name)
    if (room === undefined) return
    this.publish(entry, room)
    for (const group of room.filtered) if (isWanted(entry, group)) this.publish(entry, group)
  }

  private publish(entry: LogEntry, group: Group<Subscriber>): void {
    if (group.sole !== undefined) return this.publishToOne(group.sole, entry)
    for (const topic of group.topics) {
      if (topic.live === 0) continue
      if (this.dryRun !== undefined) {
        const { id } = topic.wire
        this.note((subscriber) => subscriber.wire.id === id && group.has(subscriber))
        continue
      }
      const frame = entry.frame(topic.wire)
      topic.wire.publish(topic.name, frame)
      this.meters.delivered(topic.wire.format, topic.live, frame.length)
    }
  }

  /**
   * uWS cannot tell who is in two rooms. Of rooms that may share subscribers, the largest is published natively and the
   * others are walked member by member. A subscriber has one wire, so rooms without a common wire share no subscribers.
   */
  private deliverToRooms(entry: LogEntry, application: ApplicationRooms<Subscriber>, names: readonly string[]): void {
    const classes: Room<Subscriber>[][] = []
    for (const name of names) {
      const room = application.rooms.get(name)
      if (room === undefined) continue
      classify(room, classes)
    }
    for (const rooms of classes) this.deliverOnce(entry, application, rooms)
  }

  private deliverOnce(entry: LogEntry, application: ApplicationRooms<Subscriber>, rooms: Room<Subscriber>[]): void {
    if (rooms.length > 1) rooms.sort((a, b) => b.population - a.population)
    this.deliverToRoom(entry, application, (rooms[0] as Room<Subscriber>).name)
    for (let i = 1; i < rooms.length; i++) {
      for (const group of (rooms[i] as Room<Subscriber>).groups) {
        if (!isWanted(entry, group)) continue
        for (const subscriber of group.members) {
          if (!isReachedInAny(subscriber, rooms, i, entry)) this.publishToOne(subscriber, entry)
        }
      }
    }
  }

  private deliverToUsers(entry: LogEntry, application: ApplicationRooms<Subscriber>, users: readonly string[]): void {
    for (const user of users) {
      for (
        let subscriber = application.firstOfUser(user);
        subscriber !== undefined;
        subscriber = subscriber.nextOfUser
      ) {
        if (entry.route.rooms.some((room) => isReachedIn(subscriber as Subscriber, room, entry)))
          this.publishToOne(subscriber, entry)
      }
    }
  }

  /** Uses the subscriber's own topic rather than `send`, so that the event stays in order with those of its rooms. */
  private publishToOne(subscriber: Subscriber, entry: LogEntry): void {
    if (this.dryRun !== undefined) return this.note((other) => other === subscriber)
    if (subscriber.state !== LIVE) return
    const { wire } = subscriber
    if (subscriber.ownTopic === undefined) {
      subscriber.ownTopic = `s${subscriber.id}`
      subscriber.peer.subscribe(subscriber.ownTopic)
    }
    const frame = entry.frame(wire)
    wire.publish(subscriber.ownTopic, frame)
    this.meters.delivered(wire.format, 1, frame.length)
  }

  private note(reaches: (subscriber: Subscriber) => boolean): void {
    if (this.dryRun) this.dryRun.first ??= this.dryRun.subscribers.find(reaches)
  }
}

/** Puts a room in the same class as the rooms it shares a wire with, directly or through others. */
function classify(room: Room<Subscriber>, classes: Room<Subscriber>[][]): void {
  let own: Room<Subscriber>[] | undefined
  for (let i = 0; i < classes.length; i++) {
    const others = classes[i] as Room<Subscriber>[]
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

/** Whether the subscriber gets this event through one of the first `count` rooms of a list. */
function isReachedInAny(
  subscriber: Subscriber,
  rooms: readonly Room<Subscriber>[],
  count: number,
  entry: LogEntry,
): boolean {
  for (let i = 0; i < count; i++) if (isReachedIn(subscriber, (rooms[i] as Room<Subscriber>).name, entry)) return true
  return false
}

/** Whether the subscriber gets this event through its membership in that room. */
function isReachedIn(subscriber: Subscriber, room: string, entry: LogEntry): boolean {
  const group = subscriber.groupIn(room)
  return group !== undefined && isWanted(entry, group)
}

function isWanted(entry: LogEntry, { predicate }: Group<Subscriber>): boolean {
  return predicate === undefined || accepts(predicate, entry.route.fieldValues)
}
