import type { EventLog } from '../log/event-log.ts'
import type { CatchUp } from './catch-up.ts'
import {
  deliveredBeyond,
  excludeConversation,
  newestDelivered,
  startOffsetOf,
  withDelivered,
  withoutRoom,
} from './delivered.ts'
import type { Membership } from './membership.ts'
import type { Predicate } from './predicate.ts'
import type { ApplicationRooms, Group } from './room.ts'
import { CATCHING_UP, LIVE, type Subscriber } from './subscriber.ts'

export interface ReplayOptions {
  readonly log: EventLog
  readonly membership: Membership
  readonly catchUp: CatchUp
  /** Live subscribers have been sent everything up to this sequence. */
  readonly liveSeq: () => number
}

/**
 * Moves subscribers back in the log, and remembers what their other rooms have brought, so that it does not come
 * twice.
 */
export class Replay {
  private readonly log: EventLog
  private readonly membership: Membership
  private readonly catchUp: CatchUp
  private readonly liveSeq: () => number

  constructor({ log, membership, catchUp, liveSeq }: ReplayOptions) {
    this.log = log
    this.membership = membership
    this.catchUp = catchUp
    this.liveSeq = liveSeq
  }

  /**
   * Joins rooms and replays their events after `sinceSeq`. The subscriber's other rooms continue where they were; it
   * sees all events in order of position.
   */
  joinSince(
    subscriber: Subscriber,
    names: ReadonlySet<string>,
    predicate: Predicate | undefined,
    sinceSeq: number,
  ): void {
    if (names.size === 0) return
    for (const room of names) subscriber.refiltered = withoutRoom(subscriber.refiltered, room)
    this.goBack(subscriber, sinceSeq, ({ room }) => !names.has(room.name))
    for (const room of names) {
      this.membership.join(subscriber, room, predicate)
      subscriber.startAfter(room, sinceSeq)
    }
  }

  /** See `Hub.participates`. */
  participates(
    application: ApplicationRooms<Subscriber>,
    conversation: string,
    userId: string,
    sinceSeq: number,
  ): void {
    for (
      let subscriber = application.firstOfUser(userId);
      subscriber !== undefined;
      subscriber = subscriber.nextOfUser
    ) {
      const deliveredSeq =
        subscriber.state === LIVE ? this.liveSeq() : Math.max(subscriber.cursor, newestDelivered(subscriber.delivered))
      if (!this.passed(application, conversation, sinceSeq, deliveredSeq)) continue
      excludeConversation(subscriber.delivered, conversation)
      this.goBack(subscriber, sinceSeq, () => true, [conversation])
    }
  }

  /**
   * A room's filter changes from now on. Keeps what the subscriber got through the previous filter: it may be needed
   * later.
   */
  filterChanged(subscriber: Subscriber, before: Group<Subscriber>): void {
    const { name } = before.room
    const seq = subscriber.state === LIVE ? this.liveSeq() : Math.max(subscriber.cursor, subscriber.begunSeq)
    const joinedSeq = startOffsetOf(subscriber, name)
    let hadSeq = Math.max(seq, joinedSeq)
    const keep = (had: { readonly seq: number; readonly joinedSeq: number }) => {
      hadSeq = Math.max(hadSeq, had.seq)
      subscriber.refiltered = withDelivered(
        { ...had, begunSeq: 0, groups: [before], startOffsets: undefined, without: [], before: undefined },
        subscriber.refiltered,
      )
    }
    // Before it went back, it may have come further, and have been in the room since another sequence.
    for (let at = subscriber.delivered; at !== undefined; at = at.before)
      if (at.groups.includes(before)) keep({ seq: at.seq, joinedSeq: startOffsetOf(at, name) })
    keep({ seq, joinedSeq })
    subscriber.startAfter(name, hadSeq)
  }

  /** Events after `deliveredSeq` were not delivered, so the current filters apply to them as well. */
  lowerFilters(subscriber: Subscriber, deliveredSeq: number): void {
    for (let at = subscriber.refiltered; at !== undefined; at = at.before) {
      if (at.seq <= deliveredSeq) continue
      at.seq = deliveredSeq
      for (const { room } of at.groups)
        subscriber.startAfter(
          room.name,
          Math.min(startOffsetOf(subscriber, room.name), Math.max(at.joinedSeq, deliveredSeq)),
        )
    }
  }

  /** Whether events of a conversation may have gone by after `sinceSeq`, up to `deliveredSeq`. */
  private passed(
    application: ApplicationRooms<Subscriber>,
    conversation: string,
    sinceSeq: number,
    deliveredSeq: number,
  ): boolean {
    const { ring } = this.log
    if (sinceSeq >= deliveredSeq) return false
    if (sinceSeq < ring.completeAfter) return true
    for (let index = ring.indexAfter(sinceSeq); ; index++) {
      const entry = ring.at(index)
      if (entry === undefined || entry.seq > deliveredSeq) return false
      if (entry.route.conversation === conversation && entry.route.application === application) return true
    }
  }

  /**
   * Moves a subscriber back in the log. Events it already has are not sent again.
   * @param kept groups whose events it already has
   * @param without conversations whose events it did not get
   */
  private goBack(
    subscriber: Subscriber,
    toSeq: number,
    kept: (group: Group<Subscriber>) => boolean,
    without: readonly string[] = [],
  ): void {
    const deliveredSeq = subscriber.state === LIVE ? this.liveSeq() : subscriber.cursor
    if (subscriber.state === LIVE) this.membership.takeOffTopics(subscriber)
    subscriber.state = CATCHING_UP
    const before = deliveredBeyond(subscriber.delivered, subscriber.cursor)
    const groups = subscriber.groups.filter(kept)
    subscriber.delivered =
      groups.length === 0
        ? before
        : withDelivered(
            {
              seq: deliveredSeq,
              begunSeq: subscriber.begunSeq,
              groups,
              startOffsets: subscriber.startOffsets && new Map(subscriber.startOffsets),
              joinedSeq: subscriber.joinedSeq,
              without,
              before: undefined,
            },
            before,
          )
    subscriber.begunSeq = 0
    subscriber.cursor = Math.min(deliveredSeq, toSeq)
    this.catchUp.add(subscriber)
  }
}
