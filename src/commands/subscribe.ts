import { BrokerError } from '../errors.ts'
import type { Predicate } from '../hub/predicate.ts'
import type { Position } from '../log/position.ts'
import type { Caller } from './caller.ts'
import type { Services } from './services.ts'
import { joinRooms, leaveRooms } from './lifecycle.ts'
import { checkRoomCount } from './permission.ts'
import { boundsFor, missed, resumePointOf, positionIn } from './since.ts'
import type { Command } from '../contracts/command.ts'

interface SubscribeData {
  readonly events?: readonly string[]
  readonly rooms?: readonly string[]
  readonly filters?: Readonly<Record<string, unknown>>
  readonly since?: unknown
}

/**
 * Limit on the characters in all filter values together, because a connection's earlier filters stay in memory for a
 * while.
 */
const FILTERS_LENGTH_MAX = 65_536

/**
 * `subscribe {events, rooms, filters, since}` → `subscribed {events, filters}`. With `since`, the events after that
 * position come first. An unknown name rejects the whole command, and so does none at all.
 * @returns a promise if there is `since`: the client's next command waits until its place in the log is known
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
  if (names.length === 0)
    throw new BrokerError('INVALID_MESSAGE', 'Give `events` or `rooms`: there is nothing to subscribe to')
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
  const position = positionIn(since)
  return subscribeSince(caller, names, predicate, position, String(since), answer, services)
}

async function subscribeSince(
  caller: Caller,
  names: readonly string[],
  predicate: Predicate | undefined,
  position: Position,
  since: string,
  answer: () => void,
  services: Services,
): Promise<void> {
  const { log } = services
  const bounds = await boundsFor(log, position, () => caller.closed)
  if (caller.closed || caller.endIfExpired(Date.now())) return
  // Answer before the subscriber leaves live delivery: sending flushes the live events that its socket has not had yet.
  answer()
  const point = resumePointOf(log, position, since, bounds)
  if (point.missed) caller.reply(missed(point.missed.since, point.missed.oldest))
  joinRooms(caller, names, predicate, services, point.sinceSeq)
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

/** Event types are rooms too: each type has the room of its name. */
function roomsOf({ contract, claims }: Caller, events: readonly string[], rooms: readonly string[]): string[] {
  const names = new Set(events.flatMap((name) => contract.typesOf(name)))
  for (const room of rooms) {
    contract.checkRoom(claims, room)
    names.add(room)
  }
  return [...names]
}
