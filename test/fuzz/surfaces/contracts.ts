import fc from 'fast-check'
import { checkContract } from '../../../src/contracts/check.ts'
import { CompiledContract } from '../../../src/contracts/compiled.ts'
import type { Contract } from '../../../src/contracts/contract.ts'
import { CONTRACTS } from '../commands.ts'
import { Random } from '../random.ts'
import type { PureSurface } from '../surface.ts'
import { ODD_KEYS, oddValue } from '../values.ts'
import { orRefused, seeds } from './codecs.ts'

/** As `loadConfig` and `check-config` take them. @returns undefined where it is refused */
function accepted(contract: unknown): CompiledContract | undefined {
  return orRefused('CONTRACT_INVALID', () => {
    checkContract(contract as Contract)
    return new CompiledContract(contract as Contract, {}, () => [])
  })
}

export const contracts: PureSurface = {
  name: 'contracts',
  about: 'contracts with mistakes, checked and compiled',
  properties: {
    'a contract is refused as such, or compiles': fc.property(
      fc.nat({ max: CONTRACTS.length - 1 }),
      seeds,
      (index, seed) => {
        const random = new Random(seed)
        accepted(mistaken(CONTRACTS[index] as Contract, random, 1 + random.int(3)))
        return true
      },
    ),
    'a name that means nothing is refused, wherever it stands': fc.property(
      fc.nat({ max: CONTRACTS.length - 1 }),
      seeds,
      (index, seed) => {
        const random = new Random(seed)
        const copy = copied(CONTRACTS[index]) as Holder
        const holder = random.pick(structuresOf(copy))
        const key = random.one(
          () => `${random.pick(Object.keys(holder))}z`,
          () => random.pick(MEANINGLESS),
        )
        Object.defineProperty(holder, key, {
          value: random.pick<unknown>([null, true, {}, () => true, 'x']),
          enumerable: true,
        })
        return accepted(copy) === undefined
      },
    ),
    'anything is refused as a contract': fc.property(
      fc.anything({ withNullPrototype: true, withMap: true, withBigInt: true }),
      (value) => {
        accepted(value)
        return true
      },
    ),
  },
}

type Holder = Record<string, unknown>

const MEANINGLESS = [
  '__proto__',
  'constructor',
  'prototype',
  'hasOwnProperty',
  'toString',
  '__defineGetter__',
  'toJSON',
  'then',
  '',
  '0',
  ' ',
  'allow',
  'limit',
] as const
/** Members whose own members have names that the contract chooses. */
const MAPS = ['events', 'groups', 'rooms', 'filters', 'commands', 'clientRequests']

/** Every object of a contract whose names have a meaning. */
function structuresOf(contract: Holder): Holder[] {
  const members = Object.entries(contract).flatMap(([key, value]) =>
    Array.isArray(value) || MAPS.includes(key) ? Object.values(value as object) : [value],
  )
  const inner = (value: unknown): Holder[] => (isHolder(value) ? [value, ...Object.values(value).flatMap(inner)] : [])
  return [contract, ...members.flatMap(inner)]
}

/** No schema: any name may stand in one. */
function isHolder(value: unknown): value is Holder {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !('~kind' in value)
}

/** The same contract with other values somewhere; its functions and schemas are shared. */
function mistaken(contract: Contract, random: Random, mistakes: number): unknown {
  const copy = copied(contract) as Holder
  for (let i = 0; i < mistakes; i++) {
    const holder = anyHolder(copy, random)
    const key = random.chance(0.85) ? random.pick(Object.keys(holder)) : random.pick(ODD_KEYS)
    // A list takes no other length than a number.
    if (key === undefined || (key === 'length' && Array.isArray(holder))) continue
    if (random.chance(0.2)) delete holder[key]
    else
      Object.defineProperty(holder, key, {
        value: random.one<unknown>(
          () => oddValue(random, 2),
          () => () => oddValue(random, 1),
          () => undefined,
          () => 5n,
          () => Symbol('x'),
        ),
        enumerable: true,
        configurable: true,
        writable: true,
      })
  }
  return copy
}

/** A copy that can be changed; schemas stay whole. */
function copied(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copied)
  if (typeof value !== 'object' || value === null || '~kind' in value) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, copied(inner)]))
}

function anyHolder(root: Holder, random: Random): Holder {
  let holder = root
  while (random.chance(0.75)) {
    const inner = Object.values(holder).filter((value) => Array.isArray(value) || isHolder(value)) as Holder[]
    if (inner.length === 0) break
    holder = random.pick(inner)
  }
  return holder
}
