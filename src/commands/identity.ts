import type { IdentityAction } from '../contracts/action.ts'
import { BrokerError } from '../errors.ts'
import type { Caller } from './caller.ts'
import type { Command } from '../contracts/command.ts'

/** Answers with the caller's identity; `refresh` reads it again first, `logout` ends it. */
export async function identity(caller: Caller, command: Command, action: IdentityAction): Promise<void> {
  if (caller.authenticated === false) throw new BrokerError('AUTH_MISSING', 'Authenticate first')
  const claims = action.use === 'refresh' ? ((await caller.refresh?.()) ?? caller.claims) : caller.claims
  if (action.use === 'logout') await caller.logOut?.()
  caller.reply(action.reply(claims), command)
  command.acknowledge?.([{ status: 'success' }])
}
