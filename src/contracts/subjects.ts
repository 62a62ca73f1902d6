import type { Reading } from '../log/body.ts'
import { intersects, wildcardsIn } from '../subjects.ts'
import type { Contract, SubjectContract } from './contract.ts'

/** Subjects on which brokers, clients and NATS itself talk: a stream that held them would answer for services. */
const TAKEN = ['commands.>', 'roomcast.>', 'ask.>']

/** A pattern of a contract's `subjects`, ready to read messages with. */
export interface CompiledSubject {
  readonly pattern: string
  /** @returns how to read a message of that subject; undefined if the pattern does not match */
  readonly match: (tokens: readonly string[]) => Reading | undefined
}

/** @param given checked by `subjectFaults` */
export function compileSubjects({ subjects = {} }: Contract): readonly CompiledSubject[] {
  return Object.entries(subjects).map(([pattern, subject]) => ({ pattern, match: matchOf(pattern, subject) }))
}

function matchOf(pattern: string, { type, fields = {}, body = 'envelope' }: SubjectContract): CompiledSubject['match'] {
  const tokens = pattern.split('.')
  const given = Object.entries(fields)
  const numbered = given.filter(([, value]) => numberIn(value) !== undefined)
  const attributes = given
    .filter(([, value]) => numberIn(value) === undefined)
    .map(([name, value]) => [name, value.slice(1)] as const)
  const used = new Set(numbered.map(([, value]) => numberIn(value)))
  return (subject) => {
    const found = wildcardsIn(tokens, subject)
    if (found === undefined) return undefined
    const free = found.filter((_, index) => !used.has(index + 1))
    return {
      body,
      type:
        type?.replaceAll(/\$(\d)/g, (_, number) => found[Number(number) - 1] ?? '') ??
        (free.length > 0 ? free : subject).join('.'),
      typeIsFixed: type !== undefined,
      fields: numbered.map(([name, value]) => [name, found[(numberIn(value) as number) - 1] as string] as const),
      attributes,
    }
  }
}

/** What is wrong with a contract's `subjects`, as places and reasons. */
export function subjectFaults({ app, subjects = {} }: Contract): readonly (readonly [place: string, reason: string])[] {
  const faults: (readonly [string, string])[] = []
  const before: string[] = []
  for (const [pattern, { type, fields = {}, body }] of Object.entries(subjects)) {
    const place = `subjects["${pattern}"]`
    const reason = patternFault(pattern, app)
    if (reason !== undefined) faults.push([place, reason])
    const earlier = before.find((other) => wildcardsIn(other.split('.'), pattern.split('.')) !== undefined)
    if (earlier !== undefined) faults.push([place, `comes after "${earlier}", which takes its subjects`])
    before.push(pattern)
    const wildcards = pattern.split('.').filter((token) => token === '*' || token === '>').length
    for (const [, number] of (type ?? '').matchAll(/\$(\d*)/g))
      if (!(Number(number) >= 1 && Number(number) <= wildcards))
        faults.push([`${place}.type`, `has $${number}, and the pattern has ${wildcards} wildcards`])
    for (const [name, value] of Object.entries(fields)) {
      const number = numberIn(value)
      if (name === '__proto__') faults.push([`${place}.fields`, 'has a name that every object has'])
      if (number !== undefined && (number < 1 || number > wildcards))
        faults.push([`${place}.fields.${name}`, `is ${value}, and the pattern has ${wildcards} wildcards`])
      else if (number === undefined && !/^\$[a-z][a-z0-9]*$/.test(value))
        faults.push([`${place}.fields.${name}`, 'wants $1 for the first wildcard, or $subject and the like'])
      else if (number === undefined && body !== 'cloudevents')
        faults.push([`${place}.fields.${name}`, `is ${value}, an attribute of CloudEvents (body: 'cloudevents')`])
    }
    if (type === undefined && wildcards > 0 && new Set(Object.values(fields).map(numberIn)).size >= wildcards)
      if (body === 'flat' && Object.values(fields).every((value) => numberIn(value) !== undefined))
        faults.push([place, 'wants a `type`: `fields` uses every wildcard'])
  }
  return faults
}

/** Two contracts may not read the same subject: an event belongs to one application. */
export function sharedSubject(one: Contract, other: Contract): string | undefined {
  const others = [...Object.keys(other.subjects ?? {}), `events.${other.app}.>`]
  return Object.keys(one.subjects ?? {}).find((pattern) => others.some((taken) => intersects(pattern, taken)))
}

function patternFault(pattern: string, app: string): string | undefined {
  if (!/^[^\s.*>$_][^\s.*>]*(\.([^\s.*>]+|\*))*(\.>)?$/.test(pattern))
    return 'is no pattern of subjects: tokens between dots, * for one of them, > at the end for the rest; the first is a name, without $ or _ before it'
  const taken = [...TAKEN, `events.${app}.>`].find((other) => intersects(pattern, other))
  return taken === undefined ? undefined : `takes ${taken}, which Roomcast uses itself`
}

function numberIn(value: string): number | undefined {
  return /^\$\d$/.test(value) ? Number(value.slice(1)) : undefined
}
