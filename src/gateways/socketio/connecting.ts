import { type Asker, checkRoomCount, permittedRooms } from '../../commands/permission.ts'
import { boundsFor, resumePointOf, positionIn } from '../../commands/since.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import { BrokerError } from '../../errors.ts'
import type { Position } from '../../log/position.ts'
import { type Identity, inTime } from '../../state/login-sessions.ts'
import type { Recovered } from '../../state/recovery.ts'
import type { SocketIoContext } from './context.ts'
import { failureOf } from './failure.ts'
import { type HandedOverSocket, recoveredHere } from './handed-over-state.ts'
import type { Namespace } from './namespaces.ts'
import { type SocketConnection, SocketIoSocket } from './socket.ts'
import { resume } from './welcome.ts'

/** Why a client may not be in a namespace: what CONNECT_ERROR tells it. */
export interface Refusal {
  readonly message: string
  readonly data?: unknown
}

/** Makes the socket of a client that was looked up. To be called in one turn with the socket's beginning. */
export type Entrance = () => SocketIoSocket | Refusal

/** What a client connects to a namespace with. */
interface Connect {
  readonly context: SocketIoContext
  readonly connection: SocketConnection
  readonly namespace: Namespace
  readonly auth: Record<string, unknown>
}

/** Lets a client into a namespace, or says why not. A promise where it wants to recover. */
export function admit(connect: Connect): SocketIoSocket | Refusal | Promise<Entrance> {
  const { context, connection, namespace, auth } = connect
  try {
    const claims = context.access.claimsOf(namespace.endpoint, connection.session.token, auth)
    const presented = claims && { claims }
    if (isByPosition(auth))
      return resumeByPosition(connect, presented, askedRooms(auth.rooms, context.services.roomsMax))
    if (typeof auth.pid !== 'string' || auth.positions === false) return enter(connect, presented)
    return recover(connect, auth.pid, presented)
  } catch (error) {
    return refusalOf(context, connection, namespace, error)
  }
}

/** Makes a socket that was another worker's. @returns undefined where there is no such namespace here */
export function adopt(
  context: SocketIoContext,
  connection: SocketConnection,
  handedOver: HandedOverSocket,
): SocketIoSocket | undefined {
  const { name, identity, auth, pid, positions } = handedOver
  const namespace = context.namespaces.find(name)
  if (!namespace) return undefined
  if (identity) context.access.enterAgain(namespace, identity.claims.sub, connection)
  const recovered = recoveredHere(handedOver, context.services.log)
  const options = { namespace, connection, identity, auth, pid, positions, recovered, handedOver }
  const socket = new SocketIoSocket(context, options)
  resume(socket, handedOver)
  return socket
}

/** Why a client may not be in a namespace; where it did not say who it is, that counts. */
export function refusalOf(
  { meters, failures }: SocketIoContext,
  connection: SocketConnection,
  { endpoint }: Namespace,
  error: unknown,
): Refusal {
  const failure = failureOf(error)
  meters.error(failure.code)
  if (error instanceof BrokerError && error.row.http === 401) failures.count(connection)
  const data = endpoint.refusal?.(failure)
  return {
    message: endpoint.refusalMessage?.(failure) ?? failure.message,
    ...(data === undefined ? undefined : { data }),
  }
}

async function recover(connect: Connect, pid: string, presented: Identity | undefined): Promise<Entrance> {
  const { context, connection, namespace, auth } = connect
  const { recovery, access, services } = context
  const gone = () => connection.session.closed
  const found = await recovery.find(pid, auth.offset, presented?.claims.sub, gone, namespace.id)
  const identity = presented ?? (await access.identityOf(namespace, found))
  const rooms =
    identity &&
    (await permittedRooms(namespace.contract, identity.claims, found?.rooms ?? [], services.source, { gone }))
  // Where it is not known yet who it is, its rooms are looked at then.
  const recovered = found && identity ? rooms && { ...found, rooms } : found
  const { pid: _pid, offset: _offset, ...own } = auth
  return () => {
    try {
      return enter({ ...connect, auth: own }, identity, recovered === undefined ? '' : pid, recovered)
    } catch (error) {
      return refusalOf(context, connection, namespace, error)
    }
  }
}

