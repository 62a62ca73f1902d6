import { createSigner } from 'fast-jwt'
import { answerCalls } from '../calls.ts'
import { monotonicUs } from '../clock.ts'
import { Cohort, type CohortOptions, type Counts, type Tally } from './cohort.ts'
import { Connection } from './connection.ts'
import { Throttle } from './throttle.ts'

/** A process: thousands of connections, each of which must get every event once, in order. */

export interface ConnectOptions {
  /** The cohorts, and which of their connections this process has. */
  readonly parts: readonly { readonly cohort: CohortOptions; readonly from: number; readonly count: number }[]
  /** Its source addresses begin with this: two of four numbers. */
  readonly network: string
  /** Each connection has a token of its own, by a user of its own. */
  readonly jwtSecret: string
  /** Connections being opened at the same time. */
  readonly atOnce: number
  readonly timeoutMs: number
  /** Connections that are cut come back, where they were left. */
  readonly comeBack: boolean
}

/** What is going on in a process. */
export interface State {
  readonly ready: number
  readonly arrived: number
  /** When the last connection became ready, µs. */
  readonly lastReadyUs: number
  /** When the last event came, µs. */
  readonly lastArrivedUs: number
}

/** How a slow connection reads: not at all, or so many bytes a second. */
export type Pace = 'stalled' | number

export interface LoadClient {
  /** @returns how many were ready in time, and why the first was not */
  connect(options: ConnectOptions): Promise<{ ready: number; reason: string }>
  /** From now on what arrives counts, with its latency; or no longer. */
  record(on: boolean): void
  state(): State
  /**
   * Waits until every connection of the cohorts had every event, at most so long.
   * @returns events that are still to come
   */
  arrival(counts: Counts, timeoutMs: number, cohorts?: readonly string[]): Promise<number>
  /** Slows a cohort down, or lets it read as fast as it can. */
  pace(cohort: string, pace: Pace | undefined): void
  /**
   * So many connections leave, spread over all, come back, and one of `newcomers` comes back as somebody new (0: none).
   * @returns how many did
   */
  churn(connections: number, newcomers: number): Promise<number>
  /** So many connections, spread over all, join a room of another series or leave it, and send commands. */
  stir(connections: number): void
  /** @param counts how many events there were altogether */
  tally(counts: Counts): Record<string, Tally>
}

const AGAIN_MS = 50
const LOOK_MS = 25
const TOKEN_S = 86_400
/** Those who leave or talk one after the other are of all cohorts: a prime. */
const STRIDE = 7_919
/**
 * Source addresses, as a crowd has them. Linux looks for an address's free port one after the other, at every second
 * one first: with 7,000 connections of one address each next `bind` takes milliseconds, and this process would be what
 * is measured.
 */
const ADDRESSES = 200
/** Others for connections that come back, in turn: closed ones block their port for a minute. */
const TURNS = 8

const throttle = new Throttle()
const cohorts = new Map<string, Cohort>()
let waiting: Connection[] = []
let opening = 0
let lastReadyUs = 0
let churned = 0
let stirred = 0
let newcomersSoFar = 0
let settings: ConnectOptions | undefined
let tokenOf: (user: string) => string = () => ''
let failure = ''

