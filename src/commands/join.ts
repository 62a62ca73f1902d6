import type { CompiledContract } from '../contracts/compiled.ts'
import { type Claims, type Command, userOf } from '../contracts/contract.ts'
import type { RoomEffect } from '../contracts/effect.ts'
import { BrokerError } from '../errors.ts'
import type { Source } from '../source/source.ts'
import { type Caller, senderOf, type Services } from './caller.ts'

/** Joins rooms by name; the contract's `rooms` say which there are, and who may. */
export async function join(caller: Caller, command: Command, effect: RoomEffect, { hub, presence, source, roomsMax }: Services): Promise<void> {
  const { contract, claims, session } = caller
  const rooms = roomsOf(caller, effect, command)
  for (const room of rooms) await checkJoin(contract, claims, room, source)
  if (caller.closed) return
  const added = rooms.filter((room) => !session.groupIn(room)).length
  if (session.groups.length + added > roomsMax) {
    throw new BrokerError('TOO_MANY_SUBSCRIPTIONS', `A connection may be in ${roomsMax} rooms (MAX_ROOMS_PER_CONNECTION)`)
  }
  hub.join(session, rooms, contract.withAccess(claims, []))
  for (const room of rooms) if (contract.hasPresence(room)) presence.enter(session, room, userOf(claims).name)
  await caller.remember?.()
  answer(caller, command, effect, rooms)
}

export async function leave(caller: Caller, command: Command, effect: RoomEffect, services: Services): Promise<void> {
  const rooms = roomsOf(caller, effect, command)
  for (const room of rooms) caller.contract.checkRoomName(room)
  leaveRooms(caller, rooms, services)
  await caller.remember?.()
  answer(caller, command, effect, rooms)
}

export function leaveRooms({ session }: Pick<Caller, 'session'>, rooms: readonly string[], { hub, presence }: Services): void {
  hub.leave(session, rooms)
  for (const room of rooms) presence.leave(session, room)
}

/** Leaves rooms in which a client's new claims do not let it be, unless a service's record does. Where nobody can say, it leaves. */
export async function leaveUnlessRecorded(caller: Caller, rooms: readonly string[], services: Services): Promise<void> {
  const { contract, claims } = caller
  for (const room of rooms) {
    const permitted = await permittedRooms(contract, claims, [room], services.source)
    // What it says by then of who it is has been looked at anew.
    if (caller.closed || caller.claims !== claims) return
    if (!permitted?.includes(room)) leaveRooms(caller, [room], services)
  }
}

/** The rooms that somebody may be in, by claims or by a service's record. @returns undefined where nobody can say */
export async function permittedRooms(contract: CompiledContract, claims: Claims, rooms: readonly string[], source: Source): Promise<string[] | undefined> {
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

function roomsOf(caller: Caller, effect: RoomEffect, command: Command): readonly string[] {
  if (effect.rooms) return effect.rooms(senderOf(caller))
  const room = effect.room?.(command.data)
  if (typeof room !== 'string') throw new BrokerError('INVALID_ROOM', undefined, { room: null })
  return [room]
}

/**
 * Whether somebody may be in a room: their token says so, or a service's record of it in a key-value bucket.
 * @throws BrokerError INVALID_ROOM, ROOM_ACCESS_DENIED, NOT_FOUND where there is no record; SERVICE_UNAVAILABLE
 */
export async function checkJoin(contract: CompiledContract, claims: Claims, name: string, source: Source): Promise<void> {
  const { room: { record }, id } = contract.checkRoomName(name)
  try {
    contract.checkRoom(claims, name)
  } catch (error) {
    if (record === undefined) throw error
    const entry = await (await source.keyValue(record.bucket, 0)).get(id)
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

function answer(caller: Caller, command: Command, effect: RoomEffect, rooms: readonly string[]): void {
  if (caller.closed) return
  for (const room of rooms) if (effect.reply) caller.reply(effect.reply(room, command), command)
  if (effect.acknowledgement) command.acknowledge?.(effect.acknowledgement(rooms[0] ?? '', command))
}
