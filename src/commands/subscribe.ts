import { BrokerError } from '../errors.ts'
import type { Predicate } from '../hub/predicate.ts'
import { parsePosition, type Position } from '../log/position.ts'
import type { Caller } from './caller.ts'
import type { Services } from './services.ts'
import { joinRooms, leaveRooms } from './lifecycle.ts'
import { checkRoomCount } from './permission.ts'
import type { Command } from '../contracts/command.ts'

interface SubscribeData {
  readonly events?: readonly string[]
  readonly rooms?: readonly string[]
  readonly filters?: Readonly<Record<string, unknown>>
  readonly since?: unknown
}

/** Characters of the values of all filters: what a connection has chosen before is kept for a while. */
const FILTERS_LENGTH_MAX = 65_536

/**
 * `subscribe {events, rooms, filters, since}` → `subscribed {events, filters}`. With `since` what came after that
 * position follows first. An unknown name refuses the whole command.
 * @returns a promise with `since`: what the client sends next waits until its place in the log is known
 */
export function subscribe(
  caller: Caller,
  command: Command<SubscribeData>,
  services: Services,
): Promise<void> | undefined {
  const { events = [], rooms = [], filters = {}, since } = command.data
  const { subscriber, contract, claims } = caller
  checkFilterLength(filters)
  const predicate = contract.predicate(claims, filters)
  const names = roomsOf(caller, events, rooms)
  checkRoomCount(subscriber, names, services.roomsMax)
  const answer = () =>
    caller.reply(
      { type: 'subscribed', data: { events, ...(rooms.length > 0 ? { rooms } : undefined), filters } },
      command,
    )
  if (since === undefined || since === null) {
    answer()
    joinRooms(caller, names, predicate, services)
    return undefined
  }
  const position = parsePosition(since)
  if (!position)
    throw new BrokerError(
      'INVALID_POSITION',
      'since: this is no position; give the `id` of an event',
      typeof since === 'string' ? { since: since.slice(0, 100) } : undefined,
    )
  return subscribeSince(caller, names, predicate, position, String(since), answer, services)
}

async function subscribeSince(
  caller: Caller,
  names: readonly string[],
  predicate: Predicate | undefined,
  { epoch, seq }: Position,
  since: string,
  answer: () => void,
  services: Services,
): Promise<void> {
  const { log } = services
  // Out of reach: what is in memory counts, and what is older is read when the source is back.
  const bounds = await log
    .recentBounds(seq)
    .catch(() => ({ epoch: log.epoch, firstSeq: 1, lastSeq: Math.max(log.headSeq, seq) }))
  if (caller.closed || caller.endIfExpired(Date.now())) return
  // The answer is sent before the subscriber leaves live delivery: it flushes what the socket is still to get live.
  answer()
  const known = epoch === bounds.epoch && seq <= bounds.lastSeq
  if (known && seq + 1 >= bounds.firstSeq) return joinRooms(caller, names, predicate, services, seq)
  caller.reply(missed(since, bounds.firstSeq > bounds.lastSeq ? null : log.position(bounds.firstSeq)))
  joinRooms(caller, names, predicate, services, bounds.firstSeq - 1)
}

/** Says by name that the log no longer has what a client needs. `oldest` null: nothing is stored. */
export function missed(since: string, oldest: string | null) {
  return { type: 'events_missed', data: { since, oldest_available: oldest } }
}

/** `unsubscribe {events, rooms}` → `unsubscribed {events}`. */
export function unsubscribe(caller: Caller, command: Command<SubscribeData>, services: Services): void {
  const { events = [], rooms = [] } = command.data
  const types = events.flatMap((name) => caller.contract.typesOf(name))
  leaveRooms(caller, [...types, ...rooms], services)
  caller.reply({ type: 'unsubscribed', data: { events, ...(rooms.length > 0 ? { rooms } : undefined) } }, command)
}

function checkFilterLength(filters: Readonly<Record<string, unknown>>): void {
  let length = 0
  for (const value of Object.values(filters).flat()) length += String(value).length
  if (length > FILTERS_LENGTH_MAX)
    throw new BrokerError(
      'INVALID_MESSAGE',
      `The values of filters may have ${FILTERS_LENGTH_MAX} characters, all together`,
    )
}

/** Event types are rooms, too: each has that of its name. */
function roomsOf({ contract, claims }: Caller, events: readonly string[], rooms: readonly string[]): string[] {
  const names = new Set(events.flatMap((name) => contract.typesOf(name)))
  for (const room of rooms) {
    contract.checkRoom(claims, room)
    names.add(room)
  }
  return [...names]
}
