import { isDeepStrictEqual } from 'node:util'
import { PacketType } from 'socket.io-parser'
import { eventValues } from '../../codecs/socketio.ts'
import type { Caller } from '../../commands/caller.ts'
import { closeClient, renewClient, suspendClient } from '../../commands/lifecycle.ts'
import { presenceStateOf } from '../../commands/presence-channel.ts'
import type { RequestableClient } from '../../commands/requestable-clients.ts'
import type { Claims } from '../../contracts/claims.ts'
import type { Command, Failure } from '../../contracts/command.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { Message } from '../../contracts/contract.ts'
import { BrokerError } from '../../errors.ts'
import { runGuarded } from '../../guarded.ts'
import { CLOSED, Subscriber, type SubscriberOwner } from '../../hub/subscriber.ts'
import type { Identity } from '../../state/login-sessions.ts'
import type { Recovered } from '../../state/recovery.ts'
import type { ConnectionQueues } from '../connection-queues.ts'
import type { EngineIoSession } from '../engineio/session.ts'
import { ClientRequests } from './client-requests.ts'
import type { SocketIoContext } from './context.ts'
import { NOBODY, WELCOMED } from './credential.ts'
import { EarlyCommands } from './early-commands.ts'
import { endMessage, failureAnswer, failureOf } from './failure.ts'
import { type HandedOverSocket, renewalMs, roomsBySeq } from './handed-over-state.ts'
import type { Namespace } from './namespaces.ts'

/** The connection of a socket, which others may share with it. */
export interface SocketConnection {
  readonly session: EngineIoSession
  readonly queues: ConnectionQueues
  socketIn(namespace: string): SocketIoSocket | undefined
  /** A user has a client in one of its namespaces. */
  isOf(userId: string, except?: SocketIoSocket): boolean
  /** Whether its client has authenticated may have changed. */
  identityChanged(): void
  /** @param data undefined: none; binary values go as attachments */
  send(type: PacketType, namespace: string, data?: unknown, id?: number): void
  /** @param data undefined: none; binary values are written as JSON */
  sendText(type: PacketType, namespace: string, data?: unknown, id?: number): void
  /** @returns false where it is one command too many */
  admitsCommand(contract: CompiledContract): boolean
  /** Its answers come later, while other commands go on. */
  answersLater(outcome: Promise<void>): void
  /** Takes a socket off its namespace, and tells the client so. */
  disconnect(socket: SocketIoSocket): void
  /** One socket takes another's place; the client stays connected. */
  replace(before: SocketIoSocket, after: SocketIoSocket): void
  /** Ends where its client failed too often to say who it is. */
  endIfFailing(): void
}

export interface SocketOptions {
  readonly namespace: Namespace
  readonly connection: SocketConnection
  /** Undefined: it authenticates later. */
  readonly identity: Identity | undefined
  /** What it connected with. */
  readonly auth: Readonly<Record<string, unknown>>
  readonly pid: string
  /** Whether its events have their position as the last argument. */
  readonly positions: boolean
  /** Undefined: it begins from now on. */
  readonly recovered: Recovered | undefined
  /** Of one that was another worker's. */
  readonly handedOver?: HandedOverSocket
}

const NEVER = Number.POSITIVE_INFINITY

/** A client in one namespace. */
export class SocketIoSocket implements Caller, RequestableClient, SubscriberOwner {
  readonly subscriber: Subscriber
  readonly contract: CompiledContract
  readonly namespace: Namespace
  readonly connection: SocketConnection
  /** What it connected with, until it has been welcomed. */
  auth: Readonly<Record<string, unknown>>
  claims: Claims = NOBODY
  readonly context: SocketIoContext
  readonly pid: string
  /** A digest of `pid`, kept because it costs a twentieth of a handshake. */
  readonly connectionId: string
  readonly positions: boolean
  private readonly openedMs: number
  private before: Recovered | undefined
  /** Who it is. Undefined: connected, but that has yet to be said. */
  private identity: Identity | undefined
  private unfollow: (() => void) | undefined
  private early: EarlyCommands | undefined
  private requests: ClientRequests | undefined
  /** When its rooms are to be written again, ms, and how much the store had lost when they were written. */
  private renewMs = NEVER
  private losses = 0

  constructor(context: SocketIoContext, options: SocketOptions) {
    const { namespace, connection, identity, auth, pid, positions, recovered, handedOver } = options
    const { session } = connection
    this.subscriber = new Subscriber({
      application: namespace.contract.application,
      wire: positions ? namespace.wire : namespace.wireWithoutPositions,
      userId: identity?.claims.sub ?? '',
      peer: session,
      owner: this,
      // A frame that a full socket drops tells by its position where to go on: those without are sent from the log.
      native: positions && session.native,
    })
    this.contract = namespace.contract
    this.namespace = namespace
    this.connection = connection
    this.auth = auth
    this.context = context
    this.pid = pid
    this.connectionId = context.recovery.sidOf(pid)
    this.positions = positions
    this.before = recovered
    this.openedMs = handedOver?.openedMs ?? Date.now()
    // What was kept of it stays so; when that was written last is not known here.
    if (handedOver || recovered?.userId !== undefined) this.renewMs = renewalMs(this.openedMs)
    if (handedOver && handedOver.requestsSent > 0) this.requests = new ClientRequests(handedOver.requestsSent)
    if (identity) this.become(identity)
  }

