import { type Command, userOf } from '../contracts/contract.ts'
import type { PlaceEffect, SelectEffect } from '../contracts/effect.ts'
import { BrokerError, EXCERPT_MAX } from '../errors.ts'
import type { Session } from '../hub/session.ts'
import { type Caller, senderOf, type Services } from './caller.ts'
import { checkRoomCount } from './permission.ts'

/** The event types that a session chose: for all its places, and for single ones. */
interface Choice {
  all: readonly string[] | undefined
  readonly byPlace: Map<string, readonly string[]>
}

const choices = new WeakMap<Session, Choice>()

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
export async function enter(caller: Caller, command: Command, effect: PlaceEffect, { hub, presence, roomsMax }: Services): Promise<void> {
  const { session, claims, contract } = caller
  const place = effect.place(command.data, senderOf(caller))
  if (!claims.roles?.includes('admin') && !effect.allows(claims, place)) throw new BrokerError('ROOM_ACCESS_DENIED', `Access denied to ${place.slice(0, EXCERPT_MAX)}`, { place })
  const choice = choiceOf(session)
  const types = choice.byPlace.get(place) ?? choice.all ?? effect.events
  const rooms = [...roomsOf(caller, effect.room, place, types), placeRoom(place)]
  checkRoomCount(session, rooms, roomsMax)
  choice.byPlace.set(place, types)
  hub.join(session, rooms)
  presence.enter(session, place, userOf(claims).name)
  await caller.remember?.()
  if (caller.closed) return
  if (effect.reply) caller.reply(effect.reply(place, presence.count(contract.app, place), contract.facts), command)
  command.acknowledge?.([{ status: 'success' }])
}

export async function exit(caller: Caller, command: Command, effect: PlaceEffect, { hub, presence }: Services): Promise<void> {
  const { session } = caller
  const place = effect.place(command.data, senderOf(caller))
  const choice = choiceOf(session)
  hub.leave(session, [...roomsOf(caller, effect.room, place, choice.byPlace.get(place) ?? []), placeRoom(place)])
  choice.byPlace.delete(place)
  presence.leave(session, place)
  await caller.remember?.()
  if (effect.reply) caller.reply(effect.reply(place, presence.count(caller.contract.app, place), caller.contract.facts), command)
  command.acknowledge?.([{ status: 'success' }])
}

/** Chooses event types, of one place or of all that one is in (and comes to later). */
export async function select(caller: Caller, command: Command, effect: SelectEffect, { hub, presence, roomsMax }: Services): Promise<void> {
  const { session, contract } = caller
  const types = effect.events(command.data)
  for (const type of types) if (!contract.event(type)) throw new BrokerError('UNKNOWN_EVENT', `There is no event "${type.slice(0, 100)}"`, { event: type.slice(0, 100) })
  const only = effect.place(command.data)
  if (only !== undefined && !presence.isIn(session, only)) throw new BrokerError('INVALID_ROOM', `Join ${only.slice(0, 100)} first`, { place: only.slice(0, 100) })
  const choice = choiceOf(session)
  const places = only === undefined ? presence.placesOf(session) : [only]
  if (only === undefined) choice.all = types
  for (const place of places) {
    const before = roomsOf(caller, effect.room, place, choice.byPlace.get(place) ?? [])
    const after = roomsOf(caller, effect.room, place, types)
    checkRoomCount(session, after, roomsMax)
    hub.join(session, after)
    hub.leave(session, before.filter((name) => !after.includes(name)))
    choice.byPlace.set(place, types)
  }
  await caller.remember?.()
  command.acknowledge?.([{ status: 'success' }])
}

/** What a session's recovery has to know beside its rooms. */
export interface PlaceState {
  readonly places: readonly string[]
  readonly all?: readonly string[]
  readonly byPlace: readonly (readonly [string, readonly string[]])[]
}

export function placeState(session: Session, { presence }: Services): PlaceState | undefined {
  const choice = choices.get(session)
  // Rooms with presence come back with the rooms.
  const places = presence.placesOf(session).filter((place) => !session.groupIn(place))
  if (choice === undefined && places.length === 0) return undefined
  return { places, ...(choice?.all ? { all: choice.all } : undefined), byPlace: [...(choice?.byPlace ?? [])] }
}

export function restorePlaces(session: Session, state: PlaceState, name: string, { presence }: Services): void {
  choices.set(session, { all: state.all, byPlace: new Map(state.byPlace) })
  for (const place of state.places) presence.enter(session, place, name)
}

function choiceOf(session: Session): Choice {
  let choice = choices.get(session)
  if (!choice) choices.set(session, (choice = { all: undefined, byPlace: new Map() }))
  return choice
}

function roomsOf(caller: Caller, room: PlaceEffect['room'], place: string, types: readonly string[]): string[] {
  const sender = senderOf(caller)
  return types.map((type) => room(place, type, sender)).filter((name) => name !== undefined)
}
