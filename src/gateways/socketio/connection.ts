import { Encoder, type Packet, PacketType } from 'socket.io-parser'
import type { CompiledContract } from '../../contracts/compiled.ts'
import { RESERVED_EVENTS } from '../../contracts/reserved.ts'
import { BrokerError } from '../../errors.ts'
import { countCommand, countPacket, type RateState } from '../../guard/rate-limit.ts'
import { reportFault, runGuarded } from '../../guarded.ts'
import { lengthened } from '../../hub/room.ts'
import type { Subscriber } from '../../hub/subscriber.ts'
import { ConnectionQueues, type QueueOwner } from '../connection-queues.ts'
import type { EngineIoHandler } from '../engineio/handler.ts'
import type { EngineIoSession } from '../engineio/session.ts'
import { AttachmentDecoder } from './attachments.ts'
import { receiveCommand } from './commands.ts'
import { admit, adopt, type Entrance, type Refusal, refusalOf } from './connecting.ts'
import type { SocketIoContext } from './context.ts'
import type { HandedOverConnection } from './handed-over-state.ts'
import type { Namespace } from './namespaces.ts'
import { decodePacket, encodePacket, hasBinary } from './packets.ts'
import { type SocketConnection, SocketIoSocket } from './socket.ts'
import { begin } from './welcome.ts'

const encoder = new Encoder()

/**
 * The Socket.IO 5 side of one Engine.IO session: packets to and from the namespaces that the client is connected to.
 */
export class SocketIoConnection implements EngineIoHandler, SocketConnection, QueueOwner, RateState {
  readonly session: EngineIoSession
  readonly queues: ConnectionQueues
  /** Commands of this minute, over all namespaces. */
  windowStartMs = 0
  used = 0
  packets = 0
  /** One for each namespace that it is in. */
  private sockets: SocketIoSocket[] = []
  private readonly context: SocketIoContext
  /** It was in a namespace. */
  private connected = false
  /** Namespaces that it is on its way into. */
  private connecting: Set<string> | undefined
  /** Commands that nothing waits for, but whose answers are still to come. */
  private awaited = 0
  private attachments: AttachmentDecoder | undefined

  constructor(session: EngineIoSession, context: SocketIoContext) {
    this.session = session
    this.context = context
    this.queues = new ConnectionQueues(context.queueLimits, this, session)
  }

  get unused(): boolean {
    return !this.connected && this.idle
  }

  get unauthenticated(): boolean {
    return !this.sockets.some(({ authenticated }) => authenticated)
  }

  get heldBytes(): number {
    return this.queues.heldBytes
  }

  get settled(): boolean {
    return (
      this.queues.idle &&
      this.awaited === 0 &&
      this.connecting === undefined &&
      this.sockets.every(({ settled }) => settled)
    )
  }

  /** Connected to no namespace. */
  private get idle(): boolean {
    return this.sockets.length === 0 && this.connecting === undefined
  }

  private get subscribers(): Subscriber[] {
    return this.sockets.map(({ subscriber }) => subscriber)
  }

  socketIn(namespace: string): SocketIoSocket | undefined {
    for (const socket of this.sockets) if (socket.name === namespace) return socket
    return undefined
  }

  isOf(userId: string, except?: SocketIoSocket): boolean {
    return this.sockets.some((socket) => socket !== except && socket.authenticated && socket.userId === userId)
  }

  /** Connections whose client has not authenticated have less time, and give way to others. */
  identityChanged(): void {
    if (this.session.closed) return
    const { connections } = this.context
    if (this.unauthenticated) connections.waits(this.session, Date.now())
    else connections.waitsNoLonger(this.session)
  }

  /** A message of the client: an encoded packet, or a binary attachment of the one before. */
  receive(message: string | Buffer = ''): void {
    this.context.meters.bytesReceived += message.length
    if (!this.admitsPacket()) return
    try {
      // A packet with attachments, or one of them: 5 BINARY_EVENT, 6 BINARY_ACK.
      const attached = this.attachments || typeof message !== 'string' || message[0] === '5' || message[0] === '6'
      const packet = attached ? this.decodeAttached(message) : decodePacket(message as string)
      if (packet) this.handle(packet, message.length)
    } catch (error) {
      this.refusePacket(error)
    }
  }

