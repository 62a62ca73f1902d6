/** Where clients say who they are, unless a contract says otherwise. */
export function tokenIn(data: unknown): { credential: unknown; userId: unknown } {
  const { token, user_id } = data as { token?: unknown; user_id?: unknown }
  return { credential: token, userId: user_id }
}
