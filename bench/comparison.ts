import type { Figures } from './side.ts'

/** One after the other, so under about the same circumstances. */
export interface Round {
  readonly raw: Figures
  readonly roomcast: Figures
}

export interface Threshold {
  readonly about: string
  readonly value: number
  readonly max: number
  readonly met: boolean
}

/** Medians over the rounds: one disturbed round does not decide. */
export interface Comparison {
  readonly raw: Figures
  readonly roomcast: Figures
  readonly cpuRatio: number
  readonly p99Ratio: number
  readonly memoryDifferenceBytes: number
  readonly thresholds: readonly Threshold[]
}

const CPU_RATIO_MAX = 1.1
const P99_RATIO_MAX = 1.3
const MEMORY_DIFFERENCE_KB_MAX = 3

export const cpuRatio = ({ raw, roomcast }: Round) => roomcast.cpuUs / raw.cpuUs
export const p99Ratio = ({ raw, roomcast }: Round) => roomcast.latency.p99Ms / raw.latency.p99Ms
export const memoryDifferenceBytes = ({ raw, roomcast }: Round) => roomcast.connectionBytes - raw.connectionBytes

export function compare(rounds: readonly Round[]): Comparison {
  const medianOf = (value: (round: Round) => number) => median(rounds.map(value))
  const figures = { cpuRatio: medianOf(cpuRatio), p99Ratio: medianOf(p99Ratio), memoryDifferenceBytes: medianOf(memoryDifferenceBytes) }
  const faults = rounds.reduce((sum, { roomcast: { missing, twice, disordered } }) => sum + missing + twice + disordered, 0)
  return {
    raw: summary(rounds.map(({ raw }) => raw)),
    roomcast: summary(rounds.map(({ roomcast }) => roomcast)),
    ...figures,
    thresholds: [
      threshold('CPU per delivery, ratio', figures.cpuRatio, CPU_RATIO_MAX),
      threshold('p99 latency, ratio', figures.p99Ratio, P99_RATIO_MAX),
      threshold('memory per connection, difference in KB', figures.memoryDifferenceBytes / 1024, MEMORY_DIFFERENCE_KB_MAX),
      threshold('events missing, twice or out of order in Roomcast', faults, 0),
    ],
  }
}

function threshold(about: string, value: number, max: number): Threshold {
  return { about, value, max, met: value <= max }
}

/** Medians of what is measured, sums of what is counted. */
function summary(all: readonly Figures[]): Figures {
  const medianOf = (value: (figures: Figures) => number) => median(all.map(value))
  const sumOf = (value: (figures: Figures) => number) => all.reduce((sum, figures) => sum + value(figures), 0)
  return {
    cpuUs: medianOf(({ cpuUs }) => cpuUs),
    cpuUserUs: medianOf(({ cpuUserUs }) => cpuUserUs),
    cpuSystemUs: medianOf(({ cpuSystemUs }) => cpuSystemUs),
    latency: {
      p50Ms: medianOf(({ latency }) => latency.p50Ms),
      p90Ms: medianOf(({ latency }) => latency.p90Ms),
      p99Ms: medianOf(({ latency }) => latency.p99Ms),
      p999Ms: medianOf(({ latency }) => latency.p999Ms),
      maxMs: Math.max(...all.map(({ latency }) => latency.maxMs)),
    },
    connectionBytes: medianOf(({ connectionBytes }) => connectionBytes),
    connectionHeapBytes: medianOf(({ connectionHeapBytes }) => connectionHeapBytes),
    connectionYoungBytes: medianOf(({ connectionYoungBytes }) => connectionYoungBytes),
    deliveries: sumOf(({ deliveries }) => deliveries),
    missing: sumOf(({ missing }) => missing),
    twice: sumOf(({ twice }) => twice),
    disordered: sumOf(({ disordered }) => disordered),
    frameBytes: medianOf(({ frameBytes }) => frameBytes),
    clientBusy: medianOf(({ clientBusy }) => clientBusy),
    othersBusy: medianOf(({ othersBusy }) => othersBusy),
    lateMsMax: Math.max(...all.map(({ lateMsMax }) => lateMsMax)),
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