  get name(): string {
    return this.namespace.name
  }

  get userId(): string {
    return this.subscriber.userId
  }

  get authenticated(): boolean {
    return this.identity !== undefined
  }

  get countedAs(): string | undefined {
    return this.namespace.endpoint.anonymous || this.connection.isOf(this.userId, this) ? undefined : this.userId
  }

  get closed(): boolean {
    return this.subscriber.state === CLOSED
  }

  get endpointName(): string {
    return this.namespace.endpoint.namespace
  }

  get namespaceName(): string {
    return this.name
  }

  get parameter(): string {
    return this.namespace.parameter
  }

  /** What it goes on from. Undefined: it begins from now on. */
  get recovered(): Recovered | undefined {
    return this.before
  }

  /** The client is told its `pid`, and may come back by it. Without positions it would not know where it was. */
  get recoversByPid(): boolean {
    return this.positions && !this.before?.byPosition
  }

  /** No command waits, and no request of a service: what is at work here could not be finished elsewhere. */
  get settled(): boolean {
    return (this.early?.empty ?? true) && (this.requests?.settled ?? true)
  }

  /** Nothing more is delivered here; the rest of it stays until another worker has it. */
  suspend(): HandedOverSocket {
    const { context, name, auth, pid, positions, recovered, openedMs, identity } = this
    const rooms = roomsBySeq(this.subscriber)
    const places = presenceStateOf(this.subscriber, context.services)
    if (identity) suspendClient(this, context.services)
    const requestsSent = this.requests?.sent ?? 0
    const { epoch, life: logLife } = context.services.log
    return { name, auth, identity, pid, positions, recovered, epoch, logLife, openedMs, places, requestsSent, rooms }
  }

  /** The client is gone from the namespace. */
  finish(): void {
    const { namespaces, services, access } = this.context
    namespaces.closed(this.namespace)
    this.unfollow?.()
    this.early?.take()
    this.requests?.end()
    if (!this.authenticated) return services.hub.close(this.subscriber, true)
    closeClient(this, services, true)
    access.leave(this.namespace, this.userId, this.connection)
  }

  request(type: string, data: unknown, timeoutMs: number): Promise<readonly unknown[]> {
    this.requests ??= new ClientRequests()
    return this.requests.send(timeoutMs, (id) =>
      this.connection.send(PacketType.EVENT, this.name, data === undefined ? [type] : [type, data], id),
    )
  }

  /** The client acknowledged a request. */
  answered(id: number | undefined, values: readonly unknown[]): void {
    this.requests?.answer(id, values)
  }

  admits(command: Command): boolean {
    const { meters, admission } = this.context
    if (!this.connection.admitsCommand(this.contract)) {
      meters.error('RATE_LIMITED')
      this.fail(new BrokerError('RATE_LIMITED'), command)
      return false
    }
    const verdict = admission.count(this.contract, this.userId, this.connection, Date.now())
    if (verdict.pass) return true
    meters.error('RATE_LIMITED')
    const message = this.contract.contract.limits?.burst?.refused(verdict.retryAfterS)
    if (message) this.reply(message)
    if (verdict.ban) this.connection.session.close()
    return false
  }

  ownRooms(): readonly string[] {
    return this.namespace.endpoint.joins?.(this.claims, this.parameter) ?? []
  }

  reply(message: Message): void {
    this.connection.send(PacketType.EVENT, this.name, eventValues(message))
  }

  fail({ code, message, details }: Failure, command?: Command, instead?: Message): void {
    const failure = { code, message, ...(details === undefined ? undefined : { details }) }
    const answer = failureAnswer(this.namespace.endpoint, failure, command)
    const told = instead ?? answer.message
    if (told) this.reply(told)
    // Last, so that whoever waits for it has been told why.
    if (answer.acknowledgement) command?.acknowledge?.(answer.acknowledgement)
  }

  answersLater(outcome: Promise<void>): void {
    this.connection.answersLater(outcome)
  }

  async refresh(): Promise<Claims> {
    const { identity } = this
    if (!identity) throw new BrokerError('AUTH_MISSING')
    try {
      const { claims } = await this.context.loginSessions.refresh(identity)
      if (!this.closed) this.renew({ ...identity, claims })
      return claims
    } catch (error) {
      if (!this.closed && error instanceof BrokerError && (error.row.http === 401 || error.code === 'ACCESS_DENIED'))
        this.end(error)
      throw error
    }
  }

