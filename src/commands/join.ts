import type { Command, RoomEffect } from '../contracts/contract.ts'
import { BrokerError } from '../errors.ts'
import type { Caller, Services } from './caller.ts'

/** Joins one room by name; the contract's `rooms` say which there are, and who may. */
export async function join(caller: Caller, command: Command, effect: RoomEffect, { hub, roomsMax }: Services): Promise<void> {
  const { contract, claims, session } = caller
  const room = roomOf(effect, command)
  contract.checkRoom(claims, room)
  if (session.groups.length >= roomsMax && !session.groupIn(room)) {
    throw new BrokerError('TOO_MANY_SUBSCRIPTIONS', `A connection may be in ${roomsMax} rooms (MAX_ROOMS_PER_CONNECTION)`)
  }
  hub.join(session, [{ room, predicate: contract.withAccess(claims, []) }])
  await caller.remember?.()
  answer(caller, command, effect, room)
}

export async function leave(caller: Caller, command: Command, effect: RoomEffect, { hub }: Services): Promise<void> {
  const room = roomOf(effect, command)
  caller.contract.checkRoomName(room)
  hub.leave(caller.session, [room])
  await caller.remember?.()
  answer(caller, command, effect, room)
}

function roomOf(effect: RoomEffect, command: Command): string {
  const room = effect.room(command.data)
  if (typeof room !== 'string') throw new BrokerError('INVALID_ROOM', undefined, { room: null })
  return room
}

function answer(caller: Caller, command: Command, effect: RoomEffect, room: string): void {
  if (caller.closed) return
  if (effect.reply) caller.reply(effect.reply(room, command), command)
  if (effect.acknowledgement) command.acknowledge?.(effect.acknowledgement(room, command))
}
