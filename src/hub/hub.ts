import { reportFault, soon } from '../guarded.ts'
import type { LogEntry } from '../log/entry.ts'
import type { EventLog } from '../log/event-log.ts'
import { seqInTail } from '../log/position.ts'
import type { Meters } from '../meters.ts'
import { CatchUp, type CatchUpLimits } from './catch-up.ts'
import { Delivery } from './delivery.ts'
import {
  excludeConversation,
  startOffsetOf,
  deliveredBeyond,
  withDelivered,
  newestDelivered,
  lowerDelivered,
  withoutRoom,
} from './delivered.ts'
import { Membership } from './membership.ts'
import type { Predicate } from './predicate.ts'
import type { ApplicationRooms, Group } from './room.ts'
import { type Message, NO_PEER, type Wire } from './wire.ts'
import { CATCHING_UP, CLOSED, OVERFLOWED, LIVE, type Subscriber } from './subscriber.ts'

/**
 * Events delivered in one turn of the event loop. uWS batches up to 32 messages for a socket and flushes the batch in
 * the middle of a publish when a 33rd comes; kept below that, sockets drop only in the flush at the turn's end, when
 * nothing is half published; a heartbeat may be among them. A first delivery, straight from the source's callback, may
 * share its turn with the one after it, so it takes half.
 */
const EVENTS_PER_TURN = 30
/**
 * Events kept beyond the ring: all whose frames uWS may still hold. A power of two, and more than those of two turns.
 */
const RECENT_EVENTS = 64

/**
 * Rooms, and who is in them: takes events off the log and publishes each to the native topics of its rooms, once per
 * wire format in use. Subscribers whose socket is full leave live delivery and are fed by `CatchUp`.
 */
export class Hub {
  readonly catchUp: CatchUp
  /** Everything up to this sequence has gone out to live subscribers. */
  liveSeq = 0
  private readonly log: EventLog
  private readonly meters: Meters
  private readonly overflowed: Subscriber[] = []
  private readonly recent: (LogEntry | undefined)[] = new Array(RECENT_EVENTS).fill(undefined)
  private recentAt = 0
  private readonly delivery: Delivery
  private readonly membership = new Membership()
  private readonly applications = new Set<ApplicationRooms<Subscriber>>()
  private readonly quietBytes: number
  private scheduled = false
  /** Turns in a row in which there were events. */
  private turns = 0

  constructor(log: EventLog, meters: Meters, limits: CatchUpLimits) {
    this.log = log
    this.meters = meters
    this.delivery = new Delivery(meters)
    this.quietBytes = limits.bufferBytes
    this.catchUp = new CatchUp(log, meters, limits, {
      headSeq: () => this.liveSeq,
      turnLive: (subscriber) => this.membership.turnLive(subscriber),
    })
  }

  /** Starts the log; resolves once it is warm, and live delivery goes on from its head. */
  async start(): Promise<void> {
    await this.log.start({ appended: () => this.schedule(), reset: (epochBefore) => this.reset(epochBefore) })
    this.liveSeq = this.log.headSeq
  }

  /** Looks after subscribers that catch up, and large topics. Call every second or so. */
  sweep(nowMs: number): void {
    this.catchUp.sweep(nowMs)
    this.membership.sweep()
  }

  /** Adds a subscriber that is in no room yet. */
  open(subscriber: Subscriber): void {
    this.applications.add(subscriber.application)
    subscriber.application.addUser(subscriber)
    if (subscriber.native) return
    subscriber.state = CATCHING_UP
    subscriber.cursor = this.liveSeq
    this.catchUp.add(subscriber)
  }

  /** Its connection can hold native topics from now on: the subscriber turns live once it has everything. */
  turnNative(subscriber: Subscriber): void {
    subscriber.native = true
    if (subscriber.state === CATCHING_UP) this.catchUp.add(subscriber)
  }

