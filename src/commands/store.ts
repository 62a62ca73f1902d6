import { randomUUID } from 'node:crypto'
import { jsonBody } from '../plain.ts'
import type { StoredEvent, StoreAction } from '../contracts/action.ts'
import { requestService } from './forward.ts'
import { type Caller, checkStored, checkWithin, senderOf } from './caller.ts'
import type { Services } from './services.ts'
import type { Command } from '../contracts/command.ts'

/** Stores an event that a client sent. If the contract says so, a service also gets a command. */
export async function store(caller: Caller, command: Command, action: StoreAction, services: Services): Promise<void> {
  checkWithin(caller, command, action.within)
  const sender = senderOf(caller)
  const event = action.event(command, sender, randomUUID())
  const body = bodyOf(event)
  if (!action.elsewhere) checkStored(caller, event.type, body)
  const forwarded = action.forward?.(event, command, sender)
  await publish(caller, event.type, body, services)
  command.acknowledge?.([{ status: 'success' }])
  if (!forwarded) return
  const outcome = forward(caller, command, forwarded, services)
  caller.answersLater?.(outcome)
}

/**
 * Stores the event that the contract makes of each command (`audit`).
 * @throws BrokerError RATE_LIMITED if it exceeds what the user may store
 */
export function audit(caller: Caller, command: Command, services: Services): void {
  const event = caller.contract.contract.audit?.(command, senderOf(caller))
  // While the source is out of reach, the command either fails itself or stores nothing anyway.
  if (event) publish(caller, event.type, bodyOf(event), services).catch(() => {})
}

function bodyOf({ data, rooms, source }: StoredEvent): Uint8Array {
  return jsonBody({ data, ...(rooms ? { rooms } : undefined), ...(source === undefined ? undefined : { source }) })
}

/** @throws BrokerError RATE_LIMITED, synchronously */
function publish(
  { contract, claims }: Caller,
  type: string,
  body: Uint8Array,
  { source, storedBytes }: Services,
): Promise<unknown> {
  storedBytes.take(claims.sub, body.length, Date.now())
  return source.publish(`events.${contract.app}.${type}`, body)
}

async function forward(
  caller: Caller,
  command: Command,
  { type, data, failed }: NonNullable<ReturnType<NonNullable<StoreAction['forward']>>>,
  services: Services,
): Promise<void> {
  const startMs = Date.now()
  const outcome = await requestService(caller, { type, data }, services)
  if (outcome.ok || caller.closed) return
  // The acknowledgement has already gone out, for the stored event.
  const { acknowledge, ...unanswered } = command
  for (const message of [failed?.(outcome.failure, Date.now() - startMs)].flat())
    caller.fail(outcome.failure, unanswered, message)
}
