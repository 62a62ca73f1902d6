import type { CompiledContract } from '../contracts/compiled.ts'
import { BrokerError } from '../errors.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import { isKey, type Source } from '../source/source.ts'
import type { Claims } from '../contracts/claims.ts'

/**
 * Whether somebody may be in a room: their token says so, or a service's record of it in a key-value bucket.
 * @throws BrokerError INVALID_ROOM, ROOM_ACCESS_DENIED, NOT_FOUND where there is no record; SERVICE_UNAVAILABLE
 */
export async function checkJoin(
  contract: CompiledContract,
  claims: Claims,
  name: string,
  source: Source,
): Promise<void> {
  const {
    room: { record },
    id,
  } = contract.checkRoomName(name)
  try {
    contract.checkRoom(claims, name)
  } catch (error) {
    if (record === undefined) throw error
    const entry = isKey(id) ? await (await source.keyValue(record.bucket, 0)).get(id) : undefined
    if (entry === undefined) throw new BrokerError('NOT_FOUND', `There is no record of ${name}`, { room: name })
    if (!record.allows(claims, jsonIn(entry.value))) throw error
  }
}

function jsonIn(value: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(value).toString())
  } catch {
    return undefined
  }
}

/** The rooms that somebody may be in, by claims or by a service's record. @returns undefined where nobody can say */
export async function permittedRooms(
  contract: CompiledContract,
  claims: Claims,
  rooms: readonly string[],
  source: Source,
): Promise<string[] | undefined> {
  const permitted: string[] = []
  for (const room of rooms) {
    try {
      await checkJoin(contract, claims, room, source)
      permitted.push(room)
    } catch (error) {
      if (error instanceof BrokerError && error.code === 'SERVICE_UNAVAILABLE') return undefined
    }
  }
  return permitted
}

/**
 * Characters of the names of a subscriber's rooms, all together: at least so many, or so many for each room that it may be
 * in. What is kept of it for its recovery is written with every room.
 */
const NAMES_LENGTH_MAX = 65_536
const NAME_LENGTH_MEAN = 64

/** @throws BrokerError TOO_MANY_SUBSCRIPTIONS where a subscriber cannot be in these rooms as well */
export function checkRoomCount(subscriber: Subscriber, rooms: Iterable<string>, roomsMax: number): void {
  const names = new Set(subscriber.groups.map(({ room }) => room.name))
  for (const room of rooms) names.add(room)
  if (names.size > roomsMax)
    throw new BrokerError(
      'TOO_MANY_SUBSCRIPTIONS',
      `A connection may be in ${roomsMax} rooms (MAX_ROOMS_PER_CONNECTION)`,
    )
  const lengthMax = Math.max(NAMES_LENGTH_MAX, roomsMax * NAME_LENGTH_MEAN)
  let length = 0
  for (const name of names) length += name.length
  if (length > lengthMax)
    throw new BrokerError(
      'TOO_MANY_SUBSCRIPTIONS',
      `The names of a connection's rooms may have ${lengthMax} characters, all together`,
    )
}
