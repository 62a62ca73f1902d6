import { BrokerError } from '../errors.ts'
import type { Predicate } from '../hub/predicate.ts'
import type { EventLog } from '../log/event-log.ts'
import { parsePosition, type Position } from '../log/position.ts'
import type { Bounds } from '../source/source.ts'
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

/**
 * Limit on the characters in all filter values together, because a connection's earlier filters stay in memory for a
 * while.
 */
const FILTERS_LENGTH_MAX = 65_536
/** How long a position of another stream waits until the source says which stream is there. Elections end sooner. */
const WAIT_MS = 25_000
const WAIT_STEP_MS = 250

/**
 * `subscribe {events, rooms, filters, since}` → `subscribed {events, filters}`. With `since`, the events after that
 * position come first. An unknown name rejects the whole command.
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
  let bounds = await boundsFor(log, epoch, seq, () => caller.closed)
  // The log has switched to another stream meanwhile.
  while (bounds.epoch !== log.epoch && !caller.closed) bounds = await boundsFor(log, epoch, seq, () => caller.closed)
  if (caller.closed || caller.endIfExpired(Date.now())) return
  // Answer before the subscriber leaves live delivery: sending flushes the live events that its socket has not had yet.
  answer()
  const known = epoch === bounds.epoch && seq <= bounds.lastSeq
  if (known && seq + 1 >= bounds.firstSeq) return joinRooms(caller, names, predicate, services, seq)
  caller.reply(missed(since, bounds.firstSeq > bounds.lastSeq ? null : log.position(bounds.firstSeq)))
  // Not beyond what the log has read: if the stream is cut short before that, other events get those sequences.
  joinRooms(caller, names, predicate, services, Math.min(bounds.firstSeq - 1, log.headSeq))
}

/**
 * The stream's bounds, which decide whether a position is still available.
 * @throws BrokerError SERVICE_UNAVAILABLE if the position is of another stream and the source is out of reach
 */
async function boundsFor(log: EventLog, epoch: string, seq: number, gaveUp: () => boolean): Promise<Bounds> {
  for (const untilMs = Date.now() + WAIT_MS; ; ) {
    try {
      return await (epoch === log.epoch ? log.recentBounds(seq) : log.bounds())
    } catch {
      // Go by what is in memory; older events are read when the source is back.
      if (epoch === log.epoch) return { epoch, firstSeq: 1, lastSeq: Math.max(log.headSeq, seq) }
    }
    // Wait for the source, since only it can tell which stream is newer: this broker may not have noticed that its own
    // stream has ended, and the client may already have all of it.
    if (gaveUp()) return { epoch, firstSeq: 1, lastSeq: seq }
    if (Date.now() > untilMs) throw new BrokerError('SERVICE_UNAVAILABLE', 'The stream is out of reach; try again')
    await new Promise((resolve) => setTimeout(resolve, WAIT_STEP_MS))
  }
}

/** The `events_missed` message: the log no longer has what a client needs. `oldest` null: nothing is stored. */
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

/** Event types are rooms too: each type has the room of its name. */
function roomsOf({ contract, claims }: Caller, events: readonly string[], rooms: readonly string[]): string[] {
  const names = new Set(events.flatMap((name) => contract.typesOf(name)))
  for (const room of rooms) {
    contract.checkRoom(claims, room)
    names.add(room)
  }
  return [...names]
}
