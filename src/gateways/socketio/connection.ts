import { Decoder, Encoder, type Packet, PacketType } from 'socket.io-parser'
import { checkPlain } from '../../plain.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import { RESERVED_EVENTS } from '../../contracts/reserved.ts'
import { BrokerError } from '../../errors.ts'
import { countCommand, countPacket, type RateState } from '../../guard/rate-limit.ts'
import { reportFault, runGuarded } from '../../guarded.ts'
import { lengthened } from '../../hub/room.ts'
import type { Subscriber } from '../../hub/subscriber.ts'
import { ConnectionQueues, type QueueOwner } from '../connection-queues.ts'
import type { EngineSession } from '../engineio/session.ts'
import type { MovedConnection } from '../handoff/moved.ts'
import { NamespaceSession } from './namespace-session.ts'
import type { Entrance, Namespace, Namespaces, Refusal } from './namespaces.ts'
import { decodePacket, encodePacket, hasBinary } from './packets.ts'

const encoder = new Encoder()

/**
 * The Socket.IO 5 side of one Engine.IO session: packets to and from the namespaces that the client is connected to.
 */
export class Connection implements QueueOwner, RateState {
  readonly engine: EngineSession
  /** Of the handshake's query. */
  readonly token: string | null
  readonly queues: ConnectionQueues
  /** Commands of this minute, over all namespaces. */
  windowStartMs = 0
  used = 0
  packets = 0
  /** One for each namespace that it is in. */
  sessions: NamespaceSession[] = []
  private readonly namespaces: Namespaces
  /** Namespaces that it is on its way into. */
  private connecting: Set<string> | undefined
  /** Commands that nothing waits for, but whose answers are still to come. */
  private awaited = 0
  /** Only connections that send binary attachments have one. */
  private decoder: Decoder | undefined
  /** What it has put together last. */
  private decoded: Packet | undefined
  /** Of a packet whose attachments have yet to come. */
  private attachedBytes = 0

  constructor(engine: EngineSession, token: string | null, namespaces: Namespaces) {
    this.engine = engine
    this.token = token
    this.namespaces = namespaces
    this.queues = new ConnectionQueues(namespaces.queueLimits, this, engine)
  }

  /** Connected to no namespace. */
  get idle(): boolean {
    return this.sessions.length === 0 && this.connecting === undefined
  }

  sessionIn(namespace: string): NamespaceSession | undefined {
    for (const session of this.sessions) if (session.name === namespace) return session
    return undefined
  }

  /** A user has a client in one of its namespaces. */
  isOf(userId: string, except?: NamespaceSession): boolean {
    return this.sessions.some((session) => session !== except && session.authenticated && session.userId === userId)
  }

  /** None of its clients has said who it is. */
  get isNobodys(): boolean {
    return !this.sessions.some(({ authenticated }) => authenticated)
  }

  /** Whether it is anybody's has changed: those that are nobody's have less time, and give way to others. */
  identified(): void {
    if (this.engine.closed) return
    const { connections } = this.namespaces.options
    if (this.isNobodys) connections.waits(this.engine, Date.now())
    else connections.waitsNoLonger(this.engine)
  }

  /** Too much waits for it. */
  overflowed(): void {
    this.engine.close()
  }

  broke(error: unknown): void {
    this.refusePacket(error)
  }

  /** No command is at work, and no client is on its way into a namespace. */
  get settled(): boolean {
    return (
      this.queues.idle &&
      this.awaited === 0 &&
      this.connecting === undefined &&
      this.sessions.every(({ settled }) => settled)
    )
  }

  /** Answers are to come of this, while other commands go on. */
  answersLater(outcome: Promise<void>): void {
    this.awaited++
    const answered = () => {
      this.awaited--
    }
    runGuarded('late answer', () => outcome.then(answered, answered))
  }

  /** Sends it nothing more from here: it goes on in another worker. */
  suspend(): MovedConnection {
    return this.sessions.map((session) => session.suspend())
  }

  /** Goes on where it was in another worker. @returns a promise of when that one may let go of it */
  resume(moved: MovedConnection): Promise<unknown> {
    for (const one of moved) {
      const session = this.namespaces.adopt(this, one)
      if (session) this.add(session)
    }
    this.identified()
    return this.namespaces.services.presence.written
  }