  /**
   * Joins rooms from now on. A room that the subscriber is in already: its predicate is replaced, and it counts as
   * joined last.
   * @param predicate what it wants of them; undefined: all
   */
  join(subscriber: Subscriber, rooms: Iterable<string>, predicate?: Predicate): void {
    this.detachOverflowed()
    if (subscriber.state === CLOSED) return
    if (subscriber.state === LIVE && subscriber.groups.length === 0) subscriber.joinedSeq = this.liveSeq
    for (const room of rooms) {
      const before = subscriber.groupIn(room)
      this.membership.join(subscriber, room, predicate)
      if (before === undefined) {
        if (subscriber.state !== LIVE || this.liveSeq !== subscriber.joinedSeq)
          this.startOffsetsOf(subscriber).set(room, this.liveSeq)
      } else if (before.predicate?.key !== predicate?.key) this.keepFilter(subscriber, before)
    }
    if (subscriber.state === LIVE && !subscriber.mayBeLive) {
      this.membership.takeOffTopics(subscriber)
      subscriber.cursor = this.liveSeq
      this.catchUp.add(subscriber)
    }
  }

  /**
   * Joins rooms and replays what they had after `sinceSeq`. Events of the subscriber's other rooms go on where they
   * were; the subscriber sees all in order of position.
   */
  joinSince(subscriber: Subscriber, rooms: Iterable<string>, predicate: Predicate | undefined, sinceSeq: number): void {
    this.detachOverflowed()
    if (subscriber.state === CLOSED) return
    const names = new Set(rooms)
    if (names.size === 0) return
    for (const room of names) subscriber.refiltered = withoutRoom(subscriber.refiltered, room)
    this.goBack(subscriber, sinceSeq, ({ room }) => !names.has(room.name))
    const startOffsets = this.startOffsetsOf(subscriber)
    for (const room of names) {
      this.membership.join(subscriber, room, predicate)
      startOffsets.set(room, sinceSeq)
    }
  }

  /**
   * A user takes part in a conversation. Its events after a sequence that went by before that was known here are sent
   * now to the user's subscribers.
   */
  participates(
    application: ApplicationRooms<Subscriber>,
    conversation: string,
    userId: string,
    sinceSeq: number,
  ): void {
    this.detachOverflowed()
    for (
      let subscriber = application.firstOfUser(userId);
      subscriber !== undefined;
      subscriber = subscriber.nextOfUser
    ) {
      const deliveredSeq =
        subscriber.state === LIVE ? this.liveSeq : Math.max(subscriber.cursor, newestDelivered(subscriber.delivered))
      if (!this.passed(application, conversation, sinceSeq, deliveredSeq)) continue
      excludeConversation(subscriber.delivered, conversation)
      this.goBack(subscriber, sinceSeq, () => true, [conversation])
    }
  }

  /**
   * A room's filter is another one from now on: what the subscriber had by the one of before it may need to know later.
   */
  private keepFilter(subscriber: Subscriber, before: Group<Subscriber>): void {
    const { name } = before.room
    const seq = subscriber.state === LIVE ? this.liveSeq : Math.max(subscriber.cursor, subscriber.begunSeq)
    const joinedSeq = startOffsetOf(subscriber, name)
    // It may have gone back from further on.
    let hadSeq = seq
    for (let at = subscriber.delivered; at !== undefined; at = at.before)
      if (at.groups.includes(before)) hadSeq = Math.max(hadSeq, at.seq)
    subscriber.refiltered = withDelivered(
      {
        seq: hadSeq,
        begunSeq: 0,
        groups: [before],
        startOffsets: undefined,
        joinedSeq,
        without: [],
        before: undefined,
      },
      subscriber.refiltered,
    )
    this.startOffsetsOf(subscriber).set(name, Math.max(seq, joinedSeq))
  }

  /** Events behind this one were not delivered: the filters of now are for them as well. */
  private lowerFilters(subscriber: Subscriber, deliveredSeq: number): void {
    for (let at = subscriber.refiltered; at !== undefined; at = at.before) {
      if (at.seq <= deliveredSeq) continue
      at.seq = deliveredSeq
      for (const { room } of at.groups)
        this.startOffsetsOf(subscriber).set(
          room.name,
          Math.max(at.joinedSeq, Math.min(startOffsetOf(subscriber, room.name), deliveredSeq)),
        )
    }
  }

