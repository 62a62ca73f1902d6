import { isDeepStrictEqual } from 'node:util'
import { PacketType } from 'socket.io-parser'
import { eventValues } from '../../codecs/socketio.ts'
import type { Caller } from '../../commands/caller.ts'
import { dispatch } from '../../commands/dispatch.ts'
import { closeClient, joinRooms, openClient, renewClient, suspendClient } from '../../commands/lifecycle.ts'
import { permittedRooms } from '../../commands/permission.ts'
import { presenceStateOf, restorePresence } from '../../commands/presence-channel.ts'
import type { RequestableClient } from '../../commands/requestable-clients.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { LateAuthentication, Message } from '../../contracts/contract.ts'
import { BrokerError } from '../../errors.ts'
import { runGuarded } from '../../guarded.ts'
import { type Identity, inTime } from '../../state/login-sessions.ts'
import { CLOSED, Subscriber, type SubscriberOwner } from '../../hub/subscriber.ts'
import type { Connection } from './connection.ts'
import { NOBODY, WELCOMED } from './credential.ts'
import { EarlyCommands } from './early-commands.ts'
import { failureOf } from './failure.ts'
import { type MovedNamespace, renewalMs, roomsBySeq } from '../handoff/moved.ts'
import type { Namespace, Namespaces } from './namespaces.ts'
import { ClientRequests } from './client-requests.ts'
import type { Recovered } from '../../state/recovery.ts'
import type { Claims } from '../../contracts/claims.ts'
import type { Command, Failure } from '../../contracts/command.ts'

/** A client in one namespace. */
export class NamespaceSession implements Caller, RequestableClient, SubscriberOwner {
  readonly subscriber: Subscriber
  readonly contract: CompiledContract
  readonly namespace: Namespace
  readonly connection: Connection
  /** What it connected with, for its welcome. */
  auth: Readonly<Record<string, unknown>>
  private openedMs = Date.now()
  claims: Claims
  private readonly namespaces: Namespaces
  private readonly pid: string
  private recovered: Recovered | undefined
  /** Who it is. Undefined: connected, but that has yet to be said. */
  private identity: Identity | undefined
  private unfollow: (() => void) | undefined
  private early: EarlyCommands | undefined
  private requests: ClientRequests | undefined
  /** When its rooms are to be written again, ms, and how much the store had lost when they were written. */
  private renewMs = NEVER
  private losses = 0

  /**
   * @param identity undefined: it authenticates later
   * @param recovered undefined: it begins from now on
   */
  constructor(
    namespaces: Namespaces,
    namespace: Namespace,
    connection: Connection,
    identity: Identity | undefined,
    auth: Readonly<Record<string, unknown>>,
    pid: string,
    recovered: Recovered | undefined,
  ) {
    const { engine } = connection
    this.contract = namespace.contract
    this.subscriber = new Subscriber({
      application: namespace.contract.application,
      wire: namespace.wire,
      userId: identity?.claims.sub ?? '',
      peer: engine,
      owner: this,
      order: engine.order,
      native: engine.native,
    })
    this.namespaces = namespaces
    this.namespace = namespace
    this.connection = connection
    this.claims = NOBODY
    this.auth = auth
    this.pid = pid
    this.recovered = recovered
    if (identity) this.become(identity)
  }

  get name(): string {
    return this.namespace.name
  }

  get userId(): string {
    return this.subscriber.userId
  }

