import type { Side } from './protocol.ts'
import type { Figures } from './side.ts'

/** All sides, one after the other, so under about the same circumstances. A peer that did not manage is left out. */
export type Round = { readonly raw: Figures; readonly roomcast: Figures } & { readonly [S in Side]?: Figures }

export const cpuRatio = ({ raw, roomcast }: Round) => roomcast.cpuUs / raw.cpuUs
export const p99Ratio = ({ raw, roomcast }: Round) => roomcast.latency.p99Ms / raw.latency.p99Ms
export const handshakeRatio = ({ raw, roomcast }: Round) => roomcast.handshakeUs / raw.handshakeUs
export const memoryDifferenceBytes = ({ raw, roomcast }: Round) => roomcast.connectionBytes - raw.connectionBytes

/** The figures of a side in the rounds in which it has any. */
export function figuresOf(side: Side, rounds: readonly Round[]): Figures[] {
  return rounds.flatMap((round) => round[side] ?? [])
}

/** @returns NaN where there are no values */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
