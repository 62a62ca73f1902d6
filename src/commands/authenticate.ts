import type { Command } from '../contracts/contract.ts'
import { BrokerError } from '../errors.ts'
import type { Caller, Services } from './caller.ts'

/**
 * `authenticate {token}` → `authenticated {user_id, expires_at}`: renews the identity in place. With a bad token, or
 * another user's, the session keeps the identity that it has until that expires (specs/README.md, "game-djinn").
 */
export function authenticate(caller: Caller, command: Command<{ token: string }>, { hub, verify }: Services): void {
  let claims: ReturnType<typeof verify>
  try {
    claims = verify(command.data.token)
  } catch (error) {
    throw new BrokerError('AUTH_FAILED', error instanceof BrokerError ? error.message : undefined)
  }
  if (claims.sub !== caller.claims.sub) throw new BrokerError('AUTH_FAILED', 'The token is another user\'s')
  caller.renew(claims)
  hub.rejoin(caller.session, (before) => caller.contract.withAccess(claims, before?.filters ?? []))
  caller.reply({ type: 'authenticated', data: { user_id: claims.sub, expires_at: new Date(claims.exp * 1000).toISOString() } }, command)
}
