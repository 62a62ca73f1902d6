import type { LogEntry } from '../log/entry.ts'
import type { EventLog } from '../log/event-log.ts'
import { seqInTail } from '../log/position.ts'
import type { Meters } from '../meters.ts'
import { CatchUp, type CatchUpLimits } from './catch-up.ts'
import { Delivery } from './delivery.ts'
import type { Predicate } from './predicate.ts'
import { type Audience, type Group, lengthened } from './room.ts'
import type { Message, Wire } from './wire.ts'
import { BEHIND, CLOSED, FALLEN, LIVE, type Session } from './session.ts'
import { VisitingOrder } from './visiting-order.ts'

/**
 * Events delivered in one turn of the event loop. uWS batches up to 32 messages for a socket and flushes the batch in
 * the middle of a publish when a 33rd comes; kept below that, sockets drop only in the flush at the turn's end, when
 * nothing is half published; a heartbeat may be among them. A first delivery, straight from the source's callback, may share its turn with the one
 * after it, so it takes half.
 */
const EVENTS_PER_TURN = 30

/**
 * Rooms, and who is in them: takes events off the log and publishes each to the native topics of its rooms, once per
 * wire format in use. Sessions whose socket is full leave live delivery and are fed by `CatchUp`.
 */
export class Hub {
  readonly catchUp: CatchUp
  /** Everything up to this sequence has gone out to live sessions. */
  liveSeq = 0
  private readonly log: EventLog
  private readonly meters: Meters
  private fallen: Session[] = []
  private readonly delivery: Delivery
  private readonly visitingOrder = new VisitingOrder()
  private readonly audiences = new Set<Audience>()
  private readonly quietBytes: number
  private scheduled = false

  constructor(log: EventLog, meters: Meters, limits: CatchUpLimits) {
    this.log = log
    this.meters = meters
    this.delivery = new Delivery(meters)
    this.quietBytes = limits.bufferBytes
    this.catchUp = new CatchUp(log, meters, limits, {
      headSeq: () => this.liveSeq,
      turnLive: (session) => this.turnLive(session),
    })
    log.onAppend = () => this.schedule()
    log.onReset = (epochBefore) => {
      this.settle()
      this.liveSeq = log.headSeq
      this.catchUp.reset(epochBefore)
    }
  }

  /** Call once the log is warm. */
  start(): void {
    this.liveSeq = this.log.headSeq
  }

  /** Looks after sessions that are behind, and large topics. Call every second or so. */
  sweep(nowMs: number): void {
    this.catchUp.sweep(nowMs)
    this.visitingOrder.sweep()
  }

  /** Adds a session that is in no room yet. */
  open(session: Session): void {
    this.audiences.add(session.audience)
    session.audience.addUser(session)
    if (session.native) return
    session.state = BEHIND
    session.cursor = this.liveSeq
    this.catchUp.add(session)
  }

  /**
   * Joins rooms from now on. A room that the session is in already: its predicate is replaced, and it counts as joined last.
   * @param predicate what it wants of them; undefined: all
   */
  join(session: Session, rooms: Iterable<string>, predicate?: Predicate): void {
    this.settle()
    for (const room of rooms) {
      const before = session.groupIn(room)
      this.enter(session, room, predicate)
      // Behind: events between its cursor and now came before it joined.
      if (before === undefined && session.state !== LIVE) this.floorsOf(session).set(room, this.liveSeq)
    }
    if (session.state === LIVE && !session.mayBeLive) {
      this.takeOffTopics(session)
      session.cursor = this.liveSeq
      this.catchUp.add(session)
    }
  }

  /**
   * Joins rooms and replays what they had after `sinceSeq`. Events of the session's other rooms go on where they were;
   * the session sees all in order of position.
   */
  joinSince(session: Session, rooms: Iterable<string>, predicate: Predicate | undefined, sinceSeq: number): void {
    this.settle()
    if (session.state === CLOSED) return
    const deliveredSeq = session.state === LIVE ? this.liveSeq : session.cursor
    if (session.state === LIVE) this.takeOffTopics(session)
    const floors = this.floorsOf(session)
    for (const { room } of session.groups) floors.set(room.name, Math.max(floors.get(room.name) ?? 0, deliveredSeq))
    for (const room of rooms) {
      session.state = BEHIND
      this.enter(session, room, predicate)
      floors.set(room, sinceSeq)
    }
    session.cursor = Math.min(deliveredSeq, sinceSeq)
    this.catchUp.add(session)
  }

  leave(session: Session, rooms: readonly string[]): void {
    this.settle()
    for (const room of rooms) {
      const group = session.groupIn(room)
      if (group) this.exit(session, group)
    }
  }

  /** Replaces the predicates of all its rooms, for example after its token changed. */
  rejoin(session: Session, predicateOf: (before: Predicate | undefined) => Predicate | undefined): void {
    for (const { room, predicate } of [...session.groups]) this.join(session, [room.name], predicateOf(predicate))
  }

  /** @param socketStays others share its socket, which goes on */
  close(session: Session, socketStays = false): void {
    if (session.state === CLOSED) return
    if (socketStays && (session.state === LIVE || session.state === FALLEN)) this.takeOffTopics(session)
    const wasLive = session.state === LIVE || session.state === FALLEN
    session.state = CLOSED
    for (const group of session.groups) {
      if (wasLive && group.sole !== session) group.topicOf(session.wire).live--
      remove(session, group)
    }
    session.groups = []
    session.audience.removeUser(session)
    this.catchUp.remove(session)
  }

