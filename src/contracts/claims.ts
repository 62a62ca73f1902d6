/** The token's claims (docs/security.md). */
export interface Claims {
  /** The user's id. */
  readonly sub: string
  /** Seconds since 1970. */
  readonly exp: number
  readonly name?: string
  readonly roles?: readonly string[]
  readonly permissions?: readonly string[]
  /** The others, as whoever signed the token has them. Read those that a contract declares with `listClaim`. */
  readonly [claim: string]: unknown
}

/** Claims that every contract has: lists of texts. */
const COMMON_LISTS = ['roles', 'permissions'] as const

/** The claims that must be lists of texts where a token has them: the common ones, and those that contracts declare. */
export function listClaimsOf(contracts: readonly { readonly claims?: readonly string[] }[]): readonly string[] {
  return [...new Set([...COMMON_LISTS, ...contracts.flatMap(({ claims = [] }) => claims)])]
}

/** A claim that is a list of texts. Undefined: the token has no such claim. One that is no list names nothing. */
export function listClaim(claims: Claims, name: string): readonly string[] | undefined {
  const value = claims[name]
  return value === undefined || Array.isArray(value) ? value : []
}

/** Whether a claim that is a list names this value, or `*` for all. A token without the claim names nothing. */
export function claimNames(claims: Claims, name: string, value: string): boolean {
  const list = listClaim(claims, name)
  return list !== undefined && (list.includes('*') || list.includes(value))
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
