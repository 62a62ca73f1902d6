import type { Predicate } from '../hub/predicate.ts'
import { runGuarded } from '../guarded.ts'
import type { RequestableClient } from './requestable-clients.ts'
import type { Caller } from './caller.ts'
import type { Services } from './services.ts'
import { permittedRooms } from './permission.ts'
import { channelOfRoom, leaveForbiddenChannels } from './presence-channel.ts'
import { type Claims, userOf } from '../contracts/claims.ts'

/**
 * The lifecycle of a client, whichever gateway it uses: the hub, its rooms, presence, locks, client requests, its
 * user's connections. Gateways open and close clients only here, so that none can forget a part.
 */

/** Opens a client that has an identity: events can reach it once it joins rooms. */
export function openClient(
  client: Caller & Partial<RequestableClient>,
  { hub, requestableClients, connections }: Services,
): void {
  hub.open(client.subscriber)
  if (client.countedAs !== undefined) connections.userCame(client.countedAs)
  if (isRequestable(client)) requestableClients.add(client)
}

/**
 * Joins rooms from now on, or from what followed `sinceSeq`. The calling code has checked that the client may. A closed
 * client joins nothing, because nothing would ever remove it from the rooms.
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
 * Replaces a client's claims with others of the same user. The client leaves the rooms and presence channels that the
 * new claims do not allow, and in the others it gets only the events that they allow. If a service's record may still
 * allow a room, the client leaves only once the record has been read and does not allow it either.
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
 * Stops events to a client that is on its way to another worker. It stays present and keeps its locks until that worker
 * has it; `closeClient` follows.
 */
export function suspendClient(
  client: Caller & Partial<RequestableClient>,
  { hub, requestableClients }: Services,
): void {
  if (isRequestable(client)) requestableClients.remove(client)
  hub.close(client.subscriber, true)
}

/**
 * Removes a client that is gone.
 * @param socketStays other clients share its socket, which stays open
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
  // After the hub: `left` looks whether the user still has a subscriber there.
  locks.left(contract.app, subscriber.userId)
}

/**
 * Leaves rooms that a client's new claims do not allow, unless a service's record does. If the record cannot be read,
 * the client leaves.
 */
async function leaveUnlessRecorded(client: Caller, rooms: readonly string[], services: Services): Promise<void> {
  const { contract, claims } = client
  for (const room of rooms) {
    const permitted = await permittedRooms(contract, claims, [room], services.source)
    // If its claims have changed again, that renewal has checked its rooms.
    if (client.closed || client.claims !== claims) return
    if (!permitted?.includes(room)) leaveRooms(client, [room], services)
  }
}

function isRequestable(client: Caller & Partial<RequestableClient>): client is Caller & RequestableClient {
  return client.request !== undefined
}
