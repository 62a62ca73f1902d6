import type { Caller } from '../../src/commands/caller.ts'
import type { Services } from '../../src/commands/services.ts'
import { subscribe } from '../../src/commands/subscribe.ts'
import { BrokerError } from '../../src/errors.ts'
import { compilePredicate, type Predicate } from '../../src/hub/predicate.ts'
import { CLOSED, LIVE, Subscriber } from '../../src/hub/subscriber.ts'
import type { Peer } from '../../src/hub/wire.ts'
import { parsePosition, type Position } from '../../src/log/position.ts'
import { ModelPeer, type PeerOwner } from './model-app.ts'
import { Fault, VIEW_ROOM, Watch } from './oracle.ts'
import { BACKPRESSURE_BYTES, COLORS, ROOMS, USERS, type World } from './world.ts'

const FRAME = /^(\S+) (event|view) (\d+) x*\["([^"]+)"\]$/

/** What the schedule may do with any client. */
export interface Client {
  readonly name: string
  readonly connected: boolean
  /** @returns what it does, in words */
  connect(): string
  disconnect(): void
  /** Does something that clients of its kind do. */
  act(): string
  stall(): void
  /** Its program takes so much of what arrived. */
  take(bytes: number): void
  /** Called after each step. */
  look(): void
  check(): void
  /** A user came to take part in a conversation from behind a position on. */
  mayGoBack(user: string, since: Position): void
}

/** What a frame holds. @returns undefined for one that is no event */
export function parse(frame: Uint8Array): { wire: string; view: boolean; n: number; position: string } | undefined {
  const match = FRAME.exec(Buffer.from(frame).toString())
  return match
    ? { wire: match[1] as string, view: match[2] === 'view', n: Number(match[3]), position: match[4] as string }
    : undefined
}

export function predicateOf(color: string | undefined): Predicate | undefined {
  return compilePredicate([], color === undefined ? [] : [{ field: 0, allowed: new Set([color]) }])
}

/**
 * A raw WebSocket client: joins and leaves rooms, with filters, now or since a position, and comes back with the last
 * one.
 */
