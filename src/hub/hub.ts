import { reportFault, soon } from '../guarded.ts'
import type { LogEntry } from '../log/entry.ts'
import type { EventLog } from '../log/event-log.ts'
import { seqInTail } from '../log/position.ts'
import type { Meters } from '../meters.ts'
import { CatchUp, type CatchUpLimits } from './catch-up.ts'
import { Delivery } from './delivery.ts'
import { excludeConversation, floorOf, hadBeyond, havingHad, newestHad, lowerHad, withoutRoom } from './had.ts'
import { Membership } from './membership.ts'
import type { Predicate } from './predicate.ts'
import type { Audience, Group } from './room.ts'
import type { Message, Wire } from './wire.ts'
import { BEHIND, CLOSED, FALLEN, LIVE, type Session } from './session.ts'

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
 * wire format in use. Sessions whose socket is full leave live delivery and are fed by `CatchUp`.
 */
export class Hub {
  readonly catchUp: CatchUp
  /** Everything up to this sequence has gone out to live sessions. */
  liveSeq = 0
  private readonly log: EventLog
  private readonly meters: Meters
  private readonly fallen: Session[] = []
  private readonly recent: (LogEntry | undefined)[] = new Array(RECENT_EVENTS).fill(undefined)
  private recentAt = 0
  private readonly delivery: Delivery
  private readonly membership = new Membership()
  private readonly audiences = new Set<Audience>()
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
      turnLive: (session) => this.membership.turnLive(session),
    })
    log.onAppend = () => this.schedule()
    log.onReset = (epochBefore) => this.reset(epochBefore)
  }

  /** Call once the log is warm. */
  start(): void {
    this.liveSeq = this.log.headSeq
  }

  /** Looks after sessions that are behind, and large topics. Call every second or so. */
  sweep(nowMs: number): void {
    this.catchUp.sweep(nowMs)
    this.membership.sweep()
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
   * Joins rooms from now on. A room that the session is in already: its predicate is replaced, and it counts as joined
   * last.
   * @param predicate what it wants of them; undefined: all
   */
  join(session: Session, rooms: Iterable<string>, predicate?: Predicate): void {
    this.settle()
    if (session.state === CLOSED) return
    if (session.state === LIVE && session.groups.length === 0) session.joinedSeq = this.liveSeq
    for (const room of rooms) {
      const before = session.groupIn(room)
      this.membership.enter(session, room, predicate)
      if (before === undefined) {
        if (session.state !== LIVE || this.liveSeq !== session.joinedSeq) this.floorsOf(session).set(room, this.liveSeq)
      } else if (before.predicate?.key !== predicate?.key) this.keepFilter(session, before)
    }
    if (session.state === LIVE && !session.mayBeLive) {
      this.membership.takeOffTopics(session)
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
    const names = new Set(rooms)
    if (names.size === 0) return
    for (const room of names) session.refiltered = withoutRoom(session.refiltered, room)
    this.goBack(session, sinceSeq, ({ room }) => !names.has(room.name))
    const floors = this.floorsOf(session)
    for (const room of names) {
      this.membership.enter(session, room, predicate)
      floors.set(room, sinceSeq)
    }
  }

  /**
   * A user takes part in a conversation. Its events after a sequence that went by before that was known here are sent
   * now to the user's sessions.
   */
  participates(audience: Audience, conversation: string, userId: string, sinceSeq: number): void {
    this.settle()
    for (let session = audience.firstOfUser(userId); session !== undefined; session = session.nextOfUser) {
      const deliveredSeq = session.state === LIVE ? this.liveSeq : Math.max(session.cursor, newestHad(session.had))
      if (!this.passed(audience, conversation, sinceSeq, deliveredSeq)) continue
      excludeConversation(session.had, conversation)
      this.goBack(session, sinceSeq, () => true, [conversation])
    }
  }

  /**
   * A room's filter is another one from now on: what the session had by the one of before it may need to know later.
   */
  private keepFilter(session: Session, before: Group): void {
    const { name } = before.room
    const seq = session.state === LIVE ? this.liveSeq : Math.max(session.cursor, session.begunSeq)
    const joinedSeq = floorOf(session, name)
    // It may have gone back from further on.
    let hadSeq = seq
    for (let at = session.had; at !== undefined; at = at.before)
      if (at.groups.includes(before)) hadSeq = Math.max(hadSeq, at.seq)
    session.refiltered = havingHad(
      { seq: hadSeq, begunSeq: 0, groups: [before], floors: undefined, joinedSeq, without: [], before: undefined },
      session.refiltered,
    )
    this.floorsOf(session).set(name, Math.max(seq, joinedSeq))
  }

  /** Events behind this one were not delivered: the filters of now are for them as well. */
  private lowerFilters(session: Session, deliveredSeq: number): void {
    for (let at = session.refiltered; at !== undefined; at = at.before) {
      if (at.seq <= deliveredSeq) continue
      at.seq = deliveredSeq
      for (const { room } of at.groups)
        this.floorsOf(session).set(
          room.name,
          Math.max(at.joinedSeq, Math.min(floorOf(session, room.name), deliveredSeq)),
        )
    }
  }

  /** Whether events of a conversation may have gone by after a sequence. */
  private passed(audience: Audience, conversation: string, sinceSeq: number, deliveredSeq: number): boolean {
    const { ring } = this.log
    if (sinceSeq >= deliveredSeq) return false
    if (sinceSeq < ring.completeAfter) return true
    for (let index = ring.indexAfter(sinceSeq); ; index++) {
      const entry = ring.at(index)
      if (entry === undefined || entry.seq > deliveredSeq) return false
      if (entry.route.conversation === conversation && entry.route.audience === audience) return true
    }
  }

  /**
   * Puts a session's place in the log back. What it had does not come again.
   * @param kept groups whose events it had
   * @param without conversations whose events it did not get
   */
  private goBack(
    session: Session,
    toSeq: number,
    kept: (group: Group) => boolean,
    without: readonly string[] = [],
  ): void {
    const deliveredSeq = session.state === LIVE ? this.liveSeq : session.cursor
    if (session.state === LIVE) this.membership.takeOffTopics(session)
    session.state = BEHIND
    const before = hadBeyond(session.had, session.cursor)
    const groups = session.groups.filter(kept)
    session.had =
      groups.length === 0
        ? before
        : havingHad(
            {
              seq: deliveredSeq,
              begunSeq: session.begunSeq,
              groups,
              floors: session.floors && new Map(session.floors),
              joinedSeq: session.joinedSeq,
              without,
              before: undefined,
            },
            before,
          )
    session.begunSeq = 0
    session.cursor = Math.min(deliveredSeq, toSeq)
    this.catchUp.add(session)
  }

  leave(session: Session, rooms: readonly string[]): void {
    this.settle()
    for (const room of rooms) {
      const group = session.groupIn(room)
      if (group) this.membership.exit(session, group)
    }
    // Without a view it may be live.
    if (session.state === BEHIND) this.catchUp.add(session)
  }

  /** Replaces the predicates of all its rooms, for example after its token changed. */
  rejoin(session: Session, predicateOf: (before: Predicate | undefined) => Predicate | undefined): void {
    for (const { room, predicate } of [...session.groups]) this.join(session, [room.name], predicateOf(predicate))
  }

  /** @param socketStays others share its socket, which goes on */
  close(session: Session, socketStays = false): void {
    if (session.state === CLOSED) return
    if (socketStays && (session.state === LIVE || session.state === FALLEN)) this.membership.takeOffTopics(session)
    const wasLive = session.state === LIVE || session.state === FALLEN
    session.state = CLOSED
    this.membership.exitAll(session, wasLive)
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
    for (const sibling of siblings)
      if (sibling !== session) this.fall(sibling, this.cameBefore(sibling, session, seq) ? seq : seq - 1)
  }

  /**
   * A frame that is no event was dropped from a native topic, and with it whatever was published to these sessions'
   * socket after it.
   * @param deliveredSeq the newest event that was published before it
   */
  droppedAfter(sessions: Iterable<Session>, deliveredSeq: number): void {
    for (const session of sessions) this.fall(session, deliveredSeq)
  }

  private fall(session: Session, deliveredSeq: number): void {
    if (session.refiltered !== undefined && (session.state !== BEHIND || session.leaving))
      this.lowerFilters(session, deliveredSeq)
    if (session.state === LIVE) {
      session.state = FALLEN
      session.cursor = deliveredSeq
      this.fallen.push(session)
      if (this.fallen.length === 1) soon('full sockets', () => this.settle())
    } else if (session.state === FALLEN || session.leaving) {
      session.cursor = Math.min(session.cursor, deliveredSeq)
      lowerHad(session.had, deliveredSeq)
    }
    // Otherwise nothing of its topics is on its way: what was dropped is another session's, or was fed, and stays to be
    // fed.
  }

  /** Whether an event was published to one session of a socket before it was published to another. */
  private cameBefore(one: Session, other: Session, seq: number): boolean {
    const entry = this.recent.find((each) => each?.seq === seq)
    if (entry === undefined || !one.wants(entry)) return true
    return this.delivery.reachesFirst(entry, one, other) === one
  }

  /** The socket took some of what it had queued. */
  drained(session: Session): void {
    this.settle()
    this.catchUp.drained(session)
  }

  /**
   * Says something that is no event to a room, or to several: not stored, to each session once, and left out where a
   * socket is full.
   * @param except sessions that are not to hear it
   */
  say(
    audience: Audience,
    rooms: string | readonly string[],
    message: Message,
    except: (session: Session) => boolean = () => false,
  ): void {
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
    this.settle()
    this.takeAllOffTopics()
    this.recent.fill(undefined)
    this.liveSeq = this.log.headSeq
    this.catchUp.reset(epochBefore)
  }

  private takeAllOffTopics(): void {
    for (const audience of this.audiences) {
      for (const session of audience.sessions()) {
        if (session.state !== LIVE) continue
        this.membership.takeOffTopics(session)
        session.cursor = this.liveSeq
        this.catchUp.add(session)
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

  /** Takes sessions that dropped an event off their topics, before anything else can be published to them. */
  private settle(): void {
    if (this.fallen.length === 0) return
    for (let session = this.fallen.pop(); session !== undefined; session = this.fallen.pop()) {
      if (session.state !== FALLEN) continue
      this.membership.takeOffTopics(session)
      this.meters.fallen++
      this.catchUp.add(session)
    }
  }

  private floorsOf(session: Session): Map<string, number> {
    session.floors ??= new Map()
    return session.floors
  }
}