  admitsPacket(): boolean {
    const { limits, meters } = this.context
    if (countPacket(this, limits.packetsPerMinute, Date.now())) return true
    meters.error('RATE_LIMITED')
    this.session.discard()
    return false
  }

  admitsCommand({ contract }: CompiledContract): boolean {
    const { commandsPerMinute, defaultCommandsPerMinute } = this.context.limits
    const perMinute = commandsPerMinute || (contract.limits?.commandsPerMinute ?? defaultCommandsPerMinute)
    return countCommand(this, { perMinute, warnAt: 0 }, Date.now()) !== 'refuse'
  }

  answersLater(outcome: Promise<void>): void {
    this.awaited++
    const answered = () => {
      this.awaited--
    }
    runGuarded('late answer', () => outcome.then(answered, answered))
  }

  /** To be called once its client knows how it failed. */
  endIfFailing(): void {
    if (this.session.closed || !this.context.failures.tooMany(this)) return
    for (const socket of this.sockets) this.disconnect(socket)
    this.session.close()
  }

  send(type: PacketType, nsp: string, data?: unknown, id?: number): void {
    if (!hasBinary(data)) return this.sendText(type, nsp, data, id)
    if (this.session.closed) return
    for (const part of encoder.encode({ type, nsp, data, id } as Packet) as (string | Buffer)[]) {
      if (typeof part === 'string') this.queues.send(`4${part}`, false)
      else this.queues.send(part, true)
    }
  }

  sendText(type: PacketType, nsp: string, data?: unknown, id?: number): void {
    if (!this.session.closed) this.queues.send(encodePacket(type, nsp, data, id), false)
  }

  /** The client is told, so it does not come back by itself. */
  disconnect(socket: SocketIoSocket): void {
    this.send(PacketType.DISCONNECT, socket.name)
    this.leave(socket)
  }

  replace(before: SocketIoSocket, after: SocketIoSocket): void {
    this.sockets = this.sockets.map((socket) => (socket === before ? after : socket))
    before.finish()
    this.context.namespaces.opened(after.namespace)
    this.identityChanged()
  }

  tooMuchWaiting(): void {
    this.session.close()
  }

  broke(error: unknown): void {
    this.refusePacket(error)
  }

  /** Its sockets can be live from now on. */
  upgraded(): void {
    for (const { subscriber, positions } of this.sockets)
      if (positions) this.context.services.hub.turnNative(subscriber)
    this.queues.proceed()
  }

  /** The frame was an event's, or a heartbeat's. */
  dropped(frame: Uint8Array): void {
    const { hub } = this.context.services
    // One without positions gets its events by `send`, which says itself what it dropped.
    for (const { namespace, subscriber, positions } of this.sockets)
      if (positions && namespace.sent(frame)) return hub.dropped(subscriber, frame, this.subscribers)
    if (frame.length === 1) hub.droppedAfter(this.subscribers, this.context.beatSeq())
  }

  drained(): void {
    for (const { subscriber } of this.sockets) this.context.services.hub.drained(subscriber)
    this.queues.proceed()
  }

  sweep(nowMs: number): void {
    for (const socket of this.sockets) socket.sweep(nowMs)
  }

  ended(): void {
    for (const socket of this.sockets) this.leave(socket)
    this.queues.close()
  }

  suspend(): HandedOverConnection {
    return this.sockets.map((socket) => socket.suspend())
  }

  stop(): void {
    this.queues.close()
  }

  resume(state: unknown): Promise<unknown> {
    for (const handedOver of state as HandedOverConnection) {
      const socket = adopt(this.context, this, handedOver)
      if (socket) this.add(socket)
    }
    this.identityChanged()
    return this.context.services.presence.written
  }

  /**
   * @returns a packet, once the last of its attachments came
   * @throws BrokerError INVALID_MESSAGE, PAYLOAD_TOO_LARGE
   */
  private decodeAttached(message: string | Buffer): Packet | undefined {
    // Nobody would take it; and it is not put together for nobody.
    if (this.idle) throw new BrokerError('INVALID_MESSAGE')
    this.attachments ??= new AttachmentDecoder(this.context.limits.waitingBytes)
    return this.attachments.add(message)
  }

