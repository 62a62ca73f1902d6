import type { CompiledContract } from '../contracts/compiled.ts'
import { BrokerError } from '../errors.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import { isKey, type Source } from '../source/source.ts'
import type { Claims } from '../contracts/claims.ts'

/**
 * Checks that a user may be in a room: by their token, or by a service's record of the room in a key-value bucket.
 * @throws BrokerError INVALID_ROOM; ROOM_ACCESS_DENIED; NOT_FOUND if there is no record; SERVICE_UNAVAILABLE
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

/** Who asks for rooms. */
export interface Asker {
  /** The client has left, so that nobody waits for the answer any more. */
  gone(): boolean
  /** To be called before each record is read. @throws BrokerError RATE_LIMITED */
  readonly countRead?: () => void
}

/**
 * The rooms among `rooms` that a user may be in, by claims or by a service's record.
 * @returns undefined if the records cannot be read
 * @throws BrokerError RATE_LIMITED
 */
export async function permittedRooms(
  contract: CompiledContract,
  claims: Claims,
  rooms: readonly string[],
  source: Source,
  asker?: Asker,
): Promise<string[] | undefined> {
  const permitted: string[] = []
  for (const room of rooms) {
    if (asker?.gone()) return permitted
    if (asker?.countRead && contract.hasRecord(room) && !contract.mayBeIn(claims, room)) asker.countRead()
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
 * Limit on the total length of a subscriber's room names, in characters: NAMES_LENGTH_MAX, or NAME_LENGTH_MEAN for each
 * room that it may be in if that is more. Every change of its rooms writes all names again, for its recovery.
 */
const NAMES_LENGTH_MAX = 65_536
const NAME_LENGTH_MEAN = 64

/** @throws BrokerError TOO_MANY_SUBSCRIPTIONS if a subscriber cannot be in these rooms as well */
export function checkRoomCount(
  { groups }: Pick<Subscriber, 'groups'>,
  rooms: Iterable<string>,
  roomsMax: number,
): void {
  const names = new Set(groups.map(({ room }) => room.name))
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
