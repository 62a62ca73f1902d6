import { createSigner } from 'fast-jwt'
import { answerCalls } from '../process/calls.ts'
import { monotonicUs } from '../machine/clock.ts'
import { Connection } from './connection.ts'
import { ConnectionGroup, type Counts, type GroupOptions, type Tally } from './connection-group.ts'
import { Throttle } from './throttle.ts'

/** A process: thousands of connections, each of which must get every event once, in order. */

export interface ConnectOptions {
  /** The groups, and which of their connections this process has. */
  readonly parts: readonly { readonly group: GroupOptions; readonly from: number; readonly count: number }[]
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
   * Waits until every connection of the groups had every event, at most so long.
   * @returns events that are still to come
   */
  arrival(counts: Counts, timeoutMs: number, groups?: readonly string[]): Promise<number>
  /** Slows a group down, or lets it read as fast as it can. */
  pace(group: string, pace: Pace | undefined): void
  /**
   * So many connections leave, spread over all, come back, and one of `newcomers` comes back as somebody new (0: none).
   * @returns how many did
   */
  churn(count: number, newcomers: number): Promise<number>
  /** So many connections, spread over all, join a room of another series or leave it, and send commands. */
  stir(count: number): void
  /** @param counts how many events there were altogether */
  tally(counts: Counts): Record<string, Tally>
}

const AGAIN_MS = 50
const LOOK_MS = 25
const TOKEN_S = 86_400
/** Those who leave or talk one after the other are of all groups: a prime. */
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
const groups = new Map<string, ConnectionGroup>()
/** Of all groups, one group after the other. */
const connections: Connection[] = []
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
    const onLost = (connection: Connection) => {
      if (!options.comeBack) return
      waiting.push(connection)
      openWaiting()
    }
    for (const { group: groupOptions, from, count } of options.parts) {
      const group = new ConnectionGroup(groupOptions, count)
      groups.set(group.name, group)
      for (let index = from; index < from + count; index++) {
        const token = tokenOf(`${group.name}-${index}`)
        const series = groupOptions.series === 0 ? 0 : 1 + (index % groupOptions.series)
        connections.push(new Connection({ group, index, series, token, onLost }))
      }
    }
    // Taken from the end: the first come first.
    waiting = connections.toReversed()
    openWaiting()
    const giveUpUs = monotonicUs() + options.timeoutMs * 1000
    while (readyNow() < connections.length && monotonicUs() < giveUpUs) await soon(LOOK_MS)
    if (readyNow() < connections.length && !options.comeBack) waiting = []
    return { ready: readyNow(), reason: failure }
  },
  record(on) {
    for (const group of groups.values()) group.record(on)
  },
  state: () => ({
    ready: readyNow(),
    arrived: sum(({ arrived }) => arrived),
    lastReadyUs,
    lastArrivedUs: Math.max(0, ...[...groups.values()].map((group) => group.lastArrivedUs)),
  }),
  async arrival(counts, timeoutMs, names) {
    const looked = [...groups.values()].filter(({ name }) => names?.includes(name) ?? true)
    const outstanding = () => looked.reduce((total, group) => total + group.outstanding(counts), 0)
    const giveUpUs = monotonicUs() + timeoutMs * 1000
    for (;;) {
      const left = outstanding()
      if (left === 0 || monotonicUs() >= giveUpUs) return left
      await soon(LOOK_MS)
    }
  },
  pace(name, pace) {
    for (const connection of connections.filter(({ group }) => group.name === name)) {
      if (pace === 'stalled') connection.pause()
      else if (typeof pace !== 'number') throttle.remove(connection)
      else throttle.add(connection, pace)
    }
  },
  async churn(count, newcomers) {
    let left = 0
    for (let i = 0; i < count && connections.length > 0; i++) {
      const connection = connections[(churned++ * STRIDE) % connections.length] as Connection
      if (!connection.isReady) continue
      connection.leave()
      if (newcomers > 0 && churned % newcomers === 0)
        connection.forget(tokenOf(`${connection.group.name}-newcomer-${++newcomersSoFar}`))
      waiting.push(connection)
      left++
    }
    openWaiting()
    return left
  },
  stir(count) {
    for (let i = 0; i < count && connections.length > 0; i++) {
      const connection = connections[(stirred++ * STRIDE) % connections.length] as Connection
      const { series, visiting, group } = connection
      if (!connection.isReady || series === 0) continue
      const room = visiting ?? `room:${1 + ((series + stirred) % group.seriesCount)}`
      if (room === `room:${series}`) continue
      group.dialect.visit?.(connection, room, visiting === undefined)
      group.dialect.talk?.(connection, room)
      connection.visiting = visiting === undefined ? room : undefined
    }
  },
  tally: (counts) => Object.fromEntries([...groups].map(([name, group]) => [name, group.tally(counts)])),
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

function readyNow(): number {
  return sum(({ ready }) => ready)
}

function sum(value: (group: ConnectionGroup) => number): number {
  let total = 0
  for (const group of groups.values()) total += value(group)
  return total
}

function soon(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
