import { PacketType } from 'socket.io-parser'
import { argumentsOf } from '../../codecs/socketio.ts'
import type { Caller } from '../../commands/caller.ts'
import { dispatch } from '../../commands/dispatch.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { Claims, Command, Message } from '../../contracts/contract.ts'
import { BrokerError } from '../../errors.ts'
import type { Membership } from '../../hub/hub.ts'
import { CLOSED, Session } from '../../hub/session.ts'
import type { Connection } from './connection.ts'
import type { Namespace, Namespaces } from './namespaces.ts'

/** How a session begins: in which rooms, and with what it missed. */
export interface Beginning {
  readonly pid: string
  readonly sid: string
  readonly rooms: readonly string[]
  /** What came after this sequence is replayed. Undefined: from now on. */
  readonly sinceSeq: number | undefined
}

/** A client in one namespace. */
export class NamespaceSession extends Session implements Caller {
  readonly contract: CompiledContract
  readonly namespace: Namespace
  readonly connection: Connection
  readonly auth: Readonly<Record<string, unknown>>
  claims: Claims
  private readonly namespaces: Namespaces
  private readonly beginning: Beginning

  constructor(namespaces: Namespaces, namespace: Namespace, connection: Connection, claims: Claims, auth: Readonly<Record<string, unknown>>, beginning: Beginning) {
    super(namespace.contract.audience, namespace.wire, claims.sub, connection.engine)
    this.contract = namespace.contract
    this.namespaces = namespaces
    this.namespace = namespace
    this.connection = connection
    this.claims = claims
    this.auth = auth
    this.beginning = beginning
    this.native = connection.engine.native
  }

  get name(): string {
    return this.namespace.name
  }

  get session(): Session {
    return this
  }

  get connectionId(): string {
    return this.beginning.sid
  }

  get closed(): boolean {
    return this.state === CLOSED
  }

  /** CONNECT is answered; then what it missed, then live events. */
  begin(): void {
    const { pid, sid, rooms, sinceSeq } = this.beginning
    const { hub, log } = this.namespaces.services
    const { endpoint } = this.namespace
    this.namespaces.opened(this)
    hub.open(this)
    this.connection.send({ type: PacketType.CONNECT, nsp: this.name, data: { sid, pid } })
    const first = endpoint.welcome?.(this)
    if (first) this.emit(first, log.position(sinceSeq ?? hub.liveSeq))
    const memberships: Membership[] = rooms.map((room) => ({ room, predicate: this.contract.withAccess(this.claims, []) }))
    if (sinceSeq === undefined) hub.join(this, memberships)
    else hub.joinSince(this, memberships, sinceSeq)
  }

  /** The client is gone from the namespace. */
  finish(): void {
    this.namespaces.services.hub.close(this)
    this.namespaces.closed(this)
  }

  receive(type: string, args: unknown[], ackId: number | undefined): void {
    const command: Command = {
      type,
      data: args[0] ?? {},
      args,
      ...(ackId === undefined
        ? undefined
        : { acknowledge: (values: readonly unknown[]) => this.connection.send({ type: PacketType.ACK, nsp: this.name, id: ackId, data: values }) }),
    }
    const { services, meters } = this.namespaces
    this.connection.lane.run(this.connection.engine, () => (this.closed ? undefined : dispatch(this, command, services, meters)))
  }

  reply(message: Message): void {
    this.emit(message)
  }

  fail(error: BrokerError, command?: Command): void {
    const { code, message, details } = error
    const failure = { code, message, details }
    const answer = command && this.namespace.endpoint.failed?.(failure, command)
    if (answer?.acknowledgement) command?.acknowledge?.(answer.acknowledgement)
    if (answer?.message) this.emit(answer.message)
    if (!this.namespace.endpoint.failed) this.emit({ type: 'error', data: failure })
  }

  renew(claims: Claims): void {
    this.claims = claims
  }

  async remember(): Promise<void> {
    await this.namespaces.recovery.keep(this.beginning.pid, this.userId, this.groups.map(({ room }) => room.name))
  }

  /** Its connection can hold native topics now. */
  turnNative(): void {
    this.native = true
    this.namespaces.services.hub.catchUp.add(this)
  }

  override stalled(): void {
    this.connection.engine.close()
  }

  /** What it needs is gone: it comes back, and finds `recovered` false. */
  override missed(): void {
    this.connection.engine.close()
  }

  /** The token ran out. */
  expire(): void {
    const error = new BrokerError('AUTH_EXPIRED')
    const { endpoint } = this.namespace
    this.emit({ type: 'connection_error', data: endpoint.refusal?.({ code: error.code, message: error.message }) ?? { message: error.message } })
    this.connection.disconnect(this)
  }

  private emit(message: Message, offset?: string): void {
    this.connection.send({ type: PacketType.EVENT, nsp: this.name, data: [message.type, ...argumentsOf(message), ...(offset === undefined ? [] : [offset])] })
  }
}
