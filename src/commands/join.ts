import type { CompiledContract } from '../contracts/compiled.ts'
import type { Claims, Command, RoomEffect } from '../contracts/contract.ts'
import { BrokerError } from '../errors.ts'
import type { Source } from '../source/source.ts'
import type { Caller, Services } from './caller.ts'

/** Joins one room by name; the contract's `rooms` say which there are, and who may. */
export async function join(caller: Caller, command: Command, effect: RoomEffect, { hub, source, roomsMax }: Services): Promise<void> {
  const { contract, claims, session } = caller
  const room = roomOf(effect, command)
  await checkJoin(contract, claims, room, source)
  if (caller.closed) return
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
