import type { Side } from '../peers/peer.ts'
import { FIGURE_NAMES, rowOf } from './figures.ts'
import type { Figures, Run } from './result.ts'

/** All rounds of one side in one case. */
export interface Summary {
  readonly side: Side
  readonly case: string
  readonly rounds: readonly Run[]
  /** Medians of what is measured, sums of what is counted. */
  readonly figures: Figures
}

export function summaries(runs: readonly Run[]): Summary[] {
  const groups = new Map<string, Run[]>()
  for (const run of runs) {
    const key = `${run.case}\n${run.side}`
    groups.set(key, [...(groups.get(key) ?? []), run])
  }
  return [...groups.values()].map((rounds) => {
    const { side, case: of } = rounds[0] as Run
    return { side, case: of, rounds, figures: summary(rounds.map(({ figures }) => figures)) }
  })
}

/** The side that Roomcast is compared with. */
export function baseOf(all: readonly Summary[]): Summary | undefined {
  return all.find(({ side }) => side === 'raw') ?? all.find(({ side }) => side === 'before')
}

function summary(all: readonly Figures[]): Figures {
  return Object.fromEntries(
    FIGURE_NAMES.flatMap((name) => {
      const values = all.flatMap((figures) => figures[name] ?? [])
      if (values.length === 0) return []
      const { over } = rowOf(name)
      return [
        [
          name,
          over === 'sum'
            ? values.reduce((sum, value) => sum + value, 0)
            : over === 'max'
              ? Math.max(...values)
              : median(values),
        ],
      ]
    }),
  )
}

/** @returns NaN where there are no values */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
