import { BrokerError } from '../errors.ts'
import { reportFault } from '../guarded.ts'
import type { Contract } from './contract.ts'
import { WRONG } from './results.ts'
import { CONTRACT, type Fields, type FunctionKind, type Kind, type OnFault } from './shape.ts'
import type { Failure } from './command.ts'

type AnyFunction = (...args: readonly unknown[]) => unknown

/**
 * Wraps each function of a contract in a closure that throws nothing but BrokerErrors. A function that throws, or
 * returns a wrong value, affects only the one command or event, as its row of the table in `shape.ts` says. Call it
 * once, when the contract is compiled; the broker calls only the wrapped functions.
 */
export function guardContract(contract: Contract): Contract {
  return guardFields(contract as unknown as Record<string, unknown>, CONTRACT, contract.app, '') as unknown as Contract
}

function guardFields(
  value: Readonly<Record<string, unknown>>,
  fields: Fields,
  app: string,
  place: string,
): Record<string, unknown> {
  const kindOfField = (name: string) => (Object.hasOwn(fields, name) ? fields[name] : undefined)
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => {
      const kind = kindOfField(name)
      return [
        name,
        kind === undefined || item === undefined
          ? item
          : guardKind(item, kind, value, app, place === '' ? name : `${place}.${name}`),
      ]
    }),
  )
}

function guardKind(value: unknown, kind: Kind, owner: unknown, app: string, place: string): unknown {
  switch (kind.is) {
    case 'function':
      return guardFunction(value as AnyFunction, kind, owner, app, place)
    case 'list':
      return (value as unknown[]).map((item, index) => guardKind(item, kind.of, value, app, `${place}[${index}]`))
    case 'map':
      return Object.fromEntries(
        Object.entries(value as object).map(([key, item]) => [
          key,
          guardKind(item, kind.of, value, app, `${place}["${key}"]`),
        ]),
      )
    case 'object':
      return guardFields(value as Record<string, unknown>, kind.fields, app, place)
    case 'variant': {
      const fields = kind.of.get((value as Record<string, string>)[kind.by] as string)
      return fields ? guardFields(value as Record<string, unknown>, fields, app, place) : value
    }
    default:
      return value
  }
}

function guardFunction(
  given: AnyFunction,
  kind: FunctionKind,
  owner: unknown,
  app: string,
  place: string,
): AnyFunction {
  const call = given.bind(owner) as AnyFunction
  const { result, onFault, parts } = kind
  const { fits, take } = result
  const settle = (value: unknown, args: readonly unknown[]): unknown => {
    const taken = take ? take(value) : WRONG
    if (taken !== WRONG) return taken
    // Nothing awaits this promise; a rejection must not end the process.
    if (value instanceof Promise) value.catch(() => {})
    return fault(new TypeError(`wants ${result.wanted}, and returned ${kindOf(value)}`), args)
  }
  const fault = (error: unknown, args: readonly unknown[]): unknown => {
    if (onFault === 'refuse' && error instanceof BrokerError) throw error
    report(app, place, error)
    return outcomeOf(onFault, app, place, args)
  }
  // Functions on the data path have at most two arguments, so no argument list has to be allocated.
  if (kind.hot) {
    return (first: unknown, second: unknown) => {
      let value: unknown
      try {
        value = call(first, second)
      } catch (error) {
        return fault(error, NO_ARGUMENTS)
      }
      return fits(value) ? value : settle(value, NO_ARGUMENTS)
    }
  }
  return (...args) => {
    let value: unknown
    try {
      value = call(...args)
    } catch (error) {
      return fault(error, args)
    }
    const settled = fits(value) ? value : settle(value, args)
    return parts && typeof settled === 'object' && settled !== null
      ? guardFields(settled as Record<string, unknown>, parts, app, `${place}()`)
      : settled
  }
}

const NO_ARGUMENTS: readonly unknown[] = []

function outcomeOf(onFault: OnFault, app: string, place: string, args: readonly unknown[]): unknown {
  switch (onFault) {
    case 'refuse':
      throw new BrokerError('INTERNAL')
    case 'leave out':
      throw new BrokerError('INVALID_EVENT', `A function of the contract ${app} failed on it: ${place}`)
    case 'no':
      return false
    case 'nothing':
      return undefined
    case 'no rooms':
      return []
    case 'say so':
      return { type: 'error', data: failureIn(args) }
    case 'answer so': {
      const failure = failureIn(args)
      return {
        acknowledgement: [{ status: 'error', error_code: failure.code, error_message: failure.message }],
        message: { type: 'error', data: failure },
      }
    }
  }
}

/** The failure that the function was to report, or INTERNAL if it was given none. */
function failureIn([first]: readonly unknown[]): Pick<Failure, 'code' | 'message'> {
  const { code, message } = (typeof first === 'object' && first !== null ? first : {}) as Partial<Failure>
  if (typeof code === 'string' && typeof message === 'string') return { code, message }
  const internal = new BrokerError('INTERNAL')
  return { code: internal.code, message: internal.message }
}

function report(app: string, place: string, error: unknown): void {
  const told = new Error(`contract ${app}: ${place}: ${textOf(error)}`)
  if (error instanceof Error) told.stack = `${told.message}\n${error.stack}`
  reportFault('contract function', told)
}

/** Converts any thrown value to text; never throws. */
function textOf(error: unknown): string {
  try {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error)
  } catch {
    return 'something without a text'
  }
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (value instanceof Promise) return 'a promise'
  return Array.isArray(value) ? 'a list that does not fit' : `a ${typeof value}`
}