  /** A message of the client: an encoded packet, or a binary attachment of the one before. */
  receive(message: string | Buffer = ''): void {
    this.namespaces.meters.bytesReceived += message.length
    if (!this.admitsPacket()) return
    try {
      // A packet with attachments, or one of them: 5 BINARY_EVENT, 6 BINARY_ACK.
      const attached = this.decoder || typeof message !== 'string' || message[0] === '5' || message[0] === '6'
      const packet = attached ? this.decodeAttached(message) : decodePacket(message as string)
      if (packet) this.handle(packet, message.length)
    } catch (error) {
      this.refusePacket(error)
    }
  }

  /**
   * Counts a packet of any kind, pongs included.
   * @returns false where it is one too many: the connection has ended by it
   */
  admitsPacket(): boolean {
    const { options, meters } = this.namespaces
    if (countPacket(this, options.packetsPerMinute, Date.now())) return true
    meters.error('RATE_LIMITED')
    this.engine.discard()
    return false
  }

  admitsCommand(contract: CompiledContract): boolean {
    return (
      countCommand(this, { perMinute: this.namespaces.commandsPerMinute(contract), warnAt: 0 }, Date.now()) !== 'refuse'
    )
  }

  /**
   * Whoever failed too often to say who they are is taken off their namespaces, and gone. To be called once they know
   * how it failed.
   */
  endIfFailing(): void {
    if (this.engine.closed || !this.namespaces.options.failures.tooMany(this)) return
    for (const session of this.sessions) this.disconnect(session)
    this.engine.close()
  }

  /** @param data undefined: none; binary values go as attachments */
  send(type: PacketType, nsp: string, data?: unknown, id?: number): void {
    if (!hasBinary(data)) return this.sendText(type, nsp, data, id)
    if (this.engine.closed) return
    for (const part of encoder.encode({ type, nsp, data, id } as Packet) as (string | Buffer)[]) {
      if (typeof part === 'string') this.queues.send(`4${part}`, false)
      else this.queues.send(part, true)
    }
  }

  /** @param data undefined: none; binary values are written as JSON */
  sendText(type: PacketType, nsp: string, data?: unknown, id?: number): void {
    if (!this.engine.closed) this.queues.send(encodePacket(type, nsp, data, id), false)
  }

  /** Takes a client off one namespace, and tells it so: it does not come back by itself. */
  disconnect(session: NamespaceSession): void {
    this.send(PacketType.DISCONNECT, session.name)
    this.leave(session)
  }

  /** One session takes another's place; the client stays connected. */
  replace(before: NamespaceSession, after: NamespaceSession): void {
    this.sessions = this.sessions.map((session) => (session === before ? after : session))
    before.finish()
    this.namespaces.opened(after)
    this.identified()
  }

  /** The WebSocket took over from polling: its sessions can be live. */
  upgraded(): void {
    for (const session of this.sessions) session.turnNative()
    this.queues.proceed()
  }

  /**
   * uWS dropped a frame of a native topic, and all that it held for this socket behind it: an event's, or a
   * heartbeat's.
   */
  dropped(frame: Uint8Array): void {
    const { hub } = this.namespaces.services
    for (const session of this.sessions) {
      if (session.namespace.sent(frame)) return hub.dropped(session.subscriber, frame, this.subscribers)
    }
    if (frame.length === 1) hub.droppedAfter(this.subscribers, this.namespaces.beatSeq)
  }

  private get subscribers(): Subscriber[] {
    return this.sessions.map(({ subscriber }) => subscriber)
  }

  /** Its transport took some of what it had queued. */
  drained(): void {
    for (const session of this.sessions) this.namespaces.services.hub.drained(session.subscriber)
    this.queues.proceed()
  }

  ended(): void {
    for (const session of this.sessions) this.leave(session)
    this.queues.close()
  }

  /** @returns a packet, once the last of its attachments came. @throws BrokerError INVALID_MESSAGE */
  private decodeAttached(message: string | Buffer): Packet | undefined {
    // Nobody would take it; and it is not put together for nobody.
    if (this.idle) throw new BrokerError('INVALID_MESSAGE')
    this.attachedBytes += message.length
    if (this.attachedBytes > this.namespaces.options.waitingBytes) throw new BrokerError('PAYLOAD_TOO_LARGE')
    if (!this.decoder) {
      this.decoder = new Decoder()
      this.decoder.on('decoded', (packet) => {
        this.decoded = packet
      })
    }
    try {
      this.decoder.add(message)
    } catch {
      throw new BrokerError('INVALID_MESSAGE')
    }
    const packet = this.decoded
    this.decoded = undefined
    if (packet) {
      this.attachedBytes = 0
      checkPlain(packet.data)
    }
    return packet
  }

