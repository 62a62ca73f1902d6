import { randomUUID } from 'node:crypto'
import type { Command } from '../contracts/contract.ts'
import type { StoreEffect } from '../contracts/effect.ts'
import { requestService } from './forward.ts'
import { type Caller, checkWithin, senderOf, type Services } from './caller.ts'

/** Stores an event that a client sends; where the contract says so, a service gets a command with it. */
export async function store(caller: Caller, command: Command, effect: StoreEffect, services: Services): Promise<void> {
  checkWithin(caller, command, effect.within)
  const sender = senderOf(caller)
  const event = effect.event(command, sender, randomUUID())
  await services.source.publish(`events.${caller.contract.app}.${event.type}`, Buffer.from(JSON.stringify({ data: event.data, rooms: event.rooms })))
  command.acknowledge?.([{ status: 'success' }])
  const forwarded = effect.forward?.(event, command, sender)
  if (forwarded) void forward(caller, forwarded, services)
}

async function forward(caller: Caller, { type, data, failed }: NonNullable<ReturnType<NonNullable<StoreEffect['forward']>>>, services: Services): Promise<void> {
  const startMs = Date.now()
  const outcome = await requestService(caller, { type, data }, services)
  if (outcome.ok || caller.closed) return
  for (const message of [failed(outcome.failure, Date.now() - startMs)].flat()) caller.reply(message)
}
