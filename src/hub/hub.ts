import { reportFault } from '../guarded.ts'
import type { LogEntry } from '../log/entry.ts'
import type { EventLog } from '../log/event-log.ts'
import type { Meters } from '../meters.ts'
import { CatchUp, type CatchUpLimits } from './catch-up.ts'
import { Delivery } from './delivery.ts'
import { Membership } from './membership.ts'
import { Overflow } from './overflow.ts'
import type { Predicate } from './predicate.ts'
import { Replay } from './replay.ts'
import type { ApplicationRooms } from './room.ts'
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
 * Rooms and their members. Takes events off the log and publishes each to the native topics of its rooms, once per wire
 * format in use. Subscribers whose socket is full leave live delivery, and `CatchUp` feeds them.
 */
export class Hub {
  readonly catchUp: CatchUp
  /** Live subscribers have been sent everything up to this sequence. */
  liveSeq = 0
  private readonly log: EventLog
  private readonly meters: Meters
  private readonly delivery: Delivery
  private readonly membership = new Membership()
  private readonly replay: Replay
  private readonly overflow: Overflow
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
    const { delivery, membership, catchUp } = this
    this.replay = new Replay({ log, membership, catchUp, liveSeq: () => this.liveSeq })
    this.overflow = new Overflow({ log, meters, delivery, membership, catchUp, replay: this.replay })
  }

  /** Starts the log. Resolves once it is warm; live delivery continues from its head. */
  async start(): Promise<void> {
    await this.log.start({ appended: () => this.schedule(), reset: (epochBefore) => this.reset(epochBefore) })
    this.liveSeq = this.log.headSeq
  }

  /** Sweeps subscribers that are catching up, and large topics. Call about once a second. */
  sweep(nowMs: number): void {
    this.catchUp.sweep(nowMs)
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
    this.overflow.detach()
    if (subscriber.state === CLOSED) return
    if (subscriber.state === LIVE && subscriber.groups.length === 0) subscriber.joinedSeq = this.liveSeq
    for (const room of rooms) {
      const before = subscriber.groupIn(room)
      this.membership.join(subscriber, room, predicate)
      if (before === undefined) {
        if (subscriber.state !== LIVE || this.liveSeq !== subscriber.joinedSeq)
          subscriber.startAfter(room, this.liveSeq)
      } else if (before.predicate?.key !== predicate?.key) this.replay.filterChanged(subscriber, before)
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
    this.overflow.detach()
    if (subscriber.state !== CLOSED) this.replay.joinSince(subscriber, new Set(rooms), predicate, sinceSeq)
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
    this.overflow.detach()
    this.replay.participates(application, conversation, userId, sinceSeq)
  }

  leave(subscriber: Subscriber, rooms: readonly string[]): void {
    this.overflow.detach()
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
    this.overflow.dropped(subscriber, frame, siblings)
  }

  /**
   * A frame that is not an event was dropped from a native topic, and with it everything published later to the socket
   * of these subscribers.
   * @param deliveredSeq the newest event published before it
   */
  droppedAfter(subscribers: Iterable<Subscriber>, deliveredSeq: number): void {
    this.overflow.droppedAfter(subscribers, deliveredSeq)
  }

  /** The socket took part of its queue. */
  drained(subscriber: Subscriber): void {
    this.overflow.detach()
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
      this.overflow.detach()
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

  /** The stream was replaced or cut short: every subscriber starts catching up, and is told what it missed. */
  private reset(epochBefore: string): void {
    this.overflow.detach()
    this.takeAllOffTopics()
    this.overflow.reset()
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
    this.overflow.published(entry)
    this.delivery.distribute(entry)
    if (entry.bytes !== bytesBefore) this.log.ring.grew(entry.bytes - bytesBefore)
    this.meters.published(entry.timeMs)
  }
}
