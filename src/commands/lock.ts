import type { Message } from '../contracts/contract.ts'
import type { LockAction } from '../contracts/action.ts'
import { BrokerError, EXCERPT_MAX } from '../errors.ts'
import { type Caller, checkStored, checkWithin } from './caller.ts'
import type { Services } from './services.ts'
import type { Command } from '../contracts/command.ts'
import type { Lock } from '../contracts/lock.ts'

/** Locks a resource for the caller's user. A conflict throws LOCKED, with the holder in its details. */
export async function lock(
  caller: Caller,
  command: Command,
  action: LockAction,
  { locks, source, locksMax, storedBytes }: Services,
): Promise<void> {
  checkWithin(caller, command, action.within)
  const { app, contract } = caller.contract
  const resource = action.resource(command.data)
  const mode = action.mode?.(command.data) ?? 'exclusive'
  checkLockEvent(caller, contract.locks?.locked({ resource, mode, userId: caller.claims.sub }))
  // Charge the events of the lock and of its release now: once the lock has changed hands, neither may be dropped.
  storedBytes.take(caller.claims.sub, 2 * Buffer.byteLength(JSON.stringify(resource)), Date.now())
  const grant = await locks.acquire(app, resource, caller.claims.sub, mode, locksMax, () => {
    if (caller.closed || caller.endIfExpired(Date.now())) throw new BrokerError('AUTH_EXPIRED')
  })
  if (!grant.granted) throw lockedBy(grant.holder.userId, resource)
  for (const freed of grant.freed) await storeLockEvent(app, contract.locks?.unlocked(freed), source)
  await tell(caller, command, action, grant.changed, contract.locks?.locked(grant.lock), source)
}

/** Releases a resource; throws NOT_LOCKED or LOCKED if the caller's user does not hold it. */
export async function unlock(
  caller: Caller,
  command: Command,
  action: LockAction,
  { locks, source }: Services,
): Promise<void> {
  checkWithin(caller, command, action.within)
  const { app, contract } = caller.contract
  const resource = action.resource(command.data)
  checkLockEvent(caller, contract.locks?.unlocked({ resource, mode: 'exclusive', userId: caller.claims.sub }))
  const { lock: held, others } = await locks.release(app, resource, caller.claims.sub)
  if (held === undefined)
    throw others[0] ? lockedBy(others[0].userId, resource) : new BrokerError('NOT_LOCKED', undefined, resource)
  await tell(caller, command, action, true, contract.locks?.unlocked(held), source)
}

/** Checks, before the lock changes hands, that its event goes only to rooms that the caller may be in. */
function checkLockEvent(caller: Caller, message: Message | undefined): void {
  if (message) checkStored(caller, message.type, lockEventBody(message))
}

function lockedBy(holder: string, resource: Lock['resource']): BrokerError {
  return new BrokerError('LOCKED', `${holder.slice(0, EXCERPT_MAX)} holds the lock`, { holder, ...resource })
}

/**
 * Stores the event if something changed. The caller gets it as a direct reply if nothing changed or if the caller is
 * not in the room.
 */
async function tell(
  caller: Caller,
  command: Command,
  action: LockAction,
  changed: boolean,
  message: ReturnType<NonNullable<typeof caller.contract.contract.locks>['locked']> | undefined,
  source: Services['source'],
): Promise<void> {
  if (changed) await storeLockEvent(caller.contract.app, message, source)
  if (caller.closed) return
  const room = action.within?.(command.data)
  if (message && (!changed || room === undefined || !caller.subscriber.groupIn(room))) caller.reply(message, command)
  command.acknowledge?.([{ status: 'success' }])
}

export async function storeLockEvent(
  app: string,
  message: { readonly type: string; readonly data: unknown } | undefined,
  source: Services['source'],
): Promise<void> {
  if (message) await source.publish(`events.${app}.${message.type}`, lockEventBody(message))
}

function lockEventBody({ data }: { readonly data: unknown }): Uint8Array {
  return Buffer.from(JSON.stringify({ data }))
}
