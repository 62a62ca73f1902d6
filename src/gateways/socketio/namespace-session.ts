import { PacketType } from 'socket.io-parser'
import { argumentsOf } from '../../codecs/socketio.ts'
import type { Askable } from '../../commands/ask.ts'
import type { Caller } from '../../commands/caller.ts'
import { dispatch } from '../../commands/dispatch.ts'
import { type PlaceState, placeState, restorePlaces } from '../../commands/place.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { Claims, Command, Failure, Message } from '../../contracts/contract.ts'
import { BrokerError } from '../../errors.ts'
import { CLOSED, Session } from '../../hub/session.ts'
import type { Connection } from './connection.ts'
import type { Namespace, Namespaces } from './namespaces.ts'
import { Questions } from './questions.ts'
import type { Recovered } from './recovery.ts'

/**
 * Commands that come before the client has said who it is wait this long for that: `socket.io-client` sends what it has
 * buffered before its `connect` handlers run, and those are where the documents' clients authenticate.
 */
const EARLY_MS = 500
const EARLY_MAX = 32

/** What a session is, for another worker to go on with. */
export interface MovedNamespace {
  readonly name: string
  readonly auth: Readonly<Record<string, unknown>>
  /** Without: it has yet to say who it is. */
  readonly claims: Claims | undefined
  readonly pid: string
  readonly recovered: Recovered | undefined
  readonly openedMs: number
  readonly places: PlaceState | undefined
  /** Questions that it has been asked. */
  readonly asked: number
  /** Rooms by the sequence up to which the client has their events. */
  readonly rooms: readonly (readonly [sinceSeq: number, rooms: readonly string[]])[]
}

/** A client in one namespace. */
export class NamespaceSession extends Session implements Caller, Askable {
  readonly contract: CompiledContract
  readonly namespace: Namespace
  readonly connection: Connection
  readonly auth: Readonly<Record<string, unknown>>
  private openedMs = Date.now()
  claims: Claims
  private readonly namespaces: Namespaces
  private readonly pid: string
  private readonly recovered: Recovered | undefined
  /** Connected, but who it is has yet to be said. */
  private pending: boolean
  /** Commands that came before that. */
  private early: Command[] | undefined
  private earlyTimer: NodeJS.Timeout | undefined
  private questions: Questions | undefined

  /**
   * @param claims undefined: it authenticates later
   * @param recovered undefined: it begins from now on
   */
  constructor(namespaces: Namespaces, namespace: Namespace, connection: Connection, claims: Claims | undefined, auth: Readonly<Record<string, unknown>>, pid: string, recovered: Recovered | undefined) {
    super(namespace.contract.audience, namespace.wire, claims?.sub ?? '', connection.engine, connection.engine.order)
    this.contract = namespace.contract
    this.namespaces = namespaces
    this.namespace = namespace
    this.connection = connection
    this.claims = claims ?? NOBODY
    this.pending = claims === undefined
    this.auth = auth
    this.pid = pid
    this.recovered = recovered
    this.native = connection.engine.native
  }

  get name(): string {
    return this.namespace.name
  }

  get session(): Session {
    return this
  }

  get connectionId(): string {
    return this.namespaces.recovery.sidOf(this.pid)
  }

  get closed(): boolean {
    return this.state === CLOSED
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
    this.connection.send({ type: PacketType.CONNECT, nsp: this.name, data: { sid: this.connectionId, pid: this.pid } })
    this.namespaces.opened(this)
    if (!this.pending) this.enter()
  }

  /** No command waits, and no question: what is at work here could not be finished elsewhere. */
  get settled(): boolean {
    return this.early === undefined && (this.questions?.settled ?? true)
  }

  /** Nothing more is delivered here; the rest of it stays until another worker has it. */
  suspend(): MovedNamespace {
    const { namespaces, name, auth, pid, recovered, openedMs, cursor, floors, pending } = this
    const rooms = new Map<number, string[]>()
    for (const { room } of this.groups) {
      const sinceSeq = Math.max(cursor, floors?.get(room.name) ?? 0)
      rooms.set(sinceSeq, [...(rooms.get(sinceSeq) ?? []), room.name])
    }
    const { hub, askables } = namespaces.services
    const places = placeState(this, namespaces.services)
    askables.remove(this)
    if (!pending) hub.close(this, true)
    return { name, auth, claims: pending ? undefined : this.claims, pid, recovered, openedMs, places, asked: this.questions?.asked ?? 0, rooms: [...rooms] }
  }

