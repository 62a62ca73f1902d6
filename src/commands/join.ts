import type { Claims, Command } from '../contracts/contract.ts'
import type { RoomEffect } from '../contracts/effect.ts'
import { BrokerError } from '../errors.ts'
import { type Caller, senderOf, type Services } from './caller.ts'
import { joinRooms, leaveRooms } from './lifecycle.ts'
import { checkJoin, checkRoomCount } from './permission.ts'

/** Joins rooms by name; the contract's `rooms` say which there are, and who may. */
export async function join(caller: Caller, command: Command, effect: RoomEffect, services: Services): Promise<void> {
  const { source, roomsMax } = services
  const { contract, session } = caller
  const rooms = roomsOf(caller, effect, command)
  let claims: Claims
  // A record takes its time, and the client may have other claims by then.
  do {
    claims = caller.claims
    for (const room of rooms) await checkJoin(contract, claims, room, source)
  } while (caller.claims !== claims)
  if (caller.closed) return
  checkRoomCount(session, rooms, roomsMax)
  joinRooms(caller, rooms, contract.withAccess(claims, []), services)
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

function roomsOf(caller: Caller, effect: RoomEffect, command: Command): readonly string[] {
  if (effect.rooms) return effect.rooms(senderOf(caller))
  const room = effect.room?.(command.data)
  if (typeof room !== 'string') throw new BrokerError('INVALID_ROOM', undefined, { room: null })
  return [room]
}

function answer(caller: Caller, command: Command, effect: RoomEffect, rooms: readonly string[]): void {
  if (caller.closed) return
  for (const room of rooms) if (effect.reply) caller.reply(effect.reply(room, command), command)
  if (effect.acknowledgement) command.acknowledge?.(effect.acknowledgement(rooms[0] ?? '', command))
}
