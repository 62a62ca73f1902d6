import { BrokerError } from '../errors.ts'
import type { Caller } from './caller.ts'
import type { Services } from './services.ts'
import { renewClient } from './lifecycle.ts'
import type { Claims } from '../contracts/claims.ts'
import type { Command } from '../contracts/command.ts'

/**
 * `authenticate {token}` → `authenticated {user_id, expires_at}`: renews the identity in place. If the token is bad or
 * belongs to another user, the session keeps its current identity until that expires.
 * The client leaves the rooms that the new token does not allow; an `unsubscribed` before the answer names them.
 */
export function authenticate(caller: Caller, command: Command<{ token: string }>, services: Services): void {
  let claims: Claims
  try {
    claims = services.verify(command.data.token)
  } catch (error) {
    throw new BrokerError('AUTH_FAILED', error instanceof BrokerError ? error.message : undefined)
  }
  if (claims.sub !== caller.claims.sub) throw new BrokerError('AUTH_FAILED', "The token is another user's")
  const left = renewClient(caller, claims, services)
  if (left.length > 0) caller.reply({ type: 'unsubscribed', data: { events: [], rooms: left } })
  caller.reply(
    { type: 'authenticated', data: { user_id: claims.sub, expires_at: new Date(claims.exp * 1000).toISOString() } },
    command,
  )
}
