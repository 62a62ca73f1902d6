import type { TemplatedApp } from 'uWebSockets.js'
import { bareData, encodeSocketIoEvent, encodeSocketIoMessage, eventPrefix } from '../../codecs/socketio.ts'
import type { Services } from '../../commands/services.ts'
import { permittedRooms } from '../../commands/permission.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { LateAuthentication, SocketIoEndpoint } from '../../contracts/contract.ts'
import { namespacePattern } from '../../contracts/patterns.ts'
import { BrokerError } from '../../errors.ts'
import type { Wire } from '../../hub/wire.ts'
import type { Meters } from '../../meters.ts'
import type { Bans } from '../../state/bans.ts'
import type { FailedAuthentications } from '../../guard/failed-authentications.ts'
import { type Identity, inTime, type LoginSessions } from '../../state/login-sessions.ts'
import type { QueueLimits } from '../connection-queues.ts'
import { Admission } from './admission.ts'
import { Connection } from './connection.ts'
import { tokenIn } from './credential.ts'
import { Engine, type EngineOptions } from '../engineio/engine.ts'
import { failureOf } from './failure.ts'
import type { MovedNamespace } from '../handoff/moved.ts'
import { NamespaceSession } from './namespace-session.ts'
import type { Recovered, Recovery } from '../../state/recovery.ts'
import type { Claims } from '../../contracts/claims.ts'

/** One namespace that clients are in: an endpoint, its parameter filled in. */
export interface Namespace {
  readonly name: string
  readonly parameter: string
  readonly endpoint: SocketIoEndpoint
  readonly contract: CompiledContract
  readonly wire: Wire
  /** How many are in it. */
  sessions: number
  /** Whether an event frame is of this namespace. */
  sent(frame: Uint8Array): boolean
}

export interface NamespacesOptions extends Omit<EngineOptions, 'makeConnection' | 'admits' | 'onBeat'> {
  /** Of this port. */
  readonly portConnectionsMax: number
  /** Of one connection's answers and commands that wait. */
  readonly waitingBytes: number
  /** 0: what each contract says. */
  readonly commandsPerMinute: number
  /** Of contracts that say none. */
  readonly defaultCommandsPerMinute: number
  /** Of one connection, of any kind. */
  readonly packetsPerMinute: number
  /** Of one connection. */
  readonly namespacesMax: number
  readonly failures: FailedAuthentications
}

interface Pattern {
  readonly pattern: RegExp
  readonly endpoint: SocketIoEndpoint
  readonly contract: CompiledContract
}

export interface Refusal {
  readonly message: string
  readonly data?: unknown
}

/** Makes the session of a client that was looked up. To be called in one turn with the session's beginning. */
export type Entrance = () => NamespaceSession | Refusal

/** Whoever connects to an endpoint that wants no token. */
const ANONYMOUS: Claims = { sub: 'anonymous', exp: Number.MAX_SAFE_INTEGER }

/** The Socket.IO namespaces of one port, whichever contracts they are of, behind one Engine.IO server. */
export class Namespaces {
  readonly services: Services
  readonly meters: Meters
  readonly recovery: Recovery
  readonly options: NamespacesOptions
  readonly queueLimits: QueueLimits
  /** The newest event that was published before the last heartbeat. */
  beatSeq = 0
  private readonly app: TemplatedApp
  private readonly engine: Engine
  readonly admission: Admission
  readonly verify: (token: string | undefined) => Claims
  readonly sessions: LoginSessions
  private readonly patterns: Pattern[]
  /** Those that clients are in. */
  private readonly used = new Map<string, Namespace>()

  constructor(
    app: TemplatedApp,
    contracts: readonly CompiledContract[],
    services: Services,
    meters: Meters,
    recovery: Recovery,
    bans: Bans,
    verify: (token: string | undefined) => Claims,
    sessions: LoginSessions,
    options: NamespacesOptions,
  ) {
    this.app = app
    this.services = services
    this.meters = meters
    this.recovery = recovery
    this.admission = new Admission(bans)
    this.verify = verify
    this.sessions = sessions
    this.options = options
    this.queueLimits = { fullBytes: options.backpressureBytes, waitingBytes: options.waitingBytes }
    this.patterns = contracts.flatMap((contract) =>
      contract.contract.endpoints.flatMap((endpoint) =>
        endpoint.transport === 'socketio'
          ? [{ pattern: namespacePattern(endpoint.namespace), endpoint, contract }]
          : [],
      ),
    )
    this.engine = new Engine(app, {
      ...options,
      makeConnection: (session, token) => new Connection(session, token, this),
      onBeat: () => {
        this.beatSeq = services.hub.liveSeq
      },
      admits: (address) => this.admitsFrom(address),
    })
  }

