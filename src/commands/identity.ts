import type { Command } from '../contracts/contract.ts'
import type { IdentityEffect } from '../contracts/effect.ts'
import { BrokerError } from '../errors.ts'
import type { Caller } from './caller.ts'

/** Says who one is, reads it anew, or ends it. */
export async function identity(caller: Caller, command: Command, effect: IdentityEffect): Promise<void> {
  if (caller.authenticated === false) throw new BrokerError('AUTH_MISSING', 'Authenticate first')
  const claims = effect.use === 'refresh' ? ((await caller.refresh?.()) ?? caller.claims) : caller.claims
  if (effect.use === 'logout') await caller.logOut?.()
  caller.reply(effect.reply(claims), command)
  command.acknowledge?.([{ status: 'success' }])
}