export class RawClient implements Client, PeerOwner {
  readonly name: string
  private readonly world: World
  private readonly user: string
  private watch: Watch
  private session: Subscriber | undefined
  private peer: ModelPeer | undefined
  /** A command waits for an answer of the source. */
  private busy = false

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
    this.user = world.random.of(USERS) as string
    this.watch = this.newWatch()
  }

  get connected(): boolean {
    return this.session !== undefined
  }

  connect(): string {
    const { world, watch } = this
    const peer = new ModelPeer(world.app, this, BACKPRESSURE_BYTES)
    const session = new RawSession(this, world, this.user, peer)
    this.peer = peer
    this.session = session
    this.busy = false
    world.hub.open(session)
    const { last } = watch
    const since = last && `${last.epoch}-${last.seq}`
    if (since === undefined || !watch.steady || world.random.chance(0.2) || watch.rooms.size === 0) {
      this.watch = this.newWatch()
      return ' connects anew'
    }
    const rooms = [...watch.rooms]
    watch.resume(parsePosition(since) as never)
    const colors = new Set(rooms.map(([, { color }]) => color))
    for (const color of colors)
      this.subscribe(
        rooms.filter(([, membership]) => membership.color === color).map(([room]) => room),
        color,
        since,
      )
    return ` comes back, since ${since}`
  }

  disconnect(): void {
    const { session, peer, world } = this
    if (!session || !peer) return
    this.session = this.peer = undefined
    // What is written may still arrive.
    if (world.random.chance(0.5)) peer.arrive(world.random.below(4))
    peer.close()
    world.hub.close(session)
  }

  act(): string {
    const { world, session, watch } = this
    const { random, hub } = world
    if (!session || this.busy) return ' waits'
    const rooms = random.some(random.chance(0.1) ? [...ROOMS, VIEW_ROOM] : ROOMS, 0.4)
    const color = random.chance(0.3) ? random.of(COLORS) : undefined
    const what = random.below(10)
    if (what < 4) {
      hub.join(session, rooms, predicateOf(color))
      for (const room of rooms) watch.join(room, color)
      return ` joins ${rooms}, ${color}`
    }
    if (what < 6) {
      hub.leave(session, rooms)
      for (const room of rooms) watch.leave(room)
      return ` leaves ${rooms}`
    }
    return this.joinSince(random.chance(0.8) ? rooms.filter((room) => !watch.rooms.has(room)) : rooms, color)
  }

  /** Rooms whose events it gets by native topics. */
  get liveRooms(): readonly string[] {
    return this.session?.state === LIVE ? [...this.watch.rooms.keys()] : []
  }

  /** Goes back in the log, for a room that it may be in. */
  goBack(): string {
    return this.busy ? ' waits' : this.joinSince([this.world.random.of(ROOMS) as string], undefined)
  }

  private joinSince(rooms: readonly string[], color: string | undefined): string {
    if (rooms.length === 0) return ' waits'
    const since = this.somePosition()
    this.watch.joinSince(rooms, color, parsePosition(since) as never)
    this.subscribe(rooms, color, since)
    return ` joins ${rooms}, ${color}, since ${since}`
  }

  stall(): void {
    if (this.peer) this.peer.stalled = true
  }

  take(bytes: number): void {
    if (this.peer) this.peer.stalled = false
    this.peer?.take(bytes)
  }

  look(): void {
    if (this.session?.state === LIVE && !this.busy && this.peer?.empty) this.watch.caughtUp()
  }

  check(): void {
    if (this.session) this.watch.check()
  }

  mayGoBack(user: string, since: Position): void {
    if (user === this.user) this.watch.mayGoBack(since)
  }

  dropped(frame: Uint8Array): void {
    if (this.session) this.world.hub.dropped(this.session, frame)
  }

  drained(): void {
    if (this.session) this.world.hub.drained(this.session)
  }

  received(frame: Uint8Array): void {
    const event = parse(frame)
    if (event) this.watch.receive(event.n, event.view, event.position)
  }

  told(since: string, oldest: string | null): void {
    this.watch.tell(since, oldest)
  }

  private somePosition(): string {
    const { random, log, source, stored } = this.world
    if (random.chance(0.1)) return `${source.epoch}-${source.lastSeq + random.below(3)}`
    // Of any stream that there was, or of none.
    if (random.chance(0.1)) return `e${random.below(source.lives + 1)}-${random.below(50)}`
    const event = stored[stored.length - 1 - random.below(Math.min(stored.length, 60))]
    return event ? `${event.epoch}-${event.seq}` : log.position(0)
  }

  /** The command as the gateway has it; what it replies reaches the client at once, as if its socket had room. */
  private subscribe(rooms: readonly string[], color: string | undefined, since: string): void {
    const { session, world, watch } = this
    if (!session) return
    const { hub, log } = world
    const caller = {
      subscriber: session,
      contract: {
        predicate: () => predicateOf(color),
        typesOf: () => [],
        checkRoom: () => {},
        hasPresence: () => false,
      },
      claims: { sub: this.user, exp: 0 },
      get closed() {
        return session.state === CLOSED
      },
      endIfExpired: () => false,
      reply: ({ type, data }: { type: string; data: { since: string; oldest_available: string | null } }) => {
        // It flushes what is held for the socket.
        if (!this.peer?.closed) this.peer?.send(Buffer.from(type))
        if (type !== 'events_missed') return
        watch.tell(data.since, data.oldest_available)
        const oldest = data.oldest_available === null ? undefined : parsePosition(data.oldest_available)
        watch.joinSince(
          rooms,
          color,
          oldest ? { epoch: oldest.epoch, seq: oldest.seq - 1 } : { epoch: log.epoch, seq: log.headSeq },
        )
      },
    }
    this.busy = true
    const done = () => {
      watch.carriedOut(rooms, this.world.losses)
      if (this.session === session) this.busy = false
    }
    const services = { hub, log, roomsMax: 100, presence: { join: () => {} } }
    void (
      subscribe(
        caller as unknown as Caller,
        { type: 'subscribe', data: { rooms, since } } as never,
        services as unknown as Services,
      ) as Promise<void>
    ).then(done, (error: unknown) => {
      if (!(error instanceof BrokerError && error.code === 'SERVICE_UNAVAILABLE')) this.world.failed = error
      // Refused because the source was out of reach for too long, it comes back.
      else if (this.session === session) this.disconnect()
    })
  }

  private newWatch(): Watch {
    return new Watch(this.name, this.user, this.world.stored, this.world.participates)
  }
}

class RawSession extends Subscriber {
  constructor(client: RawClient, world: World, user: string, peer: Peer) {
    super({
      application: world.application,
      wire: world.wire('raw'),
      userId: user,
      peer,
      owner: {
        missed: (since, oldest) => {
          if (!peer.getBufferedAmount()) peer.send(Buffer.from('missed'))
          client.told(since, oldest)
        },
        stalled: () => {
          throw new Fault('a client was ended as too slow')
        },
      },
    })
  }
}
