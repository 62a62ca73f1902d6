import type { Recovered } from '../../src/state/recovery.ts'
import { LIVE, Subscriber } from '../../src/hub/subscriber.ts'
import type { Peer } from '../../src/hub/wire.ts'
import { parsePosition, type Position } from '../../src/log/position.ts'
import { type Client, parse, predicateOf } from './clients.ts'
import { ModelPeer, type PeerOwner } from './model-app.ts'
import { Fault, Watch } from './oracle.ts'
import { BACKPRESSURE_BYTES, ROOMS, USERS, type World } from './world.ts'

/** The room that one is in by connecting. */
const OWN_ROOM = 'a'
const BEAT = 'beat'

/** What one client knows of one namespace: it outlives its connections. */
class Membership {
  readonly namespace: string
  watch: Watch
  pid: string | undefined
  session: SocketIoSession | undefined

  constructor(namespace: string, watch: Watch) {
    this.namespace = namespace
    this.watch = watch
  }
}

/**
 * A Socket.IO client: one or two namespaces on one connection, polling or by WebSocket; it recovers as the gateway has
 * it.
 */
export class SocketIoClient implements Client {
  readonly name: string
  private readonly world: World
  private readonly user: string
  private readonly memberships: Membership[]
  private engine: EnginePeer | undefined
  /** Namespaces on their way in. */
  private connecting = 0

  constructor(world: World, name: string) {
    this.world = world
    this.name = name
    this.user = world.random.of(USERS) as string
    this.memberships = (world.random.chance(0.5) ? ['one', 'two'] : ['one']).map(
      (namespace) => new Membership(namespace, this.newWatch(namespace)),
    )
  }

  get connected(): boolean {
    return this.engine !== undefined
  }

  connect(): string {
    const engine = new EnginePeer(this, this.world, this.world.random.chance(0.4))
    this.engine = engine
    this.connecting = 0
    for (const membership of this.memberships) this.enter(engine, membership)
    return ` connects, ${engine.native ? 'WebSocket' : 'polling'}`
  }

  disconnect(): void {
    if (!this.engine) return
    this.engine.arrive(this.world.random.chance(0.5) ? this.world.random.below(4) : 0)
    this.end()
  }

  /** It is over with the connection. */
  end(): void {
    const { engine } = this
    this.engine = undefined
    engine?.shut()
    for (const membership of this.memberships) {
      const { session } = membership
      membership.session = undefined
      if (session) this.world.hub.close(session, true)
    }
  }

  act(): string {
    const { random, hub } = this.world
    const { engine } = this
    if (!engine || this.connecting > 0) return ' waits'
    if (!engine.native && random.chance(0.4)) {
      engine.upgrade()
      for (const session of this.sessions) hub.turnNative(session)
      return ' upgrades'
    }
    const membership = random.of(this.memberships)
    if (!membership?.session) return ' waits'
    const { session, watch } = membership
    const rooms = random.some(
      ROOMS.filter((room) => room !== OWN_ROOM),
      0.4,
    )
    const joins = random.chance(0.7)
    if (joins) {
      hub.join(session, rooms)
      for (const room of rooms) watch.join(room, undefined)
    } else {
      hub.leave(session, rooms)
      for (const room of rooms) watch.leave(room)
    }
    void this.world.recovery.keep(session.pid, {
      userId: this.user,
      rooms: session.groups.map(({ room }) => room.name),
      places: undefined,
    })
    return `, ${membership.namespace}, ${joins ? 'joins' : 'leaves'} ${rooms}`
  }

  stall(): void {
    if (this.engine) this.engine.stalled = true
  }

  take(bytes: number): void {
    this.engine?.take(bytes)
  }

  look(): void {
    if (!this.engine?.empty) return
    for (const { session, watch } of this.memberships) if (session?.state === LIVE) watch.caughtUp()
  }

  check(): void {
    for (const { session, watch } of this.memberships) if (session) watch.check()
  }

  mayGoBack(user: string, since: Position): void {
    if (user === this.user) for (const { watch } of this.memberships) watch.mayGoBack(since)
  }

  dropped(frame: Uint8Array): void {
    const { hub } = this.world
    const name = parse(frame)?.wire
    for (const session of this.sessions) if (session.wire.id === name) return hub.dropped(session, frame, this.sessions)
    if (frame.length === 1) hub.droppedAfter(this.sessions, this.world.beatSeq)
  }

  drained(): void {
    for (const session of this.sessions) this.world.hub.drained(session)
  }

  received(frame: Uint8Array): void {
    const event = parse(frame)
    if (event)
      this.memberships
        .find(({ namespace }) => namespace === event.wire)
        ?.watch.receive(event.n, event.view, event.position)
  }

  private get sessions(): SocketIoSession[] {
    return this.memberships.flatMap(({ session }) => session ?? [])
  }

