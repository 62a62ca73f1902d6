import type { Random } from './random.ts'

/** Names that mean something to JavaScript, or to a protocol. */
export const ODD_KEYS = [
  '__proto__',
  'constructor',
  'prototype',
  'hasOwnProperty',
  'toString',
  'valueOf',
  '__defineGetter__',
  '__lookupSetter__',
  'toJSON',
  'then',
  'length',
  '_placeholder',
  'num',
  'type',
  'data',
  'id',
  'args',
  'rooms',
  'user_id',
  '',
  '0',
  '-1',
  ' ',
  '.',
  '*',
  '>',
] as const
const ODD_TEXTS = [
  '',
  ' ',
  '.',
  '..',
  '*',
  '>',
  'a.b',
  'a.*',
  'a b',
  'a\r\nb',
  '\u0000',
  '\u001f',
  '\u007f',
  'é',
  '\u2028',
  '\ud800',
  '\udc00x',
  '😀',
  '\u202eabc',
  '{}',
  '[]',
  '{sid}',
  '{pid}',
  '{offset}',
  'null',
  'NaN',
  '1e999',
  '%',
  '%00',
  '%2e%2e',
  '%ff',
  '../../etc/passwd',
  '/',
  '//',
  ':',
  'project:',
  'project:p1:x',
  'user:',
  'session:',
  'everyone',
  'monitoring',
  'global',
  'a-1',
  'abc-0',
  '-1',
  '0',
  '2026-01-01T00:00:00Z',
  '9999-99-99',
  'Bearer x',
  'eyJ',
  'eyJhbGciOiJub25lIn0.e30.',
  'connect',
  'disconnect',
  'connect_error',
  'newListener',
  'message',
  '$SYS',
  '_INBOX.x',
] as const
const LENGTHS = [1, 16, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1_000, 4_095, 4_096, 8_192] as const
const ODD_NUMBERS = [
  0,
  -0,
  1,
  -1,
  1.5,
  1e308,
  -1e308,
  5e-324,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 53,
  2 ** 53 + 2,
  1e21,
  9_999_999_999_999,
  8.64e15,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
] as const

export function oddText(random: Random): string {
  return random.one(
    () => random.pick(ODD_TEXTS),
    () => random.pick(ODD_KEYS),
    () => random.pick(['x', 'é', '.', '-', '9', '/', '%', '\u0000']).repeat(random.pick(LENGTHS)),
    () => String.fromCharCode(...random.some(20, () => random.int(0x10000))),
    () => random.bytes(random.int(30)).toString('latin1'),
  )
}

export function oddNumber(random: Random): number {
  return random.one(
    () => random.pick(ODD_NUMBERS),
    () => random.int(1_000) - 500,
    () => random.int(2 ** 31) * random.int(2 ** 31),
  )
}

/** Any value that a decoder may hand over. */
export function oddValue(random: Random, depth = 3): unknown {
  if (depth === 0) return random.pick([null, 0, ''])
  return random.one<unknown>(
    () => random.pick([null, true, false]),
    () => oddNumber(random),
    () => oddText(random),
    () => random.pick(IDS),
    () => random.some(8, () => oddValue(random, depth - 1)),
    () => Object.fromEntries(random.some(6, () => [random.pick(ODD_KEYS), oddValue(random, depth - 1)])),
    () => ({ _placeholder: true, num: random.pick<unknown>([0, 1, -1, 1.5, '0', null, 1e9]) }),
    () => nested(random.pick([10, 100, 1_000]), random.chance(0.5)),
    () => new Array(random.pick([10, 300, 3_000])).fill(random.pick([0, '', null, {}, 'p1'])),
  )
}

function nested(depth: number, inArrays: boolean): unknown {
  let value: unknown = inArrays ? [] : {}
  for (let i = 0; i < depth; i++) value = inArrays ? [value] : { data: value }
  return value
}

/** Ids that tokens of the fuzzer give access to, so that what is valid gets far. */
const IDS = ['p1', 'p2', 'c1', 's1', 's2', 'u1', 'u2'] as const

export function anyId(random: Random): string {
  return random.pick(IDS)
}

/** JSON Schema, as TypeBox writes it. */
interface Schema {
  readonly type?: string
  readonly const?: unknown
  readonly anyOf?: readonly Schema[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly patternProperties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly pattern?: string
  readonly maxLength?: number
}

/** A value that a schema allows, mostly. */
export function validValue(given: unknown, random: Random, key = ''): unknown {
  const schema = (given ?? {}) as Schema
  if ('const' in schema) return schema.const
  if (schema.anyOf) return validValue(random.pick(schema.anyOf), random, key)
  switch (schema.type) {
    case 'object': {
      const values = Object.entries(schema.properties ?? {})
        .filter(([name]) => schema.required?.includes(name) || random.chance(0.5))
        .map(([name, one]) => [name, validValue(one, random, name)])
      const more = schema.patternProperties ? random.some(3, () => [random.pick(ODD_KEYS), oddValue(random, 2)]) : []
      return Object.fromEntries([...values, ...more])
    }
    case 'array':
      return random.some(4, () => validValue(schema.items, random, key))
    case 'string':
      return validText(schema, random, key)
    case 'number':
    case 'integer':
      return random.int(100)
    case 'boolean':
      return random.chance(0.5)
    case 'null':
      return null
    default:
      return oddValue(random, 2)
  }
}

function validText({ pattern, maxLength = 100_000 }: Schema, random: Random, key: string): string {
  if (pattern?.includes('{8}')) return '01234567-89ab-cdef-0123-456789abcdef'
  if (key === 'room' || key === 'rooms')
    return `${random.pick(['project', 'user', 'agent', 'session', 'store', 'library'])}:${anyId(random)}`
  if (key === 'timestamp') return random.pick(['2026-01-01T00:00:00.000Z', 'yesterday'])
  return (random.chance(0.1) ? oddText(random) : anyId(random)).slice(0, maxLength)
}

/** The same value with a few things wrong. */
export function mutated(value: unknown, random: Random): unknown {
  if (random.chance(0.15)) return oddValue(random)
  if (Array.isArray(value)) {
    const changed = [...value]
    if (changed.length === 0 || random.chance(0.3)) changed.push(oddValue(random))
    else changed[random.int(changed.length)] = mutated(changed[random.int(changed.length)], random)
    return changed
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
    const at = random.int(entries.length)
    const [key = '', inner] = entries[at] ?? []
    random.one<unknown>(
      () => entries.push([random.pick(ODD_KEYS), oddValue(random)]),
      () => entries.splice(at, 1),
      () => entries.splice(at, 1, [key, mutated(inner, random)]),
      () => entries.splice(at, 1, [oddText(random), inner]),
      () => entries.splice(at, 1, [key, oddValue(random)]),
    )
    return Object.fromEntries(entries)
  }
  return oddValue(random)
}

/** For the query of a URL; half a surrogate pair has no encoding. */
export function urlPart(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString())
}
