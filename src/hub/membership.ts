import { floorOf, withoutRoom } from './had.ts'
import type { Predicate } from './predicate.ts'
import { type Group, lengthened } from './room.ts'
import { BEHIND, LIVE, type Session } from './session.ts'
import { VisitingOrder } from './visiting-order.ts'

/** Which groups sessions are in, and, while they are live, on which native topics. */
export class Membership {
  private readonly visitingOrder = new VisitingOrder()

  /** Looks after large topics. Call every second or so. */
  sweep(): void {
    this.visitingOrder.sweep()
  }

  /** A room that the session is in already: its predicate is replaced, and it counts as joined last. */
  enter(session: Session, roomName: string, predicate: Predicate | undefined): void {
    const before = session.groupIn(roomName)
    if (before !== undefined && before.predicate?.key === predicate?.key) {
      session.groups.push(...session.groups.splice(session.groups.indexOf(before), 1))
      return
    }
    const group = session.audience.room(roomName).groupOf(predicate)
    const { sole } = group
    group.add(session)
    // It is no longer alone.
    if (sole?.state === LIVE) this.subscribe(sole, group)
    if (session.state === LIVE) this.subscribe(session, group)
    session.groups = lengthened(session.groups, group)
    if (session.audience.view?.room === roomName) session.view = session.audience.view
    if (before !== undefined) {
      session.groups.splice(session.groups.indexOf(before), 1)
      if (session.state === LIVE) this.unsubscribe(session, before)
      remove(session, before)
    }
  }

  exit(session: Session, group: Group): void {
    session.groups.splice(session.groups.indexOf(group), 1)
    if (session.view?.room === group.room.name) session.view = undefined
    session.floors?.delete(group.room.name)
    session.refiltered = withoutRoom(session.refiltered, group.room.name)
    if (session.state === LIVE) this.unsubscribe(session, group)
    remove(session, group)
  }

  /** Out of everything. @param live its socket is closed, and was on its topics */
  exitAll(session: Session, live: boolean): void {
    for (const group of session.groups) {
      if (live && group.sole !== session) group.topicOf(session.wire).live--
      remove(session, group)
    }
    session.groups = []
  }

  turnLive(session: Session): void {
    session.state = LIVE
    session.had = undefined
    unite(session)
    for (const group of session.groups) this.subscribe(session, group)
  }

  takeOffTopics(session: Session): void {
    for (const group of session.groups) this.unsubscribe(session, group)
    if (session.ownTopic !== undefined) session.peer.unsubscribe(session.ownTopic)
    session.ownTopic = undefined
    session.state = BEHIND
    session.leaving = true
  }

  private subscribe(session: Session, group: Group): void {
    if (group.sole === session) return
    const topic = group.topicOf(session.wire)
    topic.live++
    session.peer.subscribe(topic.name)
    this.visitingOrder.subscribed(group, topic)
  }

  private unsubscribe(session: Session, group: Group): void {
    if (group.sole === session) return
    const topic = group.topicOf(session.wire)
    topic.live--
    session.peer.unsubscribe(topic.name)
  }
}

/** Where all its rooms were joined at one place, no map is kept of it. */
function unite(session: Session): void {
  const [first, ...others] = session.groups
  if (session.floors === undefined || first === undefined) return
  const floor = floorOf(session, first.room.name)
  if (!others.every(({ room }) => floorOf(session, room.name) === floor)) return
  session.joinedSeq = floor
  session.floors = undefined
}

function remove(session: Session, group: Group): void {
  group.delete(session)
  if (group.size === 0) group.room.forget(group)
}
