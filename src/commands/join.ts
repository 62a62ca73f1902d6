import { type Command, userOf } from '../contracts/contract.ts'
import type { RoomEffect } from '../contracts/effect.ts'
import { BrokerError } from '../errors.ts'
import { type Caller, senderOf, type Services } from './caller.ts'

/** Joins rooms by name; the contract's `rooms` say which there are, and who may. */
export async function join(caller: Caller, command: Command, effect: RoomEffect, { hub, presence, roomsMax }: Services): Promise<void> {
  const { contract, claims, session } = caller
  const rooms = roomsOf(caller, effect, command)
  for (const room of rooms) contract.checkRoom(claims, room)
  const added = rooms.filter((room) => !session.groupIn(room)).length
  if (session.groups.length + added > roomsMax) {
    throw new BrokerError('TOO_MANY_SUBSCRIPTIONS', `A connection may be in ${roomsMax} rooms (MAX_ROOMS_PER_CONNECTION)`)
  }
  hub.join(session, rooms.map((room) => ({ room, predicate: contract.withAccess(claims, []) })))
  for (const room of rooms) if (contract.hasPresence(room)) presence.enter(session, room, userOf(claims).name)
  await caller.remember?.()
  answer(caller, command, effect, rooms)
}

export async function leave(caller: Caller, command: Command, effect: RoomEffect, { hub, presence }: Services): Promise<void> {
  const rooms = roomsOf(caller, effect, command)
  for (const room of rooms) caller.contract.checkRoomName(room)
  hub.leave(caller.session, rooms)
  for (const room of rooms) presence.leave(caller.session, room)
  await caller.remember?.()
  answer(caller, command, effect, rooms)
}

function roomsOf(caller: Caller, effect: RoomEffect, command: Command): readonly string[] {
  const rooms: readonly unknown[] = [effect.room(command.data, senderOf(caller))].flat()
  if (!rooms.every((room) => typeof room === 'string')) throw new BrokerError('INVALID_ROOM', undefined, { room: null })
  return rooms
}

function answer(caller: Caller, command: Command, effect: RoomEffect, rooms: readonly string[]): void {
  if (caller.closed) return
  for (const room of rooms) if (effect.reply) caller.reply(effect.reply(room, command), command)
  if (effect.acknowledgement) command.acknowledge?.(effect.acknowledgement(rooms[0] ?? '', command))
}