  /** Whether events of a conversation may have gone by after a sequence. */
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
   * Puts a subscriber's place in the log back. What it had does not come again.
   * @param kept groups whose events it had
   * @param without conversations whose events it did not get
   */
  private goBack(
    subscriber: Subscriber,
    toSeq: number,
    kept: (group: Group<Subscriber>) => boolean,
    without: readonly string[] = [],
  ): void {
    const deliveredSeq = subscriber.state === LIVE ? this.liveSeq : subscriber.cursor
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

  leave(subscriber: Subscriber, rooms: readonly string[]): void {
    this.detachOverflowed()
    for (const room of rooms) {
      const group = subscriber.groupIn(room)
      if (group) this.membership.leave(subscriber, group)
    }
    // Without a projection it may be live.
    if (subscriber.state === CATCHING_UP) this.catchUp.add(subscriber)
  }

  /** Replaces the predicates of all its rooms, for example after its token changed. */
  rejoin(subscriber: Subscriber, predicateOf: (before: Predicate | undefined) => Predicate | undefined): void {
    for (const { room, predicate } of [...subscriber.groups]) this.join(subscriber, [room.name], predicateOf(predicate))
  }

  /** @param socketStays others share its socket, which goes on */
  close(subscriber: Subscriber, socketStays = false): void {
    if (subscriber.state === CLOSED) return
    if (socketStays && (subscriber.state === LIVE || subscriber.state === OVERFLOWED))
      this.membership.takeOffTopics(subscriber)
    const wasLive = subscriber.state === LIVE || subscriber.state === OVERFLOWED
    subscriber.state = CLOSED
    this.membership.leaveAll(subscriber, wasLive)
    subscriber.application.removeUser(subscriber)
    this.catchUp.remove(subscriber)
    subscriber.peer = NO_PEER
  }

  /**
   * uWS dropped a frame for this subscriber's socket, which is over its limit. From the first lost event on it is fed
   * from the log. Nothing may be subscribed, published or closed in here.
   * @param siblings the subscribers that share the socket, if it has several: they lose what comes after, too
   */
  dropped(subscriber: Subscriber, frame: Uint8Array, siblings?: Iterable<Subscriber>): void {
    const seq = seqInTail(frame, this.log.epochBytes)
    if (seq === undefined) return
    this.meters.drops++
    this.overflow(subscriber, seq - 1)
    if (siblings === undefined) return
    for (const sibling of siblings)
      if (sibling !== subscriber) this.overflow(sibling, this.cameBefore(sibling, subscriber, seq) ? seq : seq - 1)
  }

  /**
   * A frame that is no event was dropped from a native topic, and with it whatever was published to these subscribers'
   * socket after it.
   * @param deliveredSeq the newest event that was published before it
   */
  droppedAfter(subscribers: Iterable<Subscriber>, deliveredSeq: number): void {
    for (const subscriber of subscribers) this.overflow(subscriber, deliveredSeq)
  }

  private overflow(subscriber: Subscriber, deliveredSeq: number): void {
    if (subscriber.refiltered !== undefined && (subscriber.state !== CATCHING_UP || subscriber.leaving))
      this.lowerFilters(subscriber, deliveredSeq)
    if (subscriber.state === LIVE) {
      subscriber.state = OVERFLOWED
      subscriber.cursor = deliveredSeq
      this.overflowed.push(subscriber)
      if (this.overflowed.length === 1) soon('full sockets', () => this.detachOverflowed())
    } else if (subscriber.state === OVERFLOWED || subscriber.leaving) {
      subscriber.cursor = Math.min(subscriber.cursor, deliveredSeq)
      lowerDelivered(subscriber.delivered, deliveredSeq)
    }
    // Otherwise nothing of its topics is on its way: what was dropped is another subscriber's, or was fed, and stays to
    // be fed.
  }

  /** Whether an event was published to one subscriber of a socket before it was published to another. */
  private cameBefore(one: Subscriber, other: Subscriber, seq: number): boolean {
    const entry = this.recent.find((each) => each?.seq === seq)
    if (entry === undefined || !one.wants(entry)) return true
    return this.delivery.reachesFirst(entry, one, other) === one
  }

  /** The socket took some of what it had queued. */
  drained(subscriber: Subscriber): void {
    this.detachOverflowed()
    this.catchUp.drained(subscriber)
  }

  /**
   * Says something that is no event to a room, or to several: not stored, to each subscriber once, and left out where a
   * socket is full.
   * @param except subscribers that are not to hear it
   */
  broadcast(
    application: ApplicationRooms<Subscriber>,
    rooms: string | readonly string[],
    message: Message,
    except: (subscriber: Subscriber) => boolean = () => false,
  ): void {
    const frames = new Map<Wire, Uint8Array>()
    const told = new Set<Subscriber>()
    for (const group of [rooms].flat().flatMap((room) => application.rooms.get(room)?.groups ?? [])) {
      for (const subscriber of group.members) {
        if (told.has(subscriber)) continue
        told.add(subscriber)
        const { wire, peer } = subscriber
        if (subscriber.state === OVERFLOWED || peer.getBufferedAmount() > this.quietBytes || except(subscriber))
          continue
        let frame = frames.get(wire)
        if (frame === undefined) frames.set(wire, (frame = wire.encodeMessage(message)))
        peer.send(frame, wire.binary)
      }
    }
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    this.turns = 0
    this.advanceGuarded(EVENTS_PER_TURN / 2)
    setImmediate(this.turn)
  }

  private readonly turn = (): void => {
    this.scheduled = this.log.next() !== undefined
    if (!this.scheduled) return
    this.advanceGuarded(this.turns++ === 0 ? EVENTS_PER_TURN / 2 : EVENTS_PER_TURN)
    setImmediate(this.turn)
  }

  /** One `try` a turn: a fault costs this turn, and not all that come after it. */
  private advanceGuarded(eventsMax: number): void {
    try {
      this.advance(eventsMax)
    } catch (error) {
      reportFault('live delivery', error)
    }
  }

  private advance(eventsMax: number): void {
    for (let n = 0; n < eventsMax; n++) {
      const entry = this.log.next()
      if (entry === undefined) break
      this.detachOverflowed()
      this.passGaps(entry.seq)
      try {
        this.deliver(entry)
      } catch (error) {
        this.meters.unencodable(entry, error)
      }
      this.liveSeq = entry.seq
      this.log.delivered(entry)
    }
    if (this.log.next() === undefined) {
      this.passGaps(this.log.headSeq)
      this.liveSeq = this.log.headSeq
    }
    this.catchUp.advanced()
  }

  /**
   * Where events were lost before they were read, everybody is behind: the log has no more what they are to get, and
   * they are told.
   */
  private passGaps(seq: number): void {
    const lost = this.log.passGaps(seq)
    if (lost === 0) return
    this.meters.lostEvents += lost
    this.takeAllOffTopics()
  }

  /** The stream is another one, or was cut short: all are behind then, and are told what they missed. */
  private reset(epochBefore: string): void {
    this.detachOverflowed()
    this.takeAllOffTopics()
    this.recent.fill(undefined)
    this.liveSeq = this.log.headSeq
    this.catchUp.reset(epochBefore)
  }

  private takeAllOffTopics(): void {
    for (const application of this.applications) {
      for (const subscriber of application.subscribers()) {
        if (subscriber.state !== LIVE) continue
        this.membership.takeOffTopics(subscriber)
        subscriber.cursor = this.liveSeq
        this.catchUp.add(subscriber)
      }
    }
  }

  private deliver(entry: LogEntry): void {
    const bytesBefore = entry.bytes
    this.recent[this.recentAt++ & (RECENT_EVENTS - 1)] = entry
    this.delivery.distribute(entry)
    if (entry.bytes !== bytesBefore) this.log.ring.grew(entry.bytes - bytesBefore)
    this.meters.published(entry.timeMs)
  }

  /** Takes subscribers that dropped an event off their topics, before anything else can be published to them. */
  private detachOverflowed(): void {
    if (this.overflowed.length === 0) return
    for (let subscriber = this.overflowed.pop(); subscriber !== undefined; subscriber = this.overflowed.pop()) {
      if (subscriber.state !== OVERFLOWED) continue
      this.membership.takeOffTopics(subscriber)
      this.meters.overflowed++
      this.catchUp.add(subscriber)
    }
  }

  private startOffsetsOf(subscriber: Subscriber): Map<string, number> {
    subscriber.startOffsets ??= new Map()
    return subscriber.startOffsets
  }
}
