import { existsSync } from 'node:fs'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { PeerName } from '../peers/peer.ts'
import { PEER_NAMES } from '../peers/peers.ts'
import type { Result } from '../report/result.ts'
import type { ProtocolName } from '../events/workload.ts'

/** Options that scenarios have in common. */

const PROTOCOL_NAMES = ['raw', 'socketio']

export function number(flags: string, about: string, fallback: number, min: number): Option {
  const whole = Number.isInteger(min)
  return new Option(flags, about).default(fallback).argParser((text) => oneNumber(text, min, whole))
}

/** Several, comma separated: each is measured. */
export function numbers(flags: string, about: string, fallback: readonly number[], min: number): Option {
  const whole = Number.isInteger(min)
  return new Option(flags, about)
    .default(fallback, fallback.join(','))
    .argParser((text) => text.split(',').map((part) => oneNumber(part, min, whole)))
}

function oneNumber(text: string, min: number, whole: boolean): number {
  const value = Number(text)
  if (text.trim() === '' || !(value >= min) || (whole && !Number.isInteger(value)))
    throw new InvalidArgumentError(`It wants a ${whole ? 'whole ' : ''}number from ${min} on.`)
  return value
}

export function protocol(): Option {
  return new Option('--protocol <name>', 'what the clients speak').choices(PROTOCOL_NAMES).default('raw')
}

/** @param about who is measured by default */
export function peers(about: string): Option {
  return new Option(
    '--peers <list>',
    `who is measured beside Roomcast, comma separated: ${PEER_NAMES.filter((name) => name !== 'roomcast').join(', ')}; or none (default: ${about})`,
  ).argParser((text) => {
    const names = text === 'none' ? [] : text.split(',')
    for (const name of names)
      if (!(PEER_NAMES as string[]).includes(name)) throw new InvalidArgumentError(`There is no ${name}.`)
    return names as PeerName[]
  })
}

/**
 * The bench makes V8 collect garbage to measure memory, and V8 collects twice more some 8 s later. Measuring starts
 * after that.
 */
export const warmup = () =>
  number(
    '--warmup <s>',
    'time before it under the same load, past the collections of garbage that weighing the memory causes some 8 s later',
    10,
    0,
  )
export const seed = () => number('--seed <n>', 'of everything that is left to chance', 1, 0)
export const profile = () =>
  new Option('--profile <folder>', 'write CPU profiles of the servers there; the figures include what that costs')
export const otherBuild = () =>
  new Option(
    '--against <main.js>',
    'dist/main.js of another build: both run side by side and are measured in turn; the verdict is the ratio of the two',
  )
export const check = () => new Option('--check', 'exit code 1 when a threshold is not met')

export interface CommonFlags {
  readonly protocol: ProtocolName
  readonly peers?: readonly PeerName[]
  readonly seed: number
  readonly profile?: string
  readonly check?: true
}

/** Who is measured: Roomcast, and those asked for. */
export function sidesOf({ peers: asked }: CommonFlags, byDefault: readonly PeerName[]): PeerName[] {
  return ['roomcast', ...(asked ?? byDefault)]
}

/** Refuses a build that is not there. */
export function checkedAgainst({ against }: { readonly against?: string }, command: Command): void {
  if (against !== undefined && !existsSync(against)) command.error(`error: --against: there is no ${against}`)
}

/** With `--check`: ends the process with 1 if a threshold is not met. */
export function checked({ check: asked }: { readonly check?: true }, result: Result): void {
  if (asked && result.thresholds.some(({ met }) => !met)) process.exit(1)
}

/** The flags as shown in results, without those that are not worth showing. */
export function settingsOf(flags: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(flags)
      .filter(([name, value]) => value !== undefined && !['check', 'seed'].includes(name))
      .map(([name, value]) => [name, Array.isArray(value) && value.length === 0 ? 'none' : value]),
  )
}

export type AddScenario = (program: Command) => void
