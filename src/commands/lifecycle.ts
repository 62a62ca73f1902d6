import type { Predicate } from '../hub/predicate.ts'
import { runGuarded } from '../guarded.ts'
import type { RequestableClient } from './requestable-clients.ts'
import type { Caller } from './caller.ts'
import type { Services } from './services.ts'
import { permittedRooms } from './permission.ts'
import { channelOfRoom, leaveForbiddenChannels } from './presence-channel.ts'
import { type Claims, userOf } from '../contracts/claims.ts'

/**
 * What a client is part of, from its first moment to its last, whichever gateway it came through: the hub, its rooms,
 * presence, locks, the requests of services, its user's connections. Gateways open and close clients here and nowhere
 * else, so that none can forget a part.
 */

/** A client that is known comes: events can reach it once it joins rooms. */
export function openClient(
  client: Caller & Partial<RequestableClient>,
  { hub, requestableClients, connections }: Services,
): void {
  hub.open(client.subscriber)
  if (client.countedAs !== undefined) connections.userCame(client.countedAs)
  if (isRequestable(client)) requestableClients.add(client)
}

/**
 * Joins rooms from now on, or from what followed `sinceSeq`. The caller has checked that it may. Who is gone joins
 * nothing: nobody would take them out again.
 */
export function joinRooms(
  client: Caller,
  rooms: Iterable<string>,
  predicate: Predicate | undefined,
  { hub, presence }: Services,
  sinceSeq?: number,
): void {
  if (client.closed) return
  const { contract, subscriber, claims } = client
  for (const room of rooms) if (contract.hasPresence(room)) presence.join(subscriber, room, userOf(claims).name)
  if (sinceSeq === undefined) hub.join(subscriber, rooms, predicate)
  else hub.joinSince(subscriber, rooms, predicate, sinceSeq)
}

export function leaveRooms(
  { subscriber }: Pick<Caller, 'subscriber'>,
  rooms: readonly string[],
  { hub, presence }: Services,
): void {
  hub.leave(subscriber, rooms)
  for (const room of rooms) presence.leave(subscriber, channelOfRoom(room) ?? room)
}

/**
 * Goes on with other claims of the same user: out of the rooms and presence channels that they do not allow, and no
 * events that they do not allow in the others. A room that only a service's record allows is looked up, and left where
 * the record does not.
 * @returns the rooms that it left at once
 */
export function renewClient(client: Caller, claims: Claims, services: Services): readonly string[] {
  const { contract, subscriber } = client
  const channels = leaveForbiddenChannels(client, claims, services)
  client.claims = claims
  const own = new Set(client.ownRooms?.())
  const lost = subscriber.groups
    .map(({ room }) => room.name)
    .filter((room) => {
      if (channels.lost.has(room)) return true
      return (
        !contract.isEventRoom(room) && !own.has(room) && !channels.kept.has(room) && !contract.mayBeIn(claims, room)
      )
    })
  const left = lost.filter((room) => channels.lost.has(room) || !contract.hasRecord(room))
  leaveRooms(client, left, services)
  services.hub.rejoin(subscriber, (before) => contract.withAccess(claims, before?.filters ?? []))
  runGuarded('leaving rooms', () =>
    leaveUnlessRecorded(
      client,
      lost.filter((room) => !left.includes(room)),
      services,
    ),
  )
  return left
}

/**
 * The client goes to another worker: no event reaches it here any more. Until that worker has it, it stays present and
 * keeps its locks; `closeClient` follows.
 */
export function suspendClient(
  client: Caller & Partial<RequestableClient>,
  { hub, requestableClients }: Services,
): void {
  if (isRequestable(client)) requestableClients.remove(client)
  hub.close(client.subscriber, true)
}

/**
 * The client is gone.
 * @param socketStays others share its socket, which goes on
 */
export function closeClient(
  client: Caller & Partial<RequestableClient>,
  { hub, presence, locks, requestableClients, connections }: Services,
  socketStays: boolean,
): void {
  const { subscriber, contract } = client
  if (client.countedAs !== undefined) connections.userWent(client.countedAs)
  presence.drop(subscriber)
  if (isRequestable(client)) requestableClients.remove(client)
  hub.close(subscriber, socketStays)
  locks.left(contract.app, subscriber.userId)
}

/**
 * Leaves rooms in which a client's new claims do not let it be, unless a service's record does. Where nobody can say,
 * it leaves.
 */
async function leaveUnlessRecorded(client: Caller, rooms: readonly string[], services: Services): Promise<void> {
  const { contract, claims } = client
  for (const room of rooms) {
    const permitted = await permittedRooms(contract, claims, [room], services.source)
    // What it says by then of who it is has been looked at anew.
    if (client.closed || client.claims !== claims) return
    if (!permitted?.includes(room)) leaveRooms(client, [room], services)
  }
}

function isRequestable(client: Caller & Partial<RequestableClient>): client is Caller & RequestableClient {
  return client.request !== undefined
}
