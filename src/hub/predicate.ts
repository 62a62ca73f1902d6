/**
 * What a connection wants of a room's events, compiled to a list of clauses. Each clause says: the event has no value
 * for this field, or one of these. Connections with equal predicates form one interest group.
 */
export interface Predicate {
  /** Equal for equal predicates. */
  readonly key: string
  /** The filters as the client set them; `clauses` also holds what its token allows. */
  readonly filters: readonly Clause[]
  readonly clauses: readonly Clause[]
}

export interface Clause {
  /** Index into an event's field values. */
  readonly field: number
  readonly allowed: ReadonlySet<string>
}

export type FieldValues = readonly (readonly string[] | undefined)[]

/** @param access what the token allows @param filters what the client asked for @returns undefined: everything */
export function compilePredicate(access: readonly Clause[], filters: readonly Clause[]): Predicate | undefined {
  if (access.length === 0 && filters.length === 0) return undefined
  const clauses = [...access, ...filters]
  const key = clauses
    .map(({ field, allowed }) => JSON.stringify([field, ...[...allowed].sort()]))
    .sort()
    .join('')
  return { key, filters, clauses }
}

/** Whether an event with these field values is wanted. */
export function accepts(predicate: Predicate, fieldValues: FieldValues): boolean {
  for (const { field, allowed } of predicate.clauses) {
    const values = fieldValues[field]
    if (values !== undefined && !anyOf(values, allowed)) return false
  }
  return true
}

function anyOf(values: readonly string[], allowed: ReadonlySet<string>): boolean {
  for (const value of values) if (allowed.has(value)) return true
  return false
}

/** A field's values as predicates compare them: as text, numbers too. @returns undefined if the event has none */
export function valuesOf(value: unknown): readonly string[] | undefined {
  if (value === undefined || value === null) return undefined
  if (Array.isArray(value)) return value.map(String)
  return [String(value)]
}