/** The client says itself what it has and where it wants to be, as those without connection state recovery do. */
function isByPosition({ since, rooms }: Record<string, unknown>): boolean {
  return (since !== undefined && since !== null) || (rooms !== undefined && rooms !== null)
}

/** @throws BrokerError INVALID_MESSAGE, TOO_MANY_SUBSCRIPTIONS */
function askedRooms(rooms: unknown, roomsMax: number): readonly string[] {
  if (rooms === undefined || rooms === null) return []
  if (!Array.isArray(rooms) || !rooms.every((room) => typeof room === 'string'))
    throw new BrokerError('INVALID_MESSAGE', 'auth.rooms: give a list of names')
  checkRoomCount({ groups: [] }, rooms, roomsMax)
  return [...new Set<string>(rooms)]
}

/** A client that names rooms itself. Each record that is read for it counts as the command that would join the room. */
export function askerOf(connection: SocketConnection, contract: CompiledContract): Asker {
  return {
    gone: () => connection.session.closed,
    countRead: () => {
      if (!connection.admitsCommand(contract)) throw new BrokerError('RATE_LIMITED')
    },
  }
}

/** @throws BrokerError INVALID_POSITION, at once */
function resumeByPosition(
  connect: Connect,
  presented: Identity | undefined,
  asked: readonly string[],
): Promise<Entrance> {
  const since = connect.auth.since ?? undefined
  const position = since === undefined ? undefined : positionIn(since)
  return findResumePoint(connect, presented, asked, position && { position, since: String(since) })
}

async function findResumePoint(
  connect: Connect,
  presented: Identity | undefined,
  asked: readonly string[],
  from: { readonly position: Position; readonly since: string } | undefined,
): Promise<Entrance> {
  const { context, connection, namespace } = connect
  const { log, hub, source } = context.services
  const asker = askerOf(connection, namespace.contract)
  const { pid: _pid, offset: _offset, since: _since, rooms: _rooms, ...auth } = connect.auth
  try {
    // Where it is not known yet who it is, its rooms are looked at then.
    const rooms = presented ? await permittedRooms(namespace.contract, presented.claims, asked, source, asker) : asked
    if (!rooms) throw new BrokerError('SERVICE_UNAVAILABLE')
    const bounds = from && (await boundsFor(log, from.position, asker.gone))
    return () => {
      try {
        const point = from && bounds ? resumePointOf(log, from.position, from.since, bounds) : { sinceSeq: hub.liveSeq }
        return enter({ ...connect, auth }, presented, '', { ...point, logLife: log.life, rooms, byPosition: true })
      } catch (error) {
        return refusalOf(context, connection, namespace, error)
      }
    }
  } catch (error) {
    const refusal = refusalOf(context, connection, namespace, error)
    return () => refusal
  }
}

/** @throws BrokerError where it may not be in the namespace */
function enter(
  { context, connection, namespace, auth }: Connect,
  identity: Identity | undefined,
  /** Empty: a new one. */
  pid = '',
  recovered?: Recovered,
): SocketIoSocket {
  const { access, namespaces, recovery, services } = context
  if (identity) {
    // To find what was kept may have taken its time.
    inTime(identity.claims)
    access.enter(namespace, identity.claims, connection)
  }
  return new SocketIoSocket(context, {
    // While this one was looked up, others may have opened the namespace.
    namespace: namespaces.inUse(namespace),
    connection,
    identity,
    auth,
    pid: pid === '' ? recovery.issue(services.hub.liveSeq, identity?.claims.sub) : pid,
    positions: auth.positions !== false,
    recovered,
  })
}