  /** Goes on where it was in another worker. */
  resume({ openedMs, places, asked, rooms }: MovedNamespace): void {
    const { services } = this.namespaces
    this.openedMs = openedMs
    if (asked > 0) this.questions = new Questions(asked)
    this.namespaces.opened(this)
    if (this.pending) return
    services.hub.open(this)
    services.askables.add(this)
    if (places) restorePlaces(this, places, services)
    const predicate = this.contract.withAccess(this.claims, [])
    for (const [sinceSeq, names] of rooms) services.hub.joinSince(this, names.map((room) => ({ room, predicate })), sinceSeq)
  }

  /** The client is gone from the namespace. */
  finish(): void {
    const { hub, presence, askables } = this.namespaces.services
    this.namespaces.closed(this)
    clearTimeout(this.earlyTimer)
    this.questions?.end()
    if (this.pending) {
      this.state = CLOSED
      return
    }
    presence.drop(this)
    askables.remove(this)
    hub.close(this, true)
    this.namespaces.admission.leave(this.contract, this.userId, this.connection)
  }

  receive(type: string, args: unknown[], ackId: number | undefined): void {
    const { services, meters, admission } = this.namespaces
    const verdict = admission.count(this.contract, this.userId, this.connection, Date.now())
    if (!verdict.pass) {
      meters.error('RATE_LIMITED')
      const message = this.contract.contract.limits?.burst?.refused(verdict.retryAfterS)
      if (message) this.reply(message)
      if (verdict.ban) this.connection.engine.close()
      return
    }
    const command: Command = {
      type,
      data: args[0] ?? {},
      args,
      ...(ackId === undefined
        ? undefined
        : { acknowledge: (values: readonly unknown[]) => this.connection.send({ type: PacketType.ACK, nsp: this.name, id: ackId, data: values }) }),
    }
    this.connection.lane.run(this.connection.engine, () => {
      if (this.closed) return undefined
      if (this.pending) return this.authenticate(command)
      return dispatch(this, command, services, meters)
    })
  }

  ask(type: string, data: unknown, timeoutMs: number): Promise<readonly unknown[]> {
    this.questions ??= new Questions()
    return this.questions.ask(timeoutMs, (id) => this.connection.send({ type: PacketType.EVENT, nsp: this.name, id, data: data === undefined ? [type] : [type, data] }))
  }

  /** The client acknowledged what it was asked. */
  answered(id: number | undefined, values: readonly unknown[]): void {
    this.questions?.answer(id, values)
  }

  reply(message: Message): void {
    this.emit(message)
  }

  fail(error: BrokerError, command?: Command): void {
    const failure = failureOf(error)
    const { failed } = this.namespace.endpoint
    const answer = command && failed?.(failure, command)
    if (answer?.acknowledgement) command?.acknowledge?.(answer.acknowledgement)
    if (answer?.message) this.emit(answer.message)
    if (!failed) this.emit({ type: 'error', data: failure })
  }

  answersLater(outcome: Promise<void>): void {
    this.connection.answersLater(outcome)
  }

  renew(claims: Claims): void {
    this.claims = claims
  }

  async remember(): Promise<void> {
    await this.namespaces.recovery.keep(this.pid, { userId: this.userId, rooms: this.groups.map(({ room }) => room.name), places: placeState(this, this.namespaces.services) })
  }

  /** Its connection can hold native topics now. */
  turnNative(): void {
    this.native = true
    if (!this.pending) this.namespaces.services.hub.catchUp.add(this)
  }

  override stalled(): void {
    this.connection.engine.close()
  }

  /** What it needs is gone: it comes back, and finds `recovered` false. */
  override missed(): void {
    this.connection.engine.close()
  }

  /** Ends it where its token ran out, or where it has not authenticated in time. */
  sweep(nowMs: number): void {
    const late = this.namespace.endpoint.lateAuthentication
    if (this.pending) {
      if (late && nowMs - this.openedMs >= late.timeoutMs) this.connection.disconnect(this)
    } else if (this.claims.exp * 1000 <= nowMs) {
      const failure = failureOf(new BrokerError('AUTH_EXPIRED'))
      this.emit(late ? late.refused(failure) : { type: 'connection_error', data: this.namespace.endpoint.refusal?.(failure) ?? failure })
      this.connection.disconnect(this)
    }
  }

