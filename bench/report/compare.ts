import { FIGURE_NAMES, type FigureName, rowOf } from './figures.ts'
import type { Result } from './result.ts'
import { type Summary, summaries } from './summary.ts'
import { table, titleOf } from './table.ts'

/** One figure of two results. */
export interface Change {
  readonly summary: string
  readonly figure: FigureName
  readonly before: number
  readonly after: number
  /** Above 1: worse. */
  readonly worse: number
  /** Whether it is past the threshold. */
  readonly past: boolean
}

/** Faults have no threshold: one more than before is too many. */
const FAULTS: readonly FigureName[] = ['missing', 'twice', 'disordered', 'slowMissing']

/**
 * Compares two results of the same scenario. Only Roomcast's figures can be past the threshold; those of the other
 * servers show how similar the circumstances were.
 * @param max how many times worse a figure may be
 */
export function changes(before: Result, after: Result, max: number): Change[] {
  const old = summaries(before.runs)
  return summaries(after.runs).flatMap((summary) => {
    const match = old.find(({ side, case: of }) => side === summary.side && of === summary.case)
    return match === undefined ? [] : FIGURE_NAMES.flatMap((figure) => changeOf(figure, match, summary, max) ?? [])
  })
}

function changeOf(
  figure: FigureName,
  { figures: old }: Summary,
  { side, case: of, figures }: Summary,
  max: number,
): Change | undefined {
  const [before, after] = [old[figure], figures[figure]]
  const isFault = FAULTS.includes(figure)
  const { better } = rowOf(figure)
  if (before === undefined || after === undefined || (better === undefined && !isFault)) return undefined
  const worse = isFault
    ? after > before
      ? Number.POSITIVE_INFINITY
      : 1
    : better === 'more'
      ? before / after
      : after / before
  return {
    summary: [titleOf(side), of].filter(Boolean).join(', '),
    figure,
    before,
    after,
    worse,
    past: side === 'roomcast' && (isFault || before > 0) && worse > max,
  }
}

/** As text for a terminal. */
export function compared(before: Result, after: Result, max: number): string {
  const all = changes(before, after, max)
  const past = all.filter((change) => change.past)
  const rows = all.map(({ summary, figure, before: a, after: b, worse, past: isPast }) => {
    const { about, unit } = rowOf(figure)
    return [
      summary,
      about,
      unit(a),
      unit(b),
      Number.isFinite(worse) ? worse.toFixed(3) : '-',
      isPast ? 'PAST THE THRESHOLD' : '',
    ]
  })
  return [
    `${before.scenario}: ${before.machine.commit}, ${before.started} and ${after.machine.commit}, ${after.started}`,
    ...(before.machine.cpu === after.machine.cpu
      ? []
      : [`Different machines: ${before.machine.cpu} and ${after.machine.cpu}.`]),
    '',
    table([['', '', 'before', 'after', 'times worse', ''], ...rows]),
    '',
    past.length === 0
      ? `No figure of Roomcast's is more than ${max} times worse.`
      : `${past.length} figures of Roomcast's are more than ${max} times worse, or more events were lost.`,
  ].join('\n')
}
