import type { Claims } from '../../contracts/claims.ts'

/** Where the command that authenticates has its credential, unless a contract says otherwise. */
export function tokenIn(data: unknown): { credential: unknown; userId: unknown } {
  const { token, user_id } = data as { token?: unknown; user_id?: unknown }
  return { credential: token, userId: user_id }
}

/** Claims of a client that has not authenticated. */
export const NOBODY: Claims = { sub: '', exp: Number.MAX_SAFE_INTEGER }

/** Stands for a client's `auth` once it has been welcomed, so that its token is not kept in memory. */
export const WELCOMED: Readonly<Record<string, unknown>> = {}
