import type { Side } from '../peers/peer.ts'
import { median } from './summary.ts'
import type { FigureName } from './figures.ts'
import type { Run, Threshold } from './result.ts'

/** The value as text. Written to a file, what could not be measured is null. */
export function valueText({ value }: Threshold): string {
  return !Number.isFinite(value)
    ? 'not measured'
    : Number.isInteger(value)
      ? value.toLocaleString('en')
      : value.toFixed(3)
}

export function threshold(about: string, value: number, max: number): Threshold {
  return { about, value, max, met: value <= max }
}

/**
 * Compares Roomcast with another side in each round, and takes the median. NaN: the other side has no such figure.
 */
export function against(
  runs: readonly Run[],
  other: Side,
  figure: FigureName,
  how: (roomcast: number, other: number) => number,
): number {
  return median(
    runs
      .filter(({ side }) => side === 'roomcast')
      .flatMap((mine) => {
        const theirs = runs.find((run) => run.side === other && run.round === mine.round && run.case === mine.case)
        const [a, b] = [mine.figures[figure], theirs?.figures[figure]]
        return a === undefined || b === undefined ? [] : [how(a, b)]
      }),
  )
}

export const ratio = (a: number, b: number): number => a / b
export const difference = (a: number, b: number): number => a - b

export function medianOf(runs: readonly Run[], side: Side, figure: FigureName): number {
  return median(runs.filter((run) => run.side === side).flatMap(({ figures }) => figures[figure] ?? []))
}

/** No event of Roomcast's may be missing, doubled or out of order. */
export function faultless(runs: readonly Run[]): Threshold {
  const faults = runs
    .filter(({ side }) => side === 'roomcast')
    .reduce(
      (sum, { figures: { missing = 0, twice = 0, disordered = 0, slowMissing = 0 } }) =>
        sum + missing + twice + disordered + slowMissing,
      0,
    )
  return threshold('events missing, twice or out of order in Roomcast', faults, 0)
}