  private enter(engine: EnginePeer, membership: Membership): void {
    const { pid, watch } = membership
    // Its offset would be that of an event of before: it begins anew.
    if (pid === undefined || !watch.steady) return this.begin(engine, membership, undefined)
    this.connecting++
    const { last } = watch
    const entered = this.world.recovery.find(pid, last && `${last.epoch}-${last.seq}`, this.user).then((found) => {
      if (this.engine !== engine) return
      this.connecting--
      this.begin(engine, membership, found)
    })
    entered.catch((error: unknown) => {
      this.world.failed = error
    })
  }

  /** As the gateway's session begins: with `recovered` the client is to have all that it had, and what it missed. */
  private begin(engine: EnginePeer, membership: Membership, recovered: Recovered | undefined): void {
    const { hub, log, recovery } = this.world
    const rooms = new Set([OWN_ROOM, ...(recovered?.rooms ?? [])])
    if (!recovered || membership.pid === undefined) membership.pid = recovery.issue(hub.liveSeq, this.user)
    const session = new SocketIoSession(this, this.world, this.user, engine, membership.namespace, membership.pid)
    membership.session = session
    hub.open(session)
    if (recovered) {
      membership.watch.resume(parsePosition(log.position(recovered.sinceSeq)) as never)
      hub.joinSince(session, rooms, predicateOf(undefined), recovered.sinceSeq)
      membership.watch.carriedOut(membership.watch.rooms.keys(), this.world.losses)
      return
    }
    membership.watch = this.newWatch(membership.namespace)
    hub.join(session, rooms)
    for (const room of rooms) membership.watch.join(room, undefined)
  }

  private newWatch(namespace: string): Watch {
    return new Watch(`${this.name}, ${namespace}`, this.user, this.world.stored, this.world.participates)
  }
}

class SocketIoSession extends Subscriber {
  readonly pid: string

  constructor(client: SocketIoClient, world: World, user: string, engine: EnginePeer, namespace: string, pid: string) {
    super({
      application: world.application,
      wire: world.wire(namespace),
      userId: user,
      peer: engine,
      native: engine.native,
      owner: {
        missed: () => {
          void world.recovery.spoil(pid)
          client.end()
        },
        stalled: () => {
          throw new Fault('a client was ended as too slow')
        },
      },
    })
    this.pid = pid
  }
}

/** An Engine.IO session: long-polling, a WebSocket, or the one after the other. */
class EnginePeer implements Peer {
  private readonly client: SocketIoClient
  private readonly world: World
  private readonly owner: PeerOwner
  private readonly packets: Uint8Array[] = []
  private socket: ModelPeer | undefined
  private closed = false

  constructor(client: SocketIoClient, world: World, polls: boolean) {
    this.client = client
    this.world = world
    this.owner = {
      dropped: (frame) => this.client.dropped(frame),
      drained: () => this.client.drained(),
      received: (frame) => this.client.received(frame),
    }
    if (!polls) this.open()
  }

  get native(): boolean {
    return this.socket !== undefined
  }

  get empty(): boolean {
    return this.socket?.empty ?? this.packets.length === 0
  }

  set stalled(stalled: boolean) {
    if (this.socket) this.socket.stalled = stalled
  }

  upgrade(): void {
    const socket = this.open()
    for (const packet of this.packets.splice(0)) socket.send(packet)
  }

  /** A poll takes all that waits for it. */
  take(bytes: number): void {
    if (this.socket) {
      this.socket.stalled = false
      return this.socket.take(bytes)
    }
    for (const packet of this.packets.splice(0)) this.client.received(packet)
    this.client.drained()
  }

  arrive(frames: number): void {
    this.socket?.arrive(frames)
  }

  shut(): void {
    this.closed = true
    this.socket?.close()
  }

  send(frame: Uint8Array): number {
    if (this.closed) return 2
    if (this.socket) return this.socket.send(frame)
    this.packets.push(frame)
    return 1
  }

  getBufferedAmount(): number {
    if (this.socket && !this.socket.closed) return this.socket.getBufferedAmount()
    return this.packets.reduce((sum, { length }) => sum + length, 0)
  }

  subscribe(topic: string): boolean {
    return this.socket && !this.socket.closed ? this.socket.subscribe(topic) : false
  }

  unsubscribe(topic: string): boolean {
    return this.socket && !this.socket.closed ? this.socket.unsubscribe(topic) : false
  }

  cork(callback: () => void): void {
    callback()
  }

  close(): void {
    this.client.end()
  }

  private open(): ModelPeer {
    this.socket = new ModelPeer(this.world.app, this.owner, BACKPRESSURE_BYTES)
    this.socket.subscribe(BEAT)
    return this.socket
  }
}