  get connectionId(): string {
    return this.namespaces.recovery.sidOf(this.pid)
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

  /** CONNECT is answered; then what it missed, then live events. */
  begin(): void {
    const { connection, namespaces } = this
    namespaces.opened(this)
    if (this.authenticated) this.open()
    connection.sendText(PacketType.CONNECT, this.name, { sid: this.connectionId, pid: this.pid })
    if (this.authenticated) this.enter(this.recovered?.rooms ?? [])
    // What was kept of it stays so; when that was written last is not known here.
    if (this.recovered?.userId !== undefined) this.renewMs = renewalMs(this.openedMs)
  }

  /** No command waits, and no request of a service: what is at work here could not be finished elsewhere. */
  get settled(): boolean {
    return (this.early?.empty ?? true) && (this.requests?.settled ?? true)
  }

  /** Nothing more is delivered here; the rest of it stays until another worker has it. */
  suspend(): MovedNamespace {
    const { namespaces, name, auth, pid, recovered, openedMs, identity } = this
    const rooms = roomsBySeq(this.subscriber)
    const places = presenceStateOf(this.subscriber, namespaces.services)
    if (identity) suspendClient(this, namespaces.services)
    return { name, auth, identity, pid, recovered, openedMs, places, asked: this.requests?.sent ?? 0, rooms }
  }

  /** Goes on where it was in another worker. */
  resume({ openedMs, places, asked, rooms }: MovedNamespace): void {
    const { services } = this.namespaces
    this.openedMs = openedMs
    if (asked > 0) this.requests = new ClientRequests(asked)
    this.namespaces.opened(this)
    if (!this.authenticated) return
    this.renewMs = renewalMs(this.openedMs)
    openClient(this, services)
    if (places) restorePresence(this, places, services)
    const predicate = this.contract.withAccess(this.claims, [])
    for (const [sinceSeq, names] of rooms) joinRooms(this, names, predicate, services, sinceSeq)
  }

  /** The client is gone from the namespace. */
  finish(): void {
    this.namespaces.closed(this)
    this.unfollow?.()
    this.early?.take()
    this.requests?.end()
    if (!this.authenticated) return this.namespaces.services.hub.close(this.subscriber, true)
    closeClient(this, this.namespaces.services, true)
    this.namespaces.admission.leave(this.contract, this.userId, this.connection)
  }

  receive(type: string, args: unknown[], ackId: number | undefined, bytes: number): void {
    const command: Command = {
      type,
      data: args[0] ?? {},
      args,
      ...(ackId === undefined
        ? undefined
        : {
            acknowledge: (values: readonly unknown[]) => this.connection.send(PacketType.ACK, this.name, values, ackId),
          }),
    }
    if (!this.admits(command)) return
    this.connection.queues.run(bytes, () => {
      // Not `this`: a logout before it may have put another session in its place.
      return this.connection.sessionIn(this.name)?.carryOut(command, bytes)
    })
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
    const { meters, admission } = this.namespaces
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
    if (verdict.ban) this.connection.engine.close()
    return false
  }

  ownRooms(): readonly string[] {
    return this.namespace.endpoint.joins?.(this.claims, this.parameter) ?? []
  }

  reply(message: Message): void {
    this.emit(message)
  }

  fail({ code, message, details }: Failure, command?: Command, instead?: Message): void {
    const failure = { code, message, ...(details === undefined ? undefined : { details }) }
    const { failed, lateAuthentication: late } = this.namespace.endpoint
    const answer = command && failed?.(failure, command)
    const usual =
      late && code === 'AUTH_MISSING'
        ? late.refused(failure, command)
        : (answer?.message ?? (failed ? undefined : { type: 'error', data: failure }))
    if (instead ?? usual) this.emit((instead ?? usual) as Message)
    // Last, so that whoever waits for it has been told why.
    if (answer?.acknowledgement) command?.acknowledge?.(answer.acknowledgement)
  }

  answersLater(outcome: Promise<void>): void {
    this.connection.answersLater(outcome)
  }

  async refresh(): Promise<Claims> {
    const { identity } = this
    if (!identity) throw new BrokerError('AUTH_MISSING')
    try {
      const { claims } = await this.namespaces.sessions.refresh(identity)
      if (!this.closed) this.renew({ ...identity, claims })
      return claims
    } catch (error) {
      if (!this.closed && error instanceof BrokerError && (error.row.http === 401 || error.code === 'ACCESS_DENIED'))
        this.end(error)
      throw error
    }
  }

  /** Another session, of nobody yet, takes its place in the namespace. */
  async logOut(): Promise<void> {
    const { connection, namespaces, namespace, auth, pid } = this
    connection.replace(this, new NamespaceSession(namespaces, namespace, connection, undefined, auth, pid, undefined))
    await namespaces.recovery.spoil(pid)
  }

  async remember(): Promise<void> {
    // Once it is closed it is in no room, which is not what it is to come back to.
    if (!this.identity || this.closed) return
    const { recovery, services } = this.namespaces
    const late = this.namespace.endpoint.lateAuthentication !== undefined
    this.renewMs = recovery.renewalMs(Math.random())
    this.losses = recovery.losses
    await recovery.keep(this.pid, {
      userId: this.userId,
      rooms: this.subscriber.groups.map(({ room }) => room.name),
      places: presenceStateOf(this.subscriber, services),
      ...(late ? { identity: this.identity } : undefined),
    })
  }

  /** Its connection can hold native topics now. */
  turnNative(): void {
    this.namespaces.services.hub.turnNative(this.subscriber)
  }

  stalled(): void {
    this.connection.engine.close()
  }

  /** What it needs is gone: it comes back, and finds `recovered` false. */
  missed(): void {
    runGuarded('recovery', () => this.namespaces.recovery.spoil(this.pid))
    this.connection.engine.close()
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
      if (this.renewMs <= nowMs || (this.renewMs !== NEVER && this.losses !== this.namespaces.recovery.losses))
        runGuarded('recovery', () => this.remember())
    } else if (late && nowMs - this.openedMs >= late.timeoutMs) {
      if (late.ended)
        this.emit(
          late.ended(
            failureOf(new BrokerError('AUTH_MISSING', `Nobody authenticated within ${late.timeoutMs / 1000} s`)),
          ),
        )
      this.connection.disconnect(this)
    }
  }

  private carryOut(command: Command, bytes: number): Promise<void> | undefined {
    const late = this.namespace.endpoint.lateAuthentication
    if (late && command.type === late.command) return this.authenticate(late, command)
    if (late && !this.authenticated && !this.contract.commands.get(command.type)?.anonymous) {
      this.early ??= new EarlyCommands((one) => this.refuse(one))
      this.early.add(command, bytes)
      return undefined
    }
    return dispatch(this, command, this.namespaces.services, this.namespaces.meters)
  }

