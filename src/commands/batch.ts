import type { BatchAction } from '../contracts/action.ts'
import { BrokerError } from '../errors.ts'
import type { Caller } from './caller.ts'
import type { Command } from '../contracts/command.ts'

/**
 * Commands that a batch cannot contain: another batch, and `logout`, which would leave the commands after it without a
 * user.
 */
const ALONE = new Set(['batch', 'logout'])

/**
 * Carries out several commands one after another, each with the checks, limits and answers it would have on its own.
 * The batch's acknowledgement lists the acknowledgement of each command.
 * @param carryOut carries out one command and answers its failure
 */
export async function batch(
  caller: Caller,
  command: Command,
  action: BatchAction,
  carryOut: (command: Command) => Promise<void> | undefined,
): Promise<void> {
  const results: unknown[] = []
  for (const [index, { type, data }] of action.commands(command.data).entries()) {
    if (caller.closed) return
    const one: Command = { type, data: data ?? {}, acknowledge: ([value]) => (results[index] = value) }
    // The first command was counted when the batch arrived.
    if (index > 0 && caller.admits?.(one) === false) continue
    if (ALONE.has(caller.contract.commands.get(type)?.action.use ?? ''))
      caller.fail(new BrokerError('INVALID_MESSAGE', `"${type}" cannot stand in a batch`), one)
    else await carryOut(one)
  }
  command.acknowledge?.([{ status: 'success', results: Array.from(results, (result) => result ?? null) }])
}