  /** A client that breaks the protocol is cut off; what else goes wrong with a packet of its is a fault of ours. */
  private refusePacket(error: unknown): void {
    if (!(error instanceof BrokerError)) reportFault('socket.io packet', error)
    this.namespaces.meters.error('INVALID_MESSAGE')
    this.engine.discard()
  }

  /** @param bytes of the packet, about */
  private handle(packet: Packet, bytes: number): void {
    const { nsp, type } = packet
    if (type === PacketType.CONNECT) return this.connect(nsp, packet.data, bytes)
    const session = this.sessionIn(nsp)
    if (!session) {
      // Sent right behind CONNECT, it waits for the outcome; otherwise it is out of order.
      if (this.connecting?.has(nsp)) this.queues.run(bytes, () => this.handleLater(packet, bytes))
      else this.engine.discard()
      return
    }
    // Neither an event nor an acknowledgement is without its list.
    if (type !== PacketType.DISCONNECT && !Array.isArray(packet.data)) throw new BrokerError('INVALID_MESSAGE')
    switch (type) {
      case PacketType.EVENT:
      case PacketType.BINARY_EVENT:
        if (typeof packet.data[0] !== 'string' || RESERVED_EVENTS.has(packet.data[0]))
          throw new BrokerError('INVALID_MESSAGE')
        return session.receive(packet.data[0], packet.data.slice(1), packet.id, bytes)
      case PacketType.ACK:
      case PacketType.BINARY_ACK:
        return session.answered(packet.id, packet.data)
      case PacketType.DISCONNECT:
        return this.leave(session)
      default:
        throw new BrokerError('INVALID_MESSAGE')
    }
  }

  private handleLater(packet: Packet, bytes: number): undefined {
    if (this.sessionIn(packet.nsp) && !this.engine.closed) this.handle(packet, bytes)
    return undefined
  }

  private connect(name: string, data: unknown, bytes: number): void {
    if (this.sessionIn(name) || this.connecting?.has(name)) throw new BrokerError('INVALID_MESSAGE')
    const found = this.namespaces.find(name)
    if (!found) return this.refuse(name, { message: 'Invalid namespace' })
    const { namespacesMax } = this.namespaces.options
    if (this.sessions.length + (this.connecting?.size ?? 0) >= namespacesMax) {
      return this.refuse(
        name,
        this.namespaces.refusalOf(
          this,
          found,
          new BrokerError(
            'TOO_MANY_NAMESPACES',
            `A connection may be in ${namespacesMax} namespaces (MAX_NAMESPACES_PER_CONNECTION)`,
          ),
        ),
      )
    }
    // The first is part of the handshake.
    if (this.engine.connected && !this.admitsCommand(found.contract))
      return this.refuse(name, this.namespaces.refusalOf(this, found, new BrokerError('RATE_LIMITED')))
    if (this.queues.run(bytes, () => this.enter(found, (data ?? {}) as Record<string, unknown>))) return
    this.connecting ??= new Set()
    this.connecting.add(name)
  }

  private enter(found: Namespace, auth: Record<string, unknown>): Promise<void> | undefined {
    const outcome = this.namespaces.admit(this, found, auth)
    if (!(outcome instanceof Promise)) return this.settle(found.name, () => outcome)
    return outcome.then((entrance) => this.settle(found.name, entrance))
  }

  private settle(name: string, entrance: Entrance): undefined {
    this.connecting?.delete(name)
    if (this.connecting?.size === 0) this.connecting = undefined
    if (this.engine.closed) return
    const outcome = entrance()
    if (outcome instanceof NamespaceSession) {
      this.add(outcome)
      outcome.begin()
    } else this.refuse(name, outcome)
  }

  private add(session: NamespaceSession): void {
    this.sessions = lengthened(this.sessions, session)
    this.engine.connected = true
  }

  private refuse(name: string, data: Refusal): void {
    this.send(PacketType.CONNECT_ERROR, name, data)
    this.endIfFailing()
  }

  private leave(session: NamespaceSession): void {
    if (!this.sessions.includes(session)) return
    this.sessions = this.sessions.filter((other) => other !== session)
    session.finish()
    this.identified()
  }
}
