import type { RoomAction } from '../contracts/action.ts'
import { BrokerError } from '../errors.ts'
import { type Caller, senderOf } from './caller.ts'
import type { Services } from './services.ts'
import { joinRooms, leaveRooms } from './lifecycle.ts'
import { checkJoin, checkRoomCount } from './permission.ts'
import type { Claims } from '../contracts/claims.ts'
import type { Command } from '../contracts/command.ts'

/** Joins rooms by name. The contract's `rooms` define which rooms exist and who may join. */
export async function join(caller: Caller, command: Command, action: RoomAction, services: Services): Promise<void> {
  const { source, roomsMax } = services
  const { contract, subscriber } = caller
  const rooms = roomsOf(caller, action, command)
  let claims: Claims
  // Reading a record takes time; if the client's claims change meanwhile, check again.
  do {
    claims = caller.claims
    for (const room of rooms) await checkJoin(contract, claims, room, source)
  } while (caller.claims !== claims)
  if (caller.closed || caller.endIfExpired(Date.now())) return
  checkRoomCount(subscriber, rooms, roomsMax)
  joinRooms(caller, rooms, contract.withAccess(claims, []), services)
  await caller.remember?.()
  answer(caller, command, action, rooms)
}

export async function leave(caller: Caller, command: Command, action: RoomAction, services: Services): Promise<void> {
  const rooms = roomsOf(caller, action, command)
  for (const room of rooms) caller.contract.checkRoomName(room)
  leaveRooms(caller, rooms, services)
  await caller.remember?.()
  answer(caller, command, action, rooms)
}

function roomsOf(caller: Caller, action: RoomAction, command: Command): readonly string[] {
  if (action.rooms) return action.rooms(senderOf(caller))
  const room = action.room?.(command.data)
  if (typeof room !== 'string') throw new BrokerError('INVALID_ROOM', undefined, { room: null })
  return [room]
}

function answer(caller: Caller, command: Command, action: RoomAction, rooms: readonly string[]): void {
  if (caller.closed) return
  for (const room of rooms) if (action.reply) caller.reply(action.reply(room, command), command)
  if (action.acknowledgement) command.acknowledge?.(action.acknowledgement(rooms[0] ?? '', command))
}