  /** The namespace of a name. @returns undefined where no contract declares it */
  find(name: string): Namespace | undefined {
    const known = this.used.get(name)
    if (known) return known
    for (const { pattern, endpoint, contract } of this.patterns) {
      const match = pattern.exec(name)
      if (match) return this.make(name, match[1] ?? '', endpoint, contract)
    }
    return undefined
  }

  commandsPerMinute({ contract }: CompiledContract): number {
    const { commandsPerMinute, defaultCommandsPerMinute } = this.options
    return commandsPerMinute || (contract.limits?.commandsPerMinute ?? defaultCommandsPerMinute)
  }

  private admitsFrom(address: string | undefined): boolean {
    const { engine, options } = this
    const { connections, portConnectionsMax } = options
    if (engine.sessions.size >= portConnectionsMax && !connections.closeOldest((one) => engine.has(one))) return false
    try {
      connections.admit(address)
      return true
    } catch {
      return false
    }
  }

  /** Lets a client into a namespace, or says why not. A promise where it wants to recover. */
  admit(
    connection: Connection,
    namespace: Namespace,
    auth: Record<string, unknown>,
  ): NamespaceSession | Refusal | Promise<Entrance> {
    try {
      const claims = this.claimsOf(namespace.endpoint, connection, auth)
      const presented = claims && { claims }
      if (typeof auth.pid !== 'string') return this.enter(connection, namespace, auth, presented)
      return this.recover(connection, namespace, auth.pid, auth, presented)
    } catch (error) {
      return this.refusalOf(connection, namespace, error)
    }
  }

  private async recover(
    connection: Connection,
    namespace: Namespace,
    pid: string,
    auth: Record<string, unknown>,
    presented: Identity | undefined,
  ): Promise<Entrance> {
    const found = await this.recovery.find(pid, auth.offset, presented?.claims.sub, () => connection.engine.closed)
    const identity = presented ?? (await this.identityOf(namespace, found))
    const rooms =
      identity && (await permittedRooms(namespace.contract, identity.claims, found?.rooms ?? [], this.services.source))
    // Where it is not known yet who it is, its rooms are looked at then.
    const recovered = found && identity ? rooms && { ...found, rooms } : found
    const { pid: _pid, offset: _offset, ...own } = auth
    return () => {
      try {
        return this.enter(connection, namespace, own, identity, pid, recovered)
      } catch (error) {
        return this.refusalOf(connection, namespace, error)
      }
    }
  }

  /** @throws BrokerError where it may not be in the namespace */
  private enter(
    connection: Connection,
    namespace: Namespace,
    auth: Record<string, unknown>,
    identity: Identity | undefined,
    pid = '',
    recovered?: Recovered,
  ): NamespaceSession {
    if (identity) {
      // To find what was kept may have taken its time.
      inTime(identity.claims)
      this.checkAccess(namespace, identity.claims)
      this.admitUser(connection, namespace, identity.claims.sub)
      this.admission.enter(namespace.contract, identity.claims.sub, connection)
    }
    // While this one was looked up, others may have opened the namespace: there is one wire for all of them.
    const current = this.used.get(namespace.name) ?? namespace
    return new NamespaceSession(
      this,
      current,
      connection,
      identity,
      auth,
      recovered === undefined ? this.recovery.issue(this.services.hub.liveSeq, identity?.claims.sub) : pid,
      recovered,
    )
  }

  /** A session that was another worker's. */
  adopt(connection: Connection, moved: MovedNamespace): NamespaceSession | undefined {
    const namespace = this.find(moved.name)
    if (!namespace) return undefined
    const { identity } = moved
    try {
      if (identity) this.admission.enter(namespace.contract, identity.claims.sub, connection)
    } catch {
      // It was let in already; here it is one too many only by the kernel's choice.
    }
    const session = new NamespaceSession(this, namespace, connection, identity, moved.auth, moved.pid, moved.recovered)
    session.resume(moved)
    return session
  }