  /** Another socket, of nobody yet, takes its place in the namespace. */
  async logOut(): Promise<void> {
    const { connection, context, namespace, auth, pid, positions } = this
    const next = { namespace, connection, identity: undefined, auth, pid, positions, recovered: undefined }
    connection.replace(this, new SocketIoSocket(context, next))
    await context.recovery.spoil(pid)
  }

  async remember(): Promise<void> {
    // Once it is closed it is in no room, which is not what it is to come back to.
    if (!this.identity || this.closed || !this.recoversByPid) return
    const { recovery, services } = this.context
    const late = this.namespace.endpoint.lateAuthentication !== undefined
    this.renewMs = recovery.renewalMs(Math.random())
    this.losses = recovery.losses
    await recovery.keep(this.pid, {
      userId: this.userId,
      namespace: this.namespace.id,
      rooms: this.subscriber.groups.map(({ room }) => room.name),
      places: presenceStateOf(this.subscriber, services),
      ...(late ? { identity: this.identity } : undefined),
    })
  }

  stalled(): void {
    this.connection.session.close()
  }

  /** What it needs is gone: it comes back, and finds `recovered` false, or gets `events_missed`. */
  missed(): void {
    if (this.recoversByPid) runGuarded('recovery', () => this.context.recovery.spoil(this.pid))
    this.connection.session.close()
  }

  endIfExpired(nowMs: number): boolean {
    if (this.claims.exp * 1000 > nowMs) return false
    this.end(new BrokerError('AUTH_EXPIRED'))
    return true
  }

  /** Ends it where its token ran out, or where it has not authenticated in time. */
  sweep(nowMs: number): void {
    if (this.closed) return
    const late = this.namespace.endpoint.lateAuthentication
    if (this.authenticated) {
      if (this.endIfExpired(nowMs)) return
      if (this.renewMs <= nowMs || (this.renewMs !== NEVER && this.losses !== this.context.recovery.losses))
        runGuarded('recovery', () => this.remember())
    } else if (late && nowMs - this.openedMs >= late.timeoutMs) {
      const error = new BrokerError('AUTH_MISSING', `Nobody authenticated within ${late.timeoutMs / 1000} s`)
      if (late.ended) this.reply(late.ended(failureOf(error)))
      this.connection.disconnect(this)
    }
  }

  /**
   * Keeps a command that came before its client has said who it is.
   * @param bytes of the packet that it came in
   */
  keepEarly(command: Command, bytes: number): void {
    this.early ??= new EarlyCommands((one) => this.refuseEarly(one))
    this.early.add(command, bytes)
  }

  takeEarly(): readonly Command[] {
    return this.early?.take() ?? []
  }

  /** Its client has said who it is. */
  identify(identity: Identity): void {
    // What was kept is another user's: this one begins from now on.
    if (this.before?.userId !== undefined && this.before.userId !== identity.claims.sub) this.before = undefined
    this.become(identity)
  }

  /** Its client has been welcomed: nobody asks any more for what it connected with, and the token in that. */
  forgetAuth(): void {
    this.auth = WELCOMED
  }

  /**
   * Goes on with other claims.
   * @throws BrokerError AUTH_FAILED, ACCESS_DENIED where they are another user's, or do not let it be here
   */
  renew(identity: Identity): void {
    const { claims } = identity
    if (claims.sub !== this.userId) throw new BrokerError('AUTH_FAILED', "The session is another user's now")
    this.context.access.check(this.namespace, claims)
    this.identity = identity
    if (!isDeepStrictEqual(claims, this.claims)) renewClient(this, claims, this.context.services)
  }

  private become(identity: Identity): void {
    const { claims, key } = identity
    this.identity = identity
    this.claims = claims
    this.subscriber.identify(claims.sub)
    this.unfollow?.()
    this.unfollow =
      key === undefined ? undefined : this.context.loginSessions.follow(key, (change) => this.changed(change))
  }

  /** What the store says of its login session now. */
  private changed(change: Claims | BrokerError): void {
    if (this.closed || isDeepStrictEqual(change, this.claims)) return
    try {
      if (change instanceof BrokerError) throw change
      this.renew({ ...this.identity, claims: change })
    } catch (error) {
      if (error instanceof BrokerError) return this.end(error)
      throw error
    }
    const message = this.namespace.endpoint.lateAuthentication?.changed?.(change)
    if (message) this.reply(message)
  }

  /** Its client did not say in time who it is. */
  private refuseEarly(command: Command): void {
    const error = new BrokerError('AUTH_MISSING', 'Authenticate first')
    this.context.meters.error(error.code)
    this.fail(error, command)
  }

  /** It is over with who it was: the client is told, and off the namespace. */
  private end(error: BrokerError): void {
    const failure = failureOf(error)
    this.context.meters.error(failure.code)
    this.reply(endMessage(this.namespace.endpoint, failure))
    this.connection.disconnect(this)
  }
}