answerCalls<LoadClient>({
  async connect(options) {
    settings = options
    const sign = createSigner({ key: options.jwtSecret, algorithm: 'HS256' })
    const exp = Math.floor(Date.now() / 1000) + TOKEN_S
    tokenOf = (sub) => sign({ sub, exp, project_access: ['*'] })
    let wanted = 0
    for (const { cohort: cohortOptions, from, count } of options.parts) {
      const cohort = new Cohort(cohortOptions, count)
      cohorts.set(cohort.name, cohort)
      cohort.onLost = (connection) => {
        if (!options.comeBack) return
        waiting.push(connection)
        openWaiting()
      }
      for (let index = from; index < from + count; index++) {
        const token = tokenOf(`${cohort.name}-${index}`)
        const series = cohortOptions.series === 0 ? 0 : 1 + (index % cohortOptions.series)
        const connection = new Connection(cohort, index, series, token, cohort.nextPlace)
        cohort.connections.push(connection)
        waiting.push(connection)
      }
      wanted += count
    }
    // Taken from the end: the first come first.
    waiting.reverse()
    openWaiting()
    const giveUpUs = monotonicUs() + options.timeoutMs * 1000
    while (readyNow() < wanted && monotonicUs() < giveUpUs) await soon(LOOK_MS)
    if (readyNow() < wanted && !options.comeBack) waiting = []
    return { ready: readyNow(), reason: failure }
  },
  record(on) {
    for (const cohort of cohorts.values()) cohort.record(on)
  },
  state: () => ({
    ready: readyNow(),
    arrived: sum(({ arrived }) => arrived),
    lastReadyUs,
    lastArrivedUs: Math.max(0, ...[...cohorts.values()].map((cohort) => cohort.lastArrivedUs)),
  }),
  async arrival(counts, timeoutMs, names) {
    const looked = [...cohorts.values()].filter(({ name }) => names?.includes(name) ?? true)
    const outstanding = () => looked.reduce((total, cohort) => total + cohort.outstanding(counts), 0)
    const giveUpUs = monotonicUs() + timeoutMs * 1000
    for (;;) {
      const left = outstanding()
      if (left === 0 || monotonicUs() >= giveUpUs) return left
      await soon(LOOK_MS)
    }
  },
  pace(name, pace) {
    for (const connection of cohorts.get(name)?.connections ?? []) {
      if (pace === 'stalled') connection.pause()
      else if (typeof pace !== 'number') throttle.remove(connection)
      else throttle.add(connection, pace)
    }
  },
  async churn(connections, newcomers) {
    const all = everybody()
    let left = 0
    for (let i = 0; i < connections && all.length > 0; i++) {
      const connection = all[(churned++ * STRIDE) % all.length] as Connection
      if (!connection.isReady) continue
      connection.leave()
      if (newcomers > 0 && churned % newcomers === 0)
        connection.forget(tokenOf(`${connection.cohort.name}-newcomer-${++newcomersSoFar}`))
      waiting.push(connection)
      left++
    }
    openWaiting()
    return left
  },
  stir(connections) {
    const all = everybody()
    for (let i = 0; i < connections && all.length > 0; i++) {
      const connection = all[(stirred++ * STRIDE) % all.length] as Connection
      const { series, visiting, cohort } = connection
      if (!connection.isReady || series === 0) continue
      const room = visiting ?? `room:${1 + ((series + stirred) % cohort.seriesCount)}`
      if (room === `room:${series}`) continue
      cohort.dialect.visit?.(connection, room, visiting === undefined)
      cohort.dialect.talk?.(connection, room)
      connection.visiting = visiting === undefined ? room : undefined
    }
  },
  tally: (counts) => Object.fromEntries([...cohorts].map(([name, cohort]) => [name, cohort.tally(counts)])),
})

/** Opens what is waiting, so many at the same time. One that cannot be opened is tried again. */
function openWaiting(): void {
  const { atOnce, network } = settings as ConnectOptions
  while (opening < atOnce && waiting.length > 0) {
    const connection = waiting.pop() as Connection
    const source = `${network}.${connection.opened++ % TURNS}.${1 + (connection.index % ADDRESSES)}`
    opening++
    connection.open(source).then(async (reason) => {
      if (reason === undefined) lastReadyUs = monotonicUs()
      else {
        failure ||= reason
        await soon(AGAIN_MS)
        waiting.push(connection)
      }
      opening--
      openWaiting()
    })
  }
}

function everybody(): Connection[] {
  return [...cohorts.values()].flatMap((cohort) => cohort.connections)
}

function readyNow(): number {
  return sum(({ ready }) => ready)
}

function sum(value: (cohort: Cohort) => number): number {
  let total = 0
  for (const cohort of cohorts.values()) total += value(cohort)
  return total
}

function soon(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