  /** @throws BrokerError TOO_MANY_CONNECTIONS */
  admitUser(connection: Connection, { endpoint }: Namespace, userId: string): void {
    if (!endpoint.anonymous && !connection.isOf(userId)) this.options.connections.admitUser(userId)
  }

  /** @throws BrokerError ACCESS_DENIED */
  checkAccess({ endpoint, parameter }: Namespace, claims: Claims): void {
    if (!endpoint.allows || claims.roles?.includes('admin') || endpoint.allows(claims, parameter)) return
    throw new BrokerError('ACCESS_DENIED', 'Access denied to this namespace')
  }

  opened({ namespace }: NamespaceSession): void {
    if (namespace.sessions++ === 0) this.used.set(namespace.name, namespace)
  }

  closed({ namespace }: NamespaceSession): void {
    if (--namespace.sessions === 0) this.used.delete(namespace.name)
  }

  /** Ends sessions whose token has expired. */
  sweep(nowMs: number): void {
    this.recovery.sweep()
    for (const { connection } of this.engine.sessions.values())
      for (const session of connection.sessions) session.sweep(nowMs)
  }

  /** Sends everybody away, spread evenly over the time. */
  async drain(drainMs: number): Promise<void> {
    this.engine.draining = true
    const sessions = [...this.engine.sessions.values()]
    const startMs = Date.now()
    for (let index = 0; index < sessions.length; ) {
      while (index < sessions.length && (index * drainMs) / sessions.length <= Date.now() - startMs)
        sessions[index++]?.close()
      if (index < sessions.length) await new Promise((resolve) => setTimeout(resolve, 20))
    }
    this.engine.stop()
  }

  /** Why a client may not be in a namespace; where it did not say who it is, that counts. */
  refusalOf(connection: Connection, { endpoint }: Namespace, error: unknown): Refusal {
    const failure = failureOf(error)
    this.meters.error(failure.code)
    if (error instanceof BrokerError && error.row.http === 401) this.options.failures.count(connection)
    const data = endpoint.refusal?.(failure)
    return {
      message: endpoint.refusalMessage?.(failure) ?? failure.message,
      ...(data === undefined ? undefined : { data }),
    }
  }

  /** @returns undefined where the client may say later who it is */
  private claimsOf(
    endpoint: SocketIoEndpoint,
    connection: Connection,
    auth: Record<string, unknown>,
  ): Claims | undefined {
    if (endpoint.anonymous) return ANONYMOUS
    const token = auth.token ?? connection.token ?? undefined
    if (token === undefined && endpoint.lateAuthentication) return undefined
    return this.verify(typeof token === 'string' ? token.replace(/^Bearer /i, '') : undefined)
  }

  /** @throws BrokerError where the data of the command that authenticates do not say who it is */
  async identify(late: LateAuthentication, data: unknown): Promise<Identity> {
    const { credential, userId } = (late.credential ?? tokenIn)(data)
    const text = typeof credential === 'string' ? credential : undefined
    const identity = late.sessions ? await this.sessions.identify(text) : { claims: this.verify(text) }
    if (userId !== undefined && userId !== null && userId !== identity.claims.sub)
      throw new BrokerError('AUTH_FAILED', "The token is not this user's")
    return identity
  }

  /**
   * Who a client was that authenticated by a command and comes back.
   * @returns undefined where that is over: it may say anew who it is
   */
  private async identityOf({ endpoint }: Namespace, recovered: Recovered | undefined): Promise<Identity | undefined> {
    if (!endpoint.lateAuthentication || !recovered?.identity) return undefined
    return this.sessions.refresh(recovered.identity).catch(() => undefined)
  }

  private make(name: string, parameter: string, endpoint: SocketIoEndpoint, contract: CompiledContract): Namespace {
    const prefix = eventPrefix(name)
    const start = Buffer.from(`${prefix}[`)
    const handlerArguments = endpoint.handlerArguments ?? bareData
    const wire: Wire = {
      id: `sio${name}`,
      format: 'socketio',
      binary: false,
      encodeEvent: (event, position) =>
        encodeSocketIoEvent(prefix, event.type, handlerArguments({ ...event }, position), position),
      encodeMessage: (message) => encodeSocketIoMessage(prefix, message),
      publish: (topic, frame) => this.app.publish(topic, frame, false, false),
    }
    return {
      name,
      parameter,
      endpoint,
      contract,
      wire,
      sessions: 0,
      sent: (frame) => start.equals(frame.subarray(0, start.length)),
    }
  }
}