  /** Nobody said in time who sends it. */
  private refuse(command: Command): void {
    const error = new BrokerError('AUTH_MISSING', 'Authenticate first')
    this.namespaces.meters.error(error.code)
    this.fail(error, command)
  }

  private open(): void {
    openClient(this, this.namespaces.services)
    this.connection.identified()
  }

  /** @param kept rooms of before that it may be in */
  private enter(kept: readonly string[]): void {
    // What it was told last may have been too much for its socket.
    if (this.closed) return
    const { services } = this.namespaces
    const { hub, log } = services
    const { endpoint } = this.namespace
    const first = endpoint.welcome?.(this)
    if (first)
      this.connection.sendText(
        PacketType.EVENT,
        this.name,
        eventValues(first, log.position(this.recovered?.sinceSeq ?? hub.liveSeq)),
      )
    // Who logs out and in again is welcomed again.
    if (!endpoint.lateAuthentication) this.auth = WELCOMED
    const own = this.ownRooms()
    const ofChannels = this.recovered?.places ? restorePresence(this, this.recovered.places, services) : []
    const rooms = kept.length + ofChannels.length === 0 ? own : new Set([...own, ...kept, ...ofChannels])
    const predicate = this.contract.withAccess(this.claims, [])
    joinRooms(this, rooms, predicate, services, this.recovered?.sinceSeq)
  }

  private async authenticate(late: LateAuthentication, { data, acknowledge }: Command): Promise<void> {
    const { namespaces, namespace, contract, connection } = this
    try {
      const identity = await namespaces.identify(late, data)
      const kept = this.authenticated
        ? []
        : ((await permittedRooms(contract, identity.claims, this.recovered?.rooms ?? [], namespaces.services.source)) ??
          [])
      if (this.authenticated && this.userId !== identity.claims.sub)
        throw new BrokerError('AUTH_FAILED', "This connection is another user's; log out first")
      if (this.closed) return
      // It may have taken its time.
      const claims = inTime(identity.claims)
      try {
        if (this.authenticated) this.renew(identity)
        else {
          namespaces.checkAccess(namespace, claims)
          namespaces.admitUser(connection, namespace, claims.sub)
          namespaces.admission.enter(contract, claims.sub, connection)
        }
      } catch (error) {
        this.emit(late.refused(failureOf(error)))
        connection.disconnect(this)
        return
      }
      const anew = !this.authenticated
      // What was kept is another user's: this one begins from now on.
      if (this.recovered?.userId !== undefined && this.recovered.userId !== claims.sub) this.recovered = undefined
      this.become(identity)
      if (anew) this.open()
      this.emit(late.succeeded(claims))
      if (anew) this.enter(this.recovered === undefined ? [] : kept)
      await this.remember()
      acknowledge?.([{ status: 'success' }])
      for (const early of this.early?.take() ?? [])
        if (!this.closed) await dispatch(this, early, namespaces.services, namespaces.meters)
    } catch (error) {
      const failure = failureOf(error)
      namespaces.meters.error(failure.code)
      if (this.closed) return
      this.emit(late.failed(failure))
      acknowledge?.([{ status: 'error', error_code: failure.code, error_message: failure.message }])
      if (failure.code.startsWith('AUTH_')) namespaces.options.failures.count(connection)
      connection.endIfFailing()
    }
  }

  private become(identity: Identity): void {
    this.identity = identity
    this.claims = identity.claims
    this.subscriber.identify(identity.claims.sub)
    this.unfollow?.()
    this.unfollow =
      identity.key === undefined
        ? undefined
        : this.namespaces.sessions.follow(identity.key, (change) => this.changed(change))
  }

  /**
   * Goes on with other claims.
   * @throws BrokerError AUTH_FAILED, ACCESS_DENIED where they are another user's, or do not let it be here
   */
  private renew(identity: Identity): void {
    const { claims } = identity
    if (claims.sub !== this.userId) throw new BrokerError('AUTH_FAILED', "The session is another user's now")
    this.namespaces.checkAccess(this.namespace, claims)
    this.identity = identity
    if (!isDeepStrictEqual(claims, this.claims)) renewClient(this, claims, this.namespaces.services)
  }

  /** What the store says of its session now. */
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
    if (message) this.emit(message)
  }

  /** It is over with who it was: the client is told, and off the namespace. */
  private end(error: BrokerError): void {
    const { lateAuthentication: late, expired, refusal } = this.namespace.endpoint
    const failure = failureOf(error)
    this.namespaces.meters.error(failure.code)
    this.emit(
      late
        ? (late.ended ?? late.refused)(failure)
        : (expired?.(failure) ?? { type: 'connection_error', data: refusal?.(failure) ?? failure }),
    )
    this.connection.disconnect(this)
  }

  private emit(message: Message): void {
    this.connection.send(PacketType.EVENT, this.name, eventValues(message))
  }
}

const NEVER = Number.POSITIVE_INFINITY
