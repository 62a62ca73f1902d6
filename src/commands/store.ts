import { randomUUID } from 'node:crypto'
import type { Command, StoreEffect } from '../contracts/contract.ts'
import { requestService } from './forward.ts'
import { type Caller, senderOf, type Services } from './caller.ts'

/** Stores an event that a client sends; where the contract says so, a service gets a command with it. */
export async function store(caller: Caller, command: Command, effect: StoreEffect, services: Services): Promise<void> {
  const sender = senderOf(caller)
  const event = effect.event(command, sender, randomUUID())
  await services.source.publish(`events.${caller.contract.app}.${event.type}`, Buffer.from(JSON.stringify({ data: event.data })))
  command.acknowledge?.([{ status: 'success' }])
  const forwarded = effect.forward?.(event, command, sender)
  if (!forwarded) return
  const outcome = forward(caller, forwarded, services)
  caller.answersLater?.(outcome)
}

async function forward(caller: Caller, { type, data, failed }: NonNullable<ReturnType<NonNullable<StoreEffect['forward']>>>, services: Services): Promise<void> {
  const startMs = Date.now()
  const outcome = await requestService(caller, { type, data }, services)
  if (!outcome.ok && !caller.closed) caller.reply(failed(outcome.failure, Date.now() - startMs))
}
