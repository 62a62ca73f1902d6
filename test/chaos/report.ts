import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from './history.ts'
import type { Verdict } from './oracle.ts'
import type { Result } from './run.ts'

const FOLDER = join(tmpdir(), 'roomcast-chaos')
const COLUMNS = [
  'schedule',
  'nats',
  'seed',
  'events',
  'clients',
  'lost',
  'doubled',
  'disordered',
  'untold',
  'told',
  'silence s',
  'reconnects',
  'p50 s',
  'max s',
  'faults',
  'exits',
  'verdict',
] as const

export type Row = Readonly<Record<(typeof COLUMNS)[number], string | number>>

/** One line of the table. */
export function rowOf({ schedule, natsVersion, seed, published, verdicts, actions, exits, passed }: Result): Row {
  const reconnects = verdicts.flatMap(({ reconnectsMs }) => reconnectsMs).sort((a, b) => a - b)
  const sum = (figure: (verdict: Verdict) => number) => verdicts.reduce((total, verdict) => total + figure(verdict), 0)
  return {
    schedule,
    nats: natsVersion,
    seed,
    events: published,
    clients: verdicts.length,
    lost: sum(({ lost }) => lost),
    doubled: sum(({ doubled }) => doubled),
    disordered: sum(({ disordered }) => disordered),
    untold: sum(({ untold }) => untold),
    told: sum(({ told }) => told),
    'silence s': seconds(Math.max(0, ...verdicts.map(({ longestSilenceMs }) => longestSilenceMs))),
    reconnects: reconnects.length,
    'p50 s': seconds(reconnects[Math.floor(reconnects.length / 2)]),
    'max s': seconds(reconnects.at(-1)),
    faults: actions.length,
    exits: exits.length,
    verdict: passed ? 'passed' : 'FAILED',
  }
}

export function tableOf(rows: readonly Row[]): string {
  const widths = COLUMNS.map((column) => Math.max(column.length, ...rows.map((row) => String(row[column]).length)))
  const line = (cells: readonly (string | number)[]) =>
    cells
      .map((cell, i) =>
        typeof cell === 'number' ? String(cell).padStart(widths[i] as number) : cell.padEnd(widths[i] as number),
      )
      .join('  ')
      .trimEnd()
  return [line(COLUMNS), ...rows.map((row) => line(COLUMNS.map((column) => row[column])))].join('\n')
}

/** What went wrong, in words, and where the timeline is. */
export function explain(result: Result): string {
  const failed = result.verdicts.filter(({ passed }) => !passed)
  return [
    `${result.schedule}, seed ${result.seed}, nats-server ${result.natsVersion}:`,
    ...result.exits.map((exit) => `  ended by itself: ${exit.slice(0, 600)}`),
    ...result.faults.map((fault) => `  ${fault}`),
    ...failed
      .slice(0, 3)
      .flatMap(({ client, faults }) => [`  ${client}:`, ...faults.slice(0, 4).map((fault) => `    ${fault}`)]),
    ...(failed.length > 3 ? [`  and ${failed.length - 3} more clients`] : []),
    `  timelines and logs: ${writeEvidence(result)}`,
  ].join('\n')
}

/**
 * Writes what is known of a run: of its clients those that failed, or where all passed all of them.
 * @returns the folder
 */
export function writeEvidence({
  schedule,
  seed,
  natsVersion,
  verdicts,
  actions,
  exits,
  faults,
  evidence,
}: Result): string {
  const folder = join(FOLDER, `${schedule}-${seed}-nats-${natsVersion}`)
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  const since = (atMs: number) => `+${String(atMs - evidence.startMs).padStart(6)} ms`
  const acts = actions.flatMap(({ atMs, endedMs, fault }) => [
    { atMs, text: `=== ${fault.kind} ${JSON.stringify(fault)}` },
    { atMs: endedMs, text: `=== ${fault.kind} is over` },
  ])
  writeFileSync(
    join(folder, 'verdicts.json'),
    JSON.stringify(
      { schedule, seed, natsVersion, startedAt: new Date(evidence.startMs).toISOString(), exits, faults, verdicts },
      null,
      2,
    ),
  )
  for (const [i, { passed, client }] of verdicts.entries()) {
    if (passed && verdicts.some((verdict) => !verdict.passed)) continue
    const marks = (evidence.clients[i]?.marks ?? []).map((mark) => ({ atMs: mark.atMs, text: describe(mark) }))
    const lines = [...acts, ...marks].sort((a, b) => a.atMs - b.atMs).map(({ atMs, text }) => `${since(atMs)}  ${text}`)
    writeFileSync(join(folder, `${client.replaceAll(/[^A-Za-z0-9-]+/g, '-')}.timeline.txt`), `${lines.join('\n')}\n`)
  }
  for (const [i, log] of evidence.brokerLogs.entries()) writeFileSync(join(folder, `broker-${i}.jsonl`), log)
  for (const [i, log] of evidence.natsLogs.entries()) writeFileSync(join(folder, `nats-${i}.txt`), log)
  return folder
}

function seconds(ms: number | undefined): string {
  return ms === undefined ? '-' : (ms / 1_000).toFixed(2)
}
