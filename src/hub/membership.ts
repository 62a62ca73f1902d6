import { startOffsetOf, withoutRoom } from './delivered.ts'
import type { Predicate } from './predicate.ts'
import { type Group, lengthened } from './room.ts'
import { CATCHING_UP, LIVE, type Subscriber } from './subscriber.ts'

/** The groups subscribers are in and, while they are live, the native topics they are on. */
export class Membership {
  /** Joining a room again replaces the subscriber's predicate, and the room counts as joined last. */
  join(subscriber: Subscriber, roomName: string, predicate: Predicate | undefined): void {
    const before = subscriber.groupIn(roomName)
    if (before !== undefined && before.predicate?.key === predicate?.key) {
      subscriber.groups.push(...subscriber.groups.splice(subscriber.groups.indexOf(before), 1))
      return
    }
    const group = subscriber.application.room(roomName).groupOf(predicate)
    const { sole } = group
    group.add(subscriber)
    // The first member is no longer alone, so it needs the group's topic.
    if (sole?.state === LIVE) this.subscribe(sole, group)
    if (subscriber.state === LIVE) this.subscribe(subscriber, group)
    subscriber.groups = lengthened(subscriber.groups, group)
    if (subscriber.application.projection?.room === roomName) subscriber.projection = subscriber.application.projection
    if (before !== undefined) {
      subscriber.groups.splice(subscriber.groups.indexOf(before), 1)
      if (subscriber.state === LIVE) this.unsubscribe(subscriber, before)
      remove(subscriber, before)
    }
  }

  leave(subscriber: Subscriber, group: Group<Subscriber>): void {
    subscriber.groups.splice(subscriber.groups.indexOf(group), 1)
    if (subscriber.projection?.room === group.room.name) subscriber.projection = undefined
    subscriber.startOffsets?.delete(group.room.name)
    subscriber.refiltered = withoutRoom(subscriber.refiltered, group.room.name)
    if (subscriber.state === LIVE) this.unsubscribe(subscriber, group)
    remove(subscriber, group)
  }

  /** Leaves all groups. @param live it still counts on its topics, as its socket was closed */
  leaveAll(subscriber: Subscriber, live: boolean): void {
    for (const group of subscriber.groups) {
      if (live && group.sole !== subscriber) group.topicOf(subscriber.wire).live--
      remove(subscriber, group)
    }
    subscriber.groups = []
  }

  turnLive(subscriber: Subscriber): void {
    subscriber.state = LIVE
    subscriber.delivered = undefined
    unite(subscriber)
    for (const group of subscriber.groups) this.subscribe(subscriber, group)
  }

  takeOffTopics(subscriber: Subscriber): void {
    for (const group of subscriber.groups) this.unsubscribe(subscriber, group)
    if (subscriber.ownTopic !== undefined) subscriber.peer.unsubscribe(subscriber.ownTopic)
    subscriber.ownTopic = undefined
    subscriber.state = CATCHING_UP
    subscriber.leaving = true
  }

  private subscribe(subscriber: Subscriber, group: Group<Subscriber>): void {
    if (group.sole === subscriber) return
    const topic = group.topicOf(subscriber.wire)
    topic.live++
    subscriber.peer.subscribe(topic.name)
  }

  private unsubscribe(subscriber: Subscriber, group: Group<Subscriber>): void {
    if (group.sole === subscriber) return
    const topic = group.topicOf(subscriber.wire)
    topic.live--
    subscriber.peer.unsubscribe(topic.name)
  }
}

/** Drops the map of start offsets if all its rooms have the same one. */
function unite(subscriber: Subscriber): void {
  const [first, ...others] = subscriber.groups
  if (subscriber.startOffsets === undefined || first === undefined) return
  const startOffset = startOffsetOf(subscriber, first.room.name)
  if (!others.every(({ room }) => startOffsetOf(subscriber, room.name) === startOffset)) return
  subscriber.joinedSeq = startOffset
  subscriber.startOffsets = undefined
}

function remove(subscriber: Subscriber, group: Group<Subscriber>): void {
  group.delete(subscriber)
  if (group.size === 0) group.room.forget(group)
}
