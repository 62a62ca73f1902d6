import type { Claims } from '../../contracts/claims.ts'

/** Where clients say who they are, unless a contract says otherwise. */
export function tokenIn(data: unknown): { credential: unknown; userId: unknown } {
  const { token, user_id } = data as { token?: unknown; user_id?: unknown }
  return { credential: token, userId: user_id }
}

/** Claims of whoever has yet to say who they are. */
export const NOBODY: Claims = { sub: '', exp: Number.MAX_SAFE_INTEGER }

/** What is left of a client's `auth`, with the token in it, once nobody asks for it. */
export const WELCOMED: Readonly<Record<string, unknown>> = {}
