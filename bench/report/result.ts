import type { Side } from '../peers/peer.ts'
import type { FigureName } from './figures.ts'
import type { Machine } from '../machine/machine.ts'

export type Figures = Readonly<Partial<Record<FigureName, number>>>

/** What went on while it was measured. All lists are as long as `seconds`. */
export interface Timeline {
  readonly seconds: readonly number[]
  /** Resident memory of the server, MB. */
  readonly memoryMb: readonly number[]
  /** Of a core. */
  readonly cpu: readonly number[]
  readonly deliveriesPerSecond: readonly number[]
  /** Deliveries that were due by then and had not arrived. */
  readonly backlog: readonly number[]
  /** Connections that get events. */
  readonly ready: readonly number[]
  readonly marks: readonly { readonly second: number; readonly text: string }[]
}

/** What must not grow with time. */
export interface Vitals {
  readonly second: number
  /** Garbage collected before. */
  readonly residentBytes: number
  /** Live JavaScript objects. */
  readonly heapBytes: number
  /** Open files: sockets and all else. */
  readonly files: number
  /** p99 of the event loop's delay since the look before. */
  readonly delayMs: number
}

/** One server under one load, once. */
export interface Run {
  readonly side: Side
  /** What was varied: "5 % stalled". Empty where nothing was. */
  readonly case: string
  readonly round: number
  readonly figures: Figures
  /** HDR histogram of the latencies in µs: V2, compressed, base64. */
  readonly latencies?: string
  readonly timeline?: Timeline
  readonly vitals?: readonly Vitals[]
}

/** What Roomcast must not exceed. */
export interface Threshold {
  readonly about: string
  /** Median of the rounds; NaN where it could not be measured, which does not meet it. */
  readonly value: number
  readonly max: number
  readonly met: boolean
}

/** A file in `bench/results/`. */
export interface Result {
  readonly scenario: string
  readonly started: string
  /** Of the command line. */
  readonly argv: readonly string[]
  readonly machine: Machine
  /** All options, seeds included. */
  readonly settings: Readonly<Record<string, unknown>>
  /** Settings of the servers. */
  readonly servers: Readonly<Record<string, string>>
  readonly runs: readonly Run[]
  /** What could not be measured, and why. */
  readonly failures: readonly string[]
  readonly thresholds: readonly Threshold[]
}