  /**
   * uWS dropped a frame for this session's socket, which is over its limit. From the first lost event on it is fed
   * from the log. Nothing may be subscribed, published or closed in here.
   * @param siblings the sessions that share the socket, if it has several: they lose what comes after, too
   */
  dropped(session: Session, frame: Uint8Array, siblings?: Iterable<Session>): void {
    const seq = seqInTail(frame, this.log.epochBytes)
    if (seq === undefined) return
    this.meters.drops++
    this.fall(session, seq - 1)
    if (siblings === undefined) return
    for (const sibling of siblings) if (sibling !== session) this.fall(sibling, this.cameBefore(sibling, session, seq) ? seq : seq - 1)
  }

  /**
   * A frame that is no event was dropped from a native topic, and with it whatever was published to these sessions' socket
   * after it.
   * @param deliveredSeq the newest event that was published before it
   */
  droppedAfter(sessions: Iterable<Session>, deliveredSeq: number): void {
    for (const session of sessions) this.fall(session, deliveredSeq)
  }

  private fall(session: Session, deliveredSeq: number): void {
    if (session.state === LIVE) {
      session.state = FALLEN
      session.cursor = deliveredSeq
      this.fallen.push(session)
      if (this.fallen.length === 1) setImmediate(() => this.settle())
    } else if (deliveredSeq < session.cursor) {
      session.cursor = deliveredSeq
    }
  }

  /** Whether an event was published to one session of a socket before it was published to another. */
  private cameBefore(one: Session, other: Session, seq: number): boolean {
    const entry = this.log.ring.at(this.log.ring.indexAfter(seq - 1))
    if (entry?.seq !== seq || !one.wants(entry)) return true
    return this.delivery.reachesFirst(entry, one, other) === one
  }

  /** The socket took some of what it had queued. */
  drained(session: Session): void {
    this.settle()
    this.catchUp.drained(session)
  }

  /**
   * Says something that is no event to a room, or to several: not stored, to each session once, and left out where a socket is full.
   * @param except sessions that are not to hear it
   */
  say(audience: Audience, rooms: string | readonly string[], message: Message, except: (session: Session) => boolean = () => false): void {
    const frames = new Map<Wire, Uint8Array>()
    const told = new Set<Session>()
    for (const group of [rooms].flat().flatMap((room) => audience.rooms.get(room)?.groups ?? [])) {
      for (const session of group.members) {
        if (told.has(session)) continue
        told.add(session)
        const { wire, peer } = session
        if (session.state === FALLEN || peer.getBufferedAmount() > this.quietBytes || except(session)) continue
        let frame = frames.get(wire)
        if (frame === undefined) frames.set(wire, (frame = wire.encodeMessage(message)))
        peer.send(frame, wire.binary)
      }
    }
  }

  private schedule(): void {
    if (this.scheduled) return
    this.scheduled = true
    this.advance(EVENTS_PER_TURN / 2)
    let turns = 0
    const turn = () => {
      if (this.log.next() === undefined) this.scheduled = false
      else {
        this.advance(turns++ === 0 ? EVENTS_PER_TURN / 2 : EVENTS_PER_TURN)
        setImmediate(turn)
      }
    }
    setImmediate(turn)
  }

  private advance(eventsMax: number): void {
    for (let n = 0; n < eventsMax; n++) {
      const entry = this.log.next()
      if (entry === undefined) break
      this.settle()
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

  /** Where events were lost before they were read, everybody is behind: the log has no more what they are to get, and they are told. */
  private passGaps(seq: number): void {
    const lost = this.log.passGaps(seq)
    if (lost === 0) return
    this.meters.lostEvents += lost
    for (const audience of this.audiences) {
      for (const session of audience.sessions()) {
        if (session.state !== LIVE) continue
        this.takeOffTopics(session)
        session.cursor = this.liveSeq
        this.catchUp.add(session)
      }
    }
  }

  private deliver(entry: LogEntry): void {
    const bytesBefore = entry.bytes
    this.delivery.distribute(entry)
    if (entry.bytes !== bytesBefore) this.log.ring.grew(entry.bytes - bytesBefore)
    this.meters.published(entry.timeMs)
  }

  /** Takes sessions that dropped an event off their topics, before anything else can be published to them. */
  private settle(): void {
    if (this.fallen.length === 0) return
    const fallen = this.fallen
    this.fallen = []
    for (const session of fallen) {
      if (session.state !== FALLEN) continue
      this.takeOffTopics(session)
      this.meters.fallen++
      this.catchUp.add(session)
    }
  }

  private takeOffTopics(session: Session): void {
    for (const group of session.groups) this.unsubscribe(session, group)
    if (session.ownTopic !== undefined) session.peer.unsubscribe(session.ownTopic)
    session.ownTopic = undefined
    session.state = BEHIND
  }

  private turnLive(session: Session): void {
    session.state = LIVE
    session.floors = undefined
    for (const group of session.groups) this.subscribe(session, group)
  }

  private enter(session: Session, roomName: string, predicate: Predicate | undefined): void {
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

  private exit(session: Session, group: Group): void {
    session.groups.splice(session.groups.indexOf(group), 1)
    if (session.view?.room === group.room.name) session.view = undefined
    session.floors?.delete(group.room.name)
    if (session.state === LIVE) this.unsubscribe(session, group)
    remove(session, group)
  }

  private floorsOf(session: Session): Map<string, number> {
    session.floors ??= new Map()
    return session.floors
  }
}

function remove(session: Session, group: Group): void {
  group.delete(session)
  if (group.size === 0) group.room.forget(group)
}
