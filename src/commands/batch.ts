import type { BatchAction } from '../contracts/action.ts'
import { BrokerError } from '../errors.ts'
import type { Caller } from './caller.ts'
import type { Command } from '../contracts/command.ts'

/** What cannot stand in a batch: another one, and what would leave the rest of it to nobody. */
const ALONE = new Set(['batch', 'logout'])

/**
 * Carries out several commands, one after another, each as if it had come alone: the same checks, limits and answers.
 * The acknowledgement holds what each was acknowledged with.
 * @param carryOut carries out one command; its failure is told there
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
    // The first was counted as the batch arrived.
    if (index > 0 && caller.admits?.(one) === false) continue
    if (ALONE.has(caller.contract.commands.get(type)?.action.use ?? ''))
      caller.fail(new BrokerError('INVALID_MESSAGE', `"${type}" cannot stand in a batch`), one)
    else await carryOut(one)
  }
  command.acknowledge?.([{ status: 'success', results: Array.from(results, (result) => result ?? null) }])
}