  private enter(): void {
    const { hub, log, askables } = this.namespaces.services
    const { endpoint, parameter } = this.namespace
    hub.open(this)
    askables.add(this)
    const first = endpoint.welcome?.(this)
    if (first) this.emit(first, log.position(this.recovered?.sinceSeq ?? hub.liveSeq))
    const rooms = new Set(endpoint.joins?.(this.claims, parameter))
    for (const room of this.recovered?.rooms ?? []) if (this.mayBeIn(room)) rooms.add(room)
    const memberships = [...rooms].map((room) => ({ room, predicate: this.contract.withAccess(this.claims, []) }))
    if (this.recovered === undefined) hub.join(this, memberships)
    else {
      if (this.recovered.places) restorePlaces(this, this.recovered.places, this.namespaces.services)
      hub.joinSince(this, memberships, this.recovered.sinceSeq)
    }
  }

  private mayBeIn(room: string): boolean {
    try {
      this.contract.checkRoom(this.claims, room)
      return true
    } catch {
      return false
    }
  }

  /** Before a client has said who it is, only that is heard. @returns a promise while commands are at work that waited for it */
  private authenticate(command: Command): Promise<void> | undefined {
    const late = this.namespace.endpoint.lateAuthentication
    if (late === undefined) return undefined
    const { type, data, acknowledge } = command
    if (type !== late.command) {
      this.wait(command)
      return undefined
    }
    let claims: Claims
    try {
      const { token, user_id } = data as { token?: unknown; user_id?: unknown }
      claims = this.namespaces.verify(typeof token === 'string' ? token : undefined)
      if (user_id !== undefined && user_id !== null && user_id !== claims.sub) throw new BrokerError('AUTH_FAILED', 'The token is not this user\'s')
      if (this.recovered?.userId !== undefined && this.recovered.userId !== claims.sub) throw new BrokerError('AUTH_FAILED', 'The session that was recovered is another user\'s')
    } catch (error) {
      const failure = failureOf(error)
      this.namespaces.meters.error(failure.code)
      this.emit(late.failed(failure))
      return undefined
    }
    try {
      this.namespaces.checkAccess(this.namespace, claims)
      this.namespaces.admission.enter(this.contract, claims.sub, this.connection)
    } catch (error) {
      this.emit(late.refused(failureOf(error)))
      this.connection.disconnect(this)
      return undefined
    }
    this.claims = claims
    this.userId = claims.sub
    this.pending = false
    this.emit(late.succeeded(claims))
    acknowledge?.([{ status: 'success' }])
    this.enter()
    return this.early && this.runEarly()
  }

  private wait(command: Command): void {
    this.early ??= []
    this.early.push(command)
    if (this.early.length === EARLY_MAX) this.refuseEarly()
    else this.earlyTimer ??= setTimeout(() => this.refuseEarly(), EARLY_MS)
  }

  private takeEarly(): Command[] {
    const { early = [] } = this
    clearTimeout(this.earlyTimer)
    this.early = this.earlyTimer = undefined
    return early
  }

  private async runEarly(): Promise<void> {
    for (const command of this.takeEarly()) if (!this.closed) await dispatch(this, command, this.namespaces.services, this.namespaces.meters)
  }

  private refuseEarly(): void {
    const late = this.namespace.endpoint.lateAuthentication
    for (const _ of this.takeEarly()) {
      this.namespaces.meters.error('AUTH_MISSING')
      if (late) this.emit(late.refused(failureOf(new BrokerError('AUTH_MISSING', 'Authenticate first'))))
    }
  }

  private emit(message: Message, offset?: string): void {
    this.connection.send({ type: PacketType.EVENT, nsp: this.name, data: [message.type, ...argumentsOf(message), ...(offset === undefined ? [] : [offset])] })
  }
}

/** Claims of whoever has yet to say who they are. */
const NOBODY: Claims = { sub: '', exp: Number.MAX_SAFE_INTEGER }

export function failureOf(error: unknown): Failure {
  const { code, message, details } = error instanceof BrokerError ? error : new BrokerError('INTERNAL')
  return { code, message, ...(details === undefined ? undefined : { details }) }
}
