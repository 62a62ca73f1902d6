import type { PlaceAction, SelectAction } from '../contracts/action.ts'
import { BrokerError, EXCERPT_MAX } from '../errors.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import type { PlaceState } from '../state/recovery.ts'
import { type Caller, senderOf } from './caller.ts'
import type { Services } from './services.ts'
import { checkRoomCount } from './permission.ts'
import { type Claims, userOf } from '../contracts/claims.ts'
import type { Command } from '../contracts/command.ts'

/** What a session has of a place. */
interface Stay {
  readonly types: readonly string[]
  /** The command that it came by: its effect says who may be there. */
  readonly by: string | undefined
}

/** The event types that a session chose: for all its places, and for single ones. */
interface Choice {
  all: readonly string[] | undefined
  readonly byPlace: Map<string, Stay>
}

const choices = new WeakMap<Subscriber, Choice>()

const PLACE_PREFIX = 'present:'

/** The room in which those who are in a place hear of each other. */
export function placeRoom(place: string): string {
  return `${PLACE_PREFIX}${place}`
}

/** The place that such a room is of. @returns undefined for any other room */
export function placeIn(room: string): string | undefined {
  return room.startsWith(PLACE_PREFIX) ? room.slice(PLACE_PREFIX.length) : undefined
}

/** Comes to a place: the others hear of it, and its events arrive. */
export async function enter(
  caller: Caller,
  command: Command,
  effect: PlaceAction,
  { hub, presence, roomsMax }: Services,
): Promise<void> {
  const { subscriber: session, claims, contract } = caller
  const place = effect.place(command.data, senderOf(caller))
  if (!mayBeAt(claims, effect, place))
    throw new BrokerError('ROOM_ACCESS_DENIED', `Access denied to ${place.slice(0, EXCERPT_MAX)}`, { place })
  const choice = choiceOf(session)
  const types = choice.byPlace.get(place)?.types ?? choice.all ?? effect.events
  const rooms = [...roomsOf(caller, effect.room, place, types), placeRoom(place)]
  checkRoomCount(session, rooms, roomsMax)
  choice.byPlace.set(place, { types, by: command.type })
  hub.join(session, rooms)
  presence.enter(session, place, userOf(claims).name)
  await caller.remember?.()
  if (caller.closed) return
  if (effect.reply) caller.reply(effect.reply(place, presence.count(contract.app, place), contract.lastValues), command)
  command.acknowledge?.([{ status: 'success' }])
}

export async function exit(
  caller: Caller,
  command: Command,
  effect: PlaceAction,
  { hub, presence }: Services,
): Promise<void> {
  const { subscriber: session } = caller
  const place = effect.place(command.data, senderOf(caller))
  const choice = choiceOf(session)
  hub.leave(session, [...roomsOf(caller, effect.room, place, choice.byPlace.get(place)?.types ?? []), placeRoom(place)])
  choice.byPlace.delete(place)
  presence.leave(session, place)
  await caller.remember?.()
  if (effect.reply)
    caller.reply(effect.reply(place, presence.count(caller.contract.app, place), caller.contract.lastValues), command)
  command.acknowledge?.([{ status: 'success' }])
}

/** Chooses event types, of one place or of all that one is in (and comes to later). */
export async function select(
  caller: Caller,
  command: Command,
  effect: SelectAction,
  { hub, presence, roomsMax }: Services,
): Promise<void> {
  const { subscriber: session, contract } = caller
  const types = effect.events(command.data)
  for (const type of types)
    if (!contract.event(type))
      throw new BrokerError('UNKNOWN_EVENT', `There is no event "${type.slice(0, 100)}"`, { event: type.slice(0, 100) })
  const only = effect.place(command.data)
  if (only !== undefined && !presence.isIn(session, only))
    throw new BrokerError('INVALID_ROOM', `Join ${only.slice(0, 100)} first`, { place: only.slice(0, 100) })
  const choice = choiceOf(session)
  const places = only === undefined ? presence.placesOf(session) : [only]
  if (only === undefined) choice.all = types
  for (const place of places) {
    const stay = choice.byPlace.get(place)
    const before = roomsOf(caller, effect.room, place, stay?.types ?? [])
    const after = roomsOf(caller, effect.room, place, types)
    checkRoomCount(session, after, roomsMax)
    hub.join(session, after)
    hub.leave(
      session,
      before.filter((name) => !after.includes(name)),
    )
    choice.byPlace.set(place, { types, by: stay?.by })
  }
  await caller.remember?.()
  command.acknowledge?.([{ status: 'success' }])
}

