import type { Protocol, Side } from './protocol.ts'
import { cpuRatio, figuresOf, median, memoryDifferenceBytes, p99Ratio, type Round } from './rounds.ts'
import type { Figures } from './side.ts'
import { type Threshold, thresholdsOf } from './thresholds.ts'

/** Medians over the rounds: one disturbed round does not decide. */
export type Comparison = { readonly [S in Side]?: Figures } & {
  readonly cpuRatio: number
  readonly p99Ratio: number
  readonly memoryDifferenceBytes: number
  readonly thresholds: readonly Threshold[]
}

export function compare({ name, sides }: Protocol, rounds: readonly Round[]): Comparison {
  const medianOf = (value: (round: Round) => number) => median(rounds.map(value))
  return {
    ...Object.fromEntries(sides.filter((side) => figuresOf(side, rounds).length > 0).map((side) => [side, summary(figuresOf(side, rounds))])),
    cpuRatio: medianOf(cpuRatio),
    p99Ratio: medianOf(p99Ratio),
    memoryDifferenceBytes: medianOf(memoryDifferenceBytes),
    thresholds: thresholdsOf(name, rounds),
  }
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
    handshakeUs: medianOf(({ handshakeUs }) => handshakeUs),
    handshakeUserUs: medianOf(({ handshakeUserUs }) => handshakeUserUs),
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