  /** A client that breaks the protocol is cut off; what else goes wrong with a packet of its is a fault of ours. */
  private refusePacket(error: unknown): void {
    if (!(error instanceof BrokerError)) reportFault('socket.io packet', error)
    this.context.meters.error('INVALID_MESSAGE')
    this.session.discard()
  }

  /** @param bytes of the packet, about */
  private handle(packet: Packet, bytes: number): void {
    const { nsp, type } = packet
    if (type === PacketType.CONNECT) return this.connect(nsp, packet.data, bytes)
    const socket = this.socketIn(nsp)
    if (!socket) {
      // Sent right behind CONNECT, it waits for the outcome; otherwise it is out of order.
      if (this.connecting?.has(nsp)) this.queues.run(bytes, () => this.handleLater(packet, bytes))
      else this.session.discard()
      return
    }
    // Neither an event nor an acknowledgement is without its list.
    if (type !== PacketType.DISCONNECT && !Array.isArray(packet.data)) throw new BrokerError('INVALID_MESSAGE')
    switch (type) {
      case PacketType.EVENT:
      case PacketType.BINARY_EVENT:
        if (typeof packet.data[0] !== 'string' || RESERVED_EVENTS.has(packet.data[0]))
          throw new BrokerError('INVALID_MESSAGE')
        return receiveCommand(socket, packet.data[0], packet.data.slice(1), packet.id, bytes)
      case PacketType.ACK:
      case PacketType.BINARY_ACK:
        return socket.answered(packet.id, packet.data)
      case PacketType.DISCONNECT:
        return this.leave(socket)
      default:
        throw new BrokerError('INVALID_MESSAGE')
    }
  }

  private handleLater(packet: Packet, bytes: number): undefined {
    if (this.socketIn(packet.nsp) && !this.session.closed) this.handle(packet, bytes)
    return undefined
  }

  private connect(name: string, data: unknown, bytes: number): void {
    if (this.socketIn(name) || this.connecting?.has(name)) throw new BrokerError('INVALID_MESSAGE')
    const { namespaces, limits } = this.context
    const namespace = namespaces.find(name)
    if (!namespace) return this.refuse(name, { message: 'Invalid namespace' })
    if (this.sockets.length + (this.connecting?.size ?? 0) >= limits.namespacesMax) {
      const message = `A connection may be in ${limits.namespacesMax} namespaces (MAX_NAMESPACES_PER_CONNECTION)`
      const error = new BrokerError('TOO_MANY_NAMESPACES', message)
      return this.refuse(name, refusalOf(this.context, this, namespace, error))
    }
    // The first is part of the handshake.
    if (this.connected && !this.admitsCommand(namespace.contract))
      return this.refuse(name, refusalOf(this.context, this, namespace, new BrokerError('RATE_LIMITED')))
    if (this.queues.run(bytes, () => this.admit(namespace, (data ?? {}) as Record<string, unknown>))) return
    this.connecting ??= new Set()
    this.connecting.add(name)
  }

  private admit(namespace: Namespace, auth: Record<string, unknown>): Promise<void> | undefined {
    const outcome = admit({ context: this.context, connection: this, namespace, auth })
    if (!(outcome instanceof Promise)) return this.enter(namespace.name, () => outcome)
    return outcome.then((entrance) => this.enter(namespace.name, entrance))
  }

  /** Its way into a namespace is over: it is in it, or is told why not. */
  private enter(name: string, entrance: Entrance): undefined {
    this.connecting?.delete(name)
    if (this.connecting?.size === 0) this.connecting = undefined
    if (this.session.closed) return
    const outcome = entrance()
    if (outcome instanceof SocketIoSocket) {
      this.add(outcome)
      begin(outcome)
    } else this.refuse(name, outcome)
  }

  private add(socket: SocketIoSocket): void {
    this.sockets = lengthened(this.sockets, socket)
    this.connected = true
  }

  private refuse(name: string, data: Refusal): void {
    this.send(PacketType.CONNECT_ERROR, name, data)
    this.endIfFailing()
  }

  private leave(socket: SocketIoSocket): void {
    if (!this.sockets.includes(socket)) return
    this.sockets = this.sockets.filter((other) => other !== socket)
    socket.finish()
    this.identityChanged()
  }
}