export function placeState(session: Subscriber, { presence }: Services): PlaceState | undefined {
  const choice = choices.get(session)
  // Rooms with presence come back with the rooms.
  const places = presence.placesOf(session).filter((place) => !session.groupIn(place))
  if (choice === undefined && places.length === 0) return undefined
  return {
    places,
    ...(choice?.all ? { all: choice.all } : undefined),
    byPlace: [...(choice?.byPlace ?? [])].map(([place, { types, by }]) =>
      by === undefined ? [place, types] : [place, types, by],
    ),
  }
}

/**
 * Brings a session back to its places, those that its claims allow now.
 * @returns their rooms
 */
export function restorePlaces(
  caller: Caller,
  { places, all, byPlace }: PlaceState,
  { presence }: Services,
): readonly string[] {
  const { subscriber: session, claims } = caller
  const allowed = byPlace.filter(
    ([place, , by]) =>
      !places.includes(place) || effectsOf(caller, by).some((effect) => mayBeAt(claims, effect, place)),
  )
  choices.set(session, { all, byPlace: new Map(allowed.map(([place, types, by]) => [place, { types, by }])) })
  const rooms: string[] = []
  for (const [place, types, by] of allowed) {
    if (!places.includes(place)) continue
    presence.enter(session, place, userOf(claims).name)
    rooms.push(...stayRoomsOf(caller, place, { types, by }))
  }
  return rooms
}

/**
 * Leaves the places that other claims do not allow.
 * @returns the rooms of those that stay, and of those that were left
 */
export function leavePlaces(
  caller: Caller,
  claims: Claims,
  { presence }: Services,
): { readonly kept: ReadonlySet<string>; readonly lost: ReadonlySet<string> } {
  const { subscriber: session } = caller
  const [kept, lost] = [new Set<string>(), new Set<string>()]
  for (const [place, stay] of choices.get(session)?.byPlace ?? []) {
    // A room with presence, in which one is by its name.
    if (stay.by === undefined) continue
    const stays = effectsOf(caller, stay.by).some((effect) => mayBeAt(claims, effect, place))
    for (const room of stayRoomsOf(caller, place, stay)) (stays ? kept : lost).add(room)
    if (stays) continue
    choices.get(session)?.byPlace.delete(place)
    presence.leave(session, place)
  }
  return { kept, lost }
}

function mayBeAt(claims: Claims, { allows }: Pick<PlaceAction, 'allows'>, place: string): boolean {
  return claims.roles?.includes('admin') === true || allows(claims, place)
}

/** The effect of the command that somebody came by; all there are where that is not known. */
function effectsOf({ contract }: Caller, by: string | undefined): readonly PlaceAction[] {
  const commands = by === undefined ? [...contract.commands.values()] : [contract.commands.get(by)]
  return commands.flatMap((command) => (command?.action.use === 'enter' ? [command.action] : []))
}

function stayRoomsOf(caller: Caller, place: string, { types, by }: Stay): string[] {
  return [...effectsOf(caller, by).flatMap(({ room }) => roomsOf(caller, room, place, types)), placeRoom(place)]
}

function choiceOf(session: Subscriber): Choice {
  let choice = choices.get(session)
  if (!choice) choices.set(session, (choice = { all: undefined, byPlace: new Map() }))
  return choice
}

function roomsOf(caller: Caller, room: PlaceAction['room'], place: string, types: readonly string[]): string[] {
  const sender = senderOf(caller)
  return types.map((type) => room(place, type, sender)).filter((name) => name !== undefined)
}
