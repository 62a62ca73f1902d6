/** The token's claims (docs/security.md). */
export interface Claims {
  /** The user's id. */
  readonly sub: string
  /** Seconds since 1970. */
  readonly exp: number
  readonly name?: string
  readonly roles?: readonly string[]
  readonly permissions?: readonly string[]
  readonly project_access?: readonly string[]
  readonly library_access?: readonly string[]
  readonly agent_access?: readonly string[]
  readonly session_access?: readonly string[]
}

/** A user as others see them. */
export interface User {
  readonly id: string
  /** The token's `name`, or the id if it has none. */
  readonly name: string
}

export function userOf({ sub, name }: Claims): User {
  return { id: sub, name: typeof name === 'string' && name !== '' ? name : sub }
}
