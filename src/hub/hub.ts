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
 * Events delivered in one turn of the event loop. uWS batches up to 32 messages for a socket; a 33rd makes it flush in
 * the middle of a publish. Below that, sockets drop frames only in the flush at the end of the turn, when nothing is
 * half published. A heartbeat may take one of the 32. A first delivery runs straight from the source's callback and may
 * share its turn with the next one, so it takes half.
 */
const EVENTS_PER_TURN = 30
/**
 * Events kept beyond the ring: all whose frames uWS may still hold. A power of two, and larger than two turns' worth.
 */
const RECENT_EVENTS = 64

/**
 * Rooms and their members. Takes events off the log and publishes each to the native topics of its rooms, once per wire
 * format in use. Subscribers whose socket is full leave live delivery, and `CatchUp` feeds them.
 */
export class Hub {
  readonly catchUp: CatchUp
  /** Live subscribers have been sent everything up to this sequence. */
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
  /** Turns in a row that had events. */
  private turns = 0
  /** Something was published in this turn of the event loop, ahead of `turn`. */
  private unflushed = false

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

  /** Starts the log. Resolves once it is warm; live delivery continues from its head. */
  async start(): Promise<void> {
    await this.log.start({ appended: () => this.schedule(), reset: (epochBefore) => this.reset(epochBefore) })
    this.liveSeq = this.log.headSeq
  }

  /** Sweeps subscribers that are catching up, and large topics. Call about once a second. */
  sweep(nowMs: number): void {
    this.catchUp.sweep(nowMs)
    this.membership.sweep()
  }

  /** Adds a subscriber that is not in any room yet. */
  open(subscriber: Subscriber): void {
    this.applications.add(subscriber.application)
    subscriber.application.addUser(subscriber)
    if (subscriber.native) return
    subscriber.state = CATCHING_UP
    subscriber.cursor = this.liveSeq
    this.catchUp.add(subscriber)
  }

  /** The subscriber's connection can now hold native topics: the subscriber turns live once it has everything. */
  turnNative(subscriber: Subscriber): void {
    subscriber.native = true
    if (subscriber.state === CATCHING_UP) this.catchUp.add(subscriber)
  }

  /**
   * Joins rooms from now on. Joining a room again replaces the subscriber's predicate, and the room counts as joined
   * last.
   * @param predicate what the subscriber wants of these rooms; undefined: everything
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
   * Joins rooms and replays their events after `sinceSeq`. The subscriber's other rooms continue where they were; it
   * sees all events in order of position.
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
   * A user takes part in a conversation. The user's subscribers now get its events after `sinceSeq` that went by before
   * this broker learned of it.
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
   * A room's filter changes from now on. Keeps what the subscriber got through the previous filter: it may be needed
   * later.
   */
  private keepFilter(subscriber: Subscriber, before: Group<Subscriber>): void {
    const { name } = before.room
    const seq = subscriber.state === LIVE ? this.liveSeq : Math.max(subscriber.cursor, subscriber.begunSeq)
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
    this.startOffsetsOf(subscriber).set(name, hadSeq)
  }

  /** Events after `deliveredSeq` were not delivered, so the current filters apply to them as well. */
  private lowerFilters(subscriber: Subscriber, deliveredSeq: number): void {
    for (let at = subscriber.refiltered; at !== undefined; at = at.before) {
      if (at.seq <= deliveredSeq) continue
      at.seq = deliveredSeq
      for (const { room } of at.groups)
        this.startOffsetsOf(subscriber).set(
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
    // If this ended its projection, it may turn live.
    if (subscriber.state === CATCHING_UP) this.catchUp.add(subscriber)
  }

  /** Replaces the predicates of all rooms of a subscriber, for example after its token changed. */
  rejoin(subscriber: Subscriber, predicateOf: (before: Predicate | undefined) => Predicate | undefined): void {
    for (const { room, predicate } of [...subscriber.groups]) this.join(subscriber, [room.name], predicateOf(predicate))
  }

  /** @param socketStays others share the socket, which stays open */
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
   * uWS dropped a frame because this subscriber's socket is over its limit. From the first lost event on, the
   * subscriber is fed from the log. Must not subscribe, publish or close anything.
   * @param siblings the subscribers that share the socket, if it has several: they also lose everything that follows
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
   * A frame that is not an event was dropped from a native topic, and with it everything published later to the socket
   * of these subscribers.
   * @param deliveredSeq the newest event published before it
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
    // Otherwise none of its published frames are on their way. Either the dropped frame was another subscriber's, or
    // `CatchUp` sent it and will send it again.
  }

  /** Whether an event was published to `one` before it was published to `other`, which shares the socket. */
  private cameBefore(one: Subscriber, other: Subscriber, seq: number): boolean {
    const entry = this.recent.find((each) => each?.seq === seq)
    if (entry === undefined || !one.wants(entry)) return true
    return this.delivery.reachesFirst(entry, one, other) === one
  }

  /** The socket took part of its queue. */
  drained(subscriber: Subscriber): void {
    this.detachOverflowed()
    this.catchUp.drained(subscriber)
  }

  /**
   * Sends a message that is not an event to one or more rooms. It is not stored, reaches each subscriber once, and
   * skips subscribers whose socket is full.
   * @param except subscribers that do not get it
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
    this.advanceGuarded(EVENTS_PER_TURN / 2, true)
    this.unflushed = true
    setImmediate(this.turn)
  }

  private readonly turn = (): void => {
    this.scheduled = this.log.next() !== undefined
    const { unflushed } = this
    // uWS flushes once this is over.
    this.unflushed = false
    if (!this.scheduled) return
    this.advanceGuarded(this.turns++ === 0 ? EVENTS_PER_TURN / 2 : EVENTS_PER_TURN, unflushed)
    setImmediate(this.turn)
  }

  /** Somebody else published to native topics in this turn of the event loop. */
  publishedElsewhere(): void {
    this.unflushed = true
  }

  /** One `try` per turn: a fault costs this turn, but not the later ones. */
  private advanceGuarded(eventsMax: number, unflushed: boolean): void {
    try {
      this.advance(eventsMax, unflushed)
    } catch (error) {
      reportFault('live delivery', error)
    }
  }

  /**
   * A large event waits until uWS holds nothing: uWS sends it at once, and sends what it holds for the socket first. If
   * that overflows the socket, uWS drops the rest of it, and sends the large event all the same, out of order.
   */
  private advance(eventsMax: number, unflushed: boolean): void {
    for (let n = 0; n < eventsMax; n++) {
      const entry = this.log.next()
      if (entry === undefined) break
      if (entry.mayBeLarge && (unflushed || n > 0)) break
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
   * If events were lost before they were read, every live subscriber starts catching up: that is how it learns that the
   * log no longer has them.
   */
  private passGaps(seq: number): void {
    const lost = this.log.passGaps(seq)
    if (lost === 0) return
    this.meters.lostEvents += lost
    this.takeAllOffTopics()
  }

  /** The stream was replaced or cut short: every subscriber falls behind, and learns what it missed. */
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

  /** Takes overflowed subscribers off their topics before anything else can be published to them. */
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
