import type { Machine } from '../machine/machine.ts'
import type { Side } from '../peers/peer.ts'
import { PEERS } from '../peers/peers.ts'
import { BEFORE_TITLE } from '../peers/roomcast.ts'
import { comparedOf, FIGURE_NAMES, type FigureName, rowOf } from './figures.ts'
import type { Result, Run } from './result.ts'
import { baseOf, median, type Summary, summaries } from './summary.ts'
import { valueText } from './thresholds.ts'

/** Part of a core that others may use before the reader is warned. */
const DISTURBED = 0.1

/** A result as text for a terminal. */
export function report({ scenario, machine, settings, runs, failures, thresholds }: Result): string {
  const all = summaries(runs)
  const cases = [...new Set(all.map((summary) => summary.case))]
  const sides = [...new Set(all.map(({ side }) => side))]
  const rounds = roundsOf(runs)
  const tables =
    sides.length === 1
      ? [byCase(all)]
      : cases.map(
          (name) => `${name === '' ? '' : `${name}\n`}${bySide(all.filter((summary) => summary.case === name))}`,
        )
  const othersBusy = Math.max(0, ...runs.map(({ figures }) => figures.othersBusy ?? 0))
  return [
    described(scenario, machine, settings),
    '',
    tables.join('\n\n'),
    '',
    ...(rounds > 1 ? ['Medians of the rounds; maximum and counts are of all rounds.'] : []),
    'Memory: what RSS grew by, garbage collected before and after. Missing counts up to the end; it is expected of servers without recovery.',
    ...(othersBusy > DISTURBED
      ? [
          `Other programs used up to ${Math.round(othersBusy * 100)} % of a core: figures differ by that more than by the servers.`,
        ]
      : []),
    ...failures.map((failure) => `not measured: ${failure}`),
    ...(thresholds.length > 0
      ? [
          '',
          table(
            thresholds.map((threshold) => [
              threshold.about,
              valueText(threshold),
              `<= ${threshold.max}`,
              threshold.met ? 'met' : 'NOT MET',
            ]),
          ),
        ]
      : []),
  ].join('\n')
}

/** One side: a column for each case. */
function byCase(all: readonly Summary[]): string {
  return table([
    ['', ...all.map(({ case: of, side }) => of || titleOf(side))],
    ...presentOf(all).map((name) => [labelOf(name), ...all.map(({ figures }) => shown(name, figures[name]))]),
  ])
}

/**
 * One case: a column for each side, and how Roomcast compares with the raw one, or with the build before, in each
 * round.
 */
function bySide(all: readonly Summary[]): string {
  const rounds = roundsOf(all.flatMap((summary) => summary.rounds))
  const base = baseOf(all)
  const roomcast = all.find(({ side }) => side === 'roomcast')
  const roundColumns = rounds > 1 ? Array.from({ length: rounds }, (_, i) => i + 1) : []
  const compare = base !== undefined && roomcast !== undefined
  const head = [
    '',
    ...all.map(({ side }) => titleOf(side)),
    ...(compare ? [`Roomcast : ${base.side}`, ...roundColumns.map((round) => `round ${round}`)] : []),
  ]
  const lines = presentOf(all).map((name) => {
    const cells = [labelOf(name), ...all.map(({ figures }) => shown(name, figures[name]))]
    if (!compare || rowOf(name).compared === undefined) return cells
    const pairs =
      roundColumns.length === 0
        ? [[base.rounds[0], roomcast.rounds[0]]]
        : roundColumns.map((round) =>
            [base, roomcast].map((summary) => summary.rounds.find((run) => run.round === round)),
          )
    return [
      ...cells,
      middle(name, pairs),
      ...(roundColumns.length === 0 ? [] : pairs.map(([a, b]) => comparedOrNothing(name, a, b))),
    ]
  })
  return table([head, ...lines])
}

function roundsOf(runs: readonly Run[]): number {
  return Math.max(0, ...runs.map(({ round }) => round))
}

/** The median of the rounds' comparisons. */
function middle(name: FigureName, pairs: readonly (readonly (Run | undefined)[])[]): string {
  const values = pairs.flatMap(([a, b]) => {
    const [x, y] = [a?.figures[name], b?.figures[name]]
    return x === undefined || y === undefined ? [] : [rowOf(name).compared === 'ratio' ? y / x : y - x]
  })
  if (values.length === 0) return '-'
  return rowOf(name).compared === 'ratio' ? comparedOf(name, 1, median(values)) : comparedOf(name, 0, median(values))
}

function comparedOrNothing(name: FigureName, a: Run | undefined, b: Run | undefined): string {
  const [x, y] = [a?.figures[name], b?.figures[name]]
  return x === undefined || y === undefined ? '-' : comparedOf(name, x, y)
}

function presentOf(all: readonly Summary[]): FigureName[] {
  return FIGURE_NAMES.filter((name) => all.some(({ figures }) => figures[name] !== undefined))
}

function labelOf(name: FigureName): string {
  const { about, part } = rowOf(name)
  return part ? `  ${about}` : about
}

function shown(name: FigureName, value: number | undefined): string {
  return value === undefined ? '-' : rowOf(name).unit(value)
}

export function titleOf(side: Side): string {
  return side === 'before' ? BEFORE_TITLE : (PEERS[side]?.title ?? side)
}

export function described(
  scenario: string,
  { cpu, cores, memory_gb, kernel, node, nats_server, load, commit }: Machine,
  settings: Result['settings'],
): string {
  return [
    `${scenario}: ${Object.entries(settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(', ')}`,
    `${cpu}, ${cores} cores, ${memory_gb} GB, ${kernel}, Node ${node}, nats-server ${nats_server}, commit ${commit}; load before the run ${load}`,
  ].join('\n')
}

export function table(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  )
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join('   ')
        .trimEnd(),
    )
    .join('\n')
}
