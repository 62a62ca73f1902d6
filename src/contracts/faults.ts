import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { BrokerError, EXCERPT_MAX, reasonOf } from '../errors.ts'

/** Lists the faults of a value, one line each. */
export type Check = (value: unknown) => readonly string[]

const NONE: readonly string[] = []
const ALWAYS_RIGHT: Check = () => NONE
const FAULTS_MAX = 8
/** Nested values to examine when listing faults: a megabyte of wrong values would take seconds. */
const LOOKED_AT_MAX = 2_000

/**
 * Compiles a schema to a check. Without a schema, the check accepts everything.
 * @param place where the schema stands, for the error: `shop: events["price"].schema`
 * @throws BrokerError CONTRACT_INVALID where the compiler fails on it, as on one nested too deeply
 */
export function checkOf(schema: TSchema | undefined, place: string): Check {
  if (schema === undefined) return ALWAYS_RIGHT
  const validator = compiled(schema, place)
  return (value) => {
    if (validator.Check(value)) return NONE
    const budget = { left: LOOKED_AT_MAX }
    const first = firstPart(value, budget)
    // Parts that were cut off do not count as missing.
    const faults = validator.Errors(first).filter(({ keyword }) => budget.left > 0 || keyword !== 'required')
    if (faults.length === 0) return [`/: it is not valid, somewhere behind its first ${LOOKED_AT_MAX} values`]
    return faults
      .slice(0, FAULTS_MAX)
      .map((fault) => `${fault.instancePath || '/'}: ${fault.message}`.slice(0, EXCERPT_MAX))
  }
}

function compiled(schema: TSchema, place: string) {
  try {
    return Compile(schema)
  } catch (error) {
    throw new BrokerError('CONTRACT_INVALID', `Contract ${place}: this schema cannot be compiled: ${reasonOf(error)}`)
  }
}

/** Copies a value's nested values in order, up to the budget. */
function firstPart(value: unknown, budget: { left: number }): unknown {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  if (Array.isArray(value)) {
    const items: unknown[] = []
    for (const item of value) {
      if (budget.left <= 0) break
      budget.left--
      items.push(firstPart(item, budget))
    }
    return items
  }
  const fields: [string, unknown][] = []
  for (const key in value) {
    if (budget.left <= 0) break
    budget.left--
    fields.push([key, firstPart((value as Record<string, unknown>)[key], budget)])
  }
  return Object.fromEntries(fields)
}
