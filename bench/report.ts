import type { Comparison } from './comparison.ts'
import type { Machine } from './machine.ts'
import { SIDE_NAMES } from './protocol.ts'
import { cpuRatio, figuresOf, handshakeRatio, median, memoryDifferenceBytes, p99Ratio, type Round } from './rounds.ts'
import type { Figures, Load } from './side.ts'

export interface Settings extends Load {
  readonly rounds: number
  /** Whether the server had a core of its own. */
  readonly pinned: boolean
}

/** What was measured, and on which side nothing could be. */
export interface Measured {
  readonly rounds: readonly Round[]
  readonly failures: readonly string[]
}

interface Row {
  readonly about: string
  readonly of: (figures: Figures) => number
  readonly unit: Unit
  /** How the sides compare, where that says something. */
  readonly compared?: { readonly of: (round: Round) => number; readonly unit: Unit }
}

type Unit = (value: number) => string

const us: Unit = (value) => `${value.toFixed(2)} µs`
const ms: Unit = (value) => `${value.toFixed(1)} ms`
const kb: Unit = (bytes) => `${(bytes / 1024).toFixed(2)} KB`
const moreKb: Unit = (bytes) => `${bytes < 0 ? '-' : '+'}${kb(Math.abs(bytes))}`
const count: Unit = (value) => value.toLocaleString('en')
const percent: Unit = (part) => `${Math.round(part * 100)} %`
const ratio: Unit = (value) => value.toFixed(3)

const ROWS: readonly Row[] = [
  { about: 'CPU per delivery', of: ({ cpuUs }) => cpuUs, unit: us, compared: { of: cpuRatio, unit: ratio } },
  { about: '  user space', of: ({ cpuUserUs }) => cpuUserUs, unit: us },
  { about: '  system', of: ({ cpuSystemUs }) => cpuSystemUs, unit: us },
  { about: 'latency p50', of: ({ latency }) => latency.p50Ms, unit: ms, compared: { of: ({ raw, roomcast }) => roomcast.latency.p50Ms / raw.latency.p50Ms, unit: ratio } },
  { about: '  p99', of: ({ latency }) => latency.p99Ms, unit: ms, compared: { of: p99Ratio, unit: ratio } },
  { about: '  max', of: ({ latency }) => latency.maxMs, unit: ms },
  { about: 'handshake CPU per connection', of: ({ handshakeUs }) => handshakeUs, unit: us, compared: { of: handshakeRatio, unit: ratio } },
  { about: '  user space', of: ({ handshakeUserUs }) => handshakeUserUs, unit: us },
  { about: 'memory per connection', of: ({ connectionBytes }) => connectionBytes, unit: kb, compared: { of: memoryDifferenceBytes, unit: moreKb } },
  { about: '  live JavaScript objects', of: ({ connectionHeapBytes }) => connectionHeapBytes, unit: kb, compared: { of: ({ raw, roomcast }) => roomcast.connectionHeapBytes - raw.connectionHeapBytes, unit: moreKb } },
  { about: "  V8's space for new ones", of: ({ connectionYoungBytes }) => connectionYoungBytes, unit: kb, compared: { of: ({ raw, roomcast }) => roomcast.connectionYoungBytes - raw.connectionYoungBytes, unit: moreKb } },
  { about: 'load client, of its core', of: ({ clientBusy }) => clientBusy, unit: percent },
  { about: 'other programs, of a core', of: ({ othersBusy }) => othersBusy, unit: percent },
  { about: 'bytes of a frame', of: ({ frameBytes }) => frameBytes, unit: (value) => value.toFixed(1) },
  { about: 'deliveries', of: ({ deliveries }) => deliveries, unit: count },
  { about: '  missing', of: ({ missing }) => missing, unit: count },
  { about: '  twice', of: ({ twice }) => twice, unit: count },
  { about: '  out of order', of: ({ disordered }) => disordered, unit: count },
]

/** Part of a core that others may use before the reader is warned. */
const DISTURBED = 0.1

/** The result as text for a terminal. */
export function report(machine: Machine, settings: Settings, { rounds, failures }: Measured, comparison: Comparison): string {
  const { sides } = settings.protocol
  const head = ['', ...sides.map((side) => SIDE_NAMES[side]), 'Roomcast : raw', ...rounds.map((_, index) => `round ${index + 1}`)]
  const othersBusy = Math.max(...sides.flatMap((side) => figuresOf(side, rounds)).map((figures) => figures.othersBusy))
  const disturbed = othersBusy > DISTURBED
  const rows = ROWS.map(({ about, of, unit, compared }) => {
    const cells = [about, ...sides.map((side) => shown(comparison[side], of, unit))]
    if (compared === undefined) return cells
    const values = rounds.map(compared.of)
    return [...cells, compared.unit(median(values)), ...values.map(compared.unit)]
  })
  return [
    described(machine, settings),
    '',
    table([head, ...rows]),
    '',
    'Medians of the rounds; maximum and counts are of all rounds. Memory: what RSS grew by, garbage collected before and after.',
    ...(disturbed ? [`Other programs used up to ${percent(othersBusy)} of a core: rounds differ by that more than by the servers.`] : []),
    ...failures,
    '',
    table(comparison.thresholds.map(({ about, value, max, met }) => [about, Number.isInteger(value) ? count(value) : value.toFixed(3), `<= ${max}`, met ? 'met' : 'NOT MET'])),
  ].join('\n')
}

function shown(figures: Figures | undefined, of: Row['of'], unit: Unit): string {
  return figures === undefined ? '-' : unit(of(figures))
}

function described({ cpu, cores, memory_gb, kernel, node, nats_server, load, commit }: Machine, settings: Settings): string {
  const { protocol, subscribers, payloadBytes, perSecond, seconds, warmupSeconds, rounds, pinned, rawByMessage } = settings
  return [
    `fanout, ${protocol.name} protocol: ${count(subscribers)} subscribers, ${perSecond} events/s of ${payloadBytes} B data, ${seconds} s after ${warmupSeconds} s of warm-up, ${rounds} rounds${rawByMessage ? ', raw clients subscribe by message' : ''}`,
    `${cpu}, ${cores} cores, ${memory_gb} GB, ${kernel}, Node ${node}, nats-server ${nats_server}, commit ${commit}`,
    `${pinned ? 'pinned: the server has a core, the clients, the publisher and nats-server share another' : 'not pinned: the processes share all cores'}; load before the run ${load}`,
  ].join('\n')
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length))) ?? []
  return rows.map((row) => row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('   ').trimEnd()).join('\n')
}
