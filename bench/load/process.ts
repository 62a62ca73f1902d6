import { createSigner } from 'fast-jwt'
import { answerCalls } from '../process/calls.ts'
import { monotonicUs } from '../machine/clock.ts'
import { Connection } from './connection.ts'
import { ConnectionGroup, type Counts, type GroupOptions, type Tally } from './connection-group.ts'
import { Throttle } from './throttle.ts'

/** A process: thousands of connections, each of which must get every event once, in order. */

export interface ConnectOptions {
  /** The groups, and which of their connections this process holds. */
  readonly parts: readonly { readonly group: GroupOptions; readonly from: number; readonly count: number }[]
  /** First two of the four numbers of its source addresses. */
  readonly network: string
  /** Signs a token for each connection, each for another user. */
  readonly jwtSecret: string
  /** How many connections are being opened at the same time. */
  readonly atOnce: number
  readonly timeoutMs: number
  /** Connections that are cut reconnect, and resume from their position. */
  readonly comeBack: boolean
}

/** Totals of a process. */
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
  /** Starts or stops recording what arrives, and its latency. */
  record(on: boolean): void
  state(): State
  /**
   * Waits until every connection of the groups has every event, or the time is up.
   * @returns the number of events still outstanding
   */
  arrival(counts: Counts, timeoutMs: number, groups?: readonly string[]): Promise<number>
  /** Slows a group down, or lets it read as fast as it can. */
  pace(group: string, pace: Pace | undefined): void
  /**
   * Disconnects so many connections, spread over all of them, and reconnects them; one of `newcomers` as a new client
   * (0: none).
   * @returns how many left
   */
  churn(count: number, newcomers: number): Promise<number>
  /** Has so many connections, spread over all of them, join or leave a room of another series, and send commands. */
  sendCommands(count: number): void
  /** @param counts how many events there were altogether */
  tally(counts: Counts): Record<string, Tally>
}

const AGAIN_MS = 50
const LOOK_MS = 25
const TOKEN_S = 86_400
/** A prime: picks connections of all groups, one after the other. */
const STRIDE = 7_919
/**
 * Number of source addresses. Linux searches for a free port of an address linearly: with 7,000 connections from one
 * address each further `bind` takes milliseconds, and the bench would measure this process instead of the server.
 */
const ADDRESSES = 200
/** Sets of source addresses, used in turn by connections that reconnect: a closed one blocks its port for a minute. */
const TURNS = 8

const throttle = new Throttle()
const groups = new Map<string, ConnectionGroup>()
/** Of all groups, one group after the other. */
const connections: Connection[] = []
let waiting: Connection[] = []
let opening = 0
let lastReadyUs = 0
let churned = 0
let commanded = 0
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
    // Connections are taken from the end, so this opens them in order.
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
  sendCommands(count) {
    for (let i = 0; i < count && connections.length > 0; i++) {
      const connection = connections[(commanded++ * STRIDE) % connections.length] as Connection
      const { series, visiting, group } = connection
      if (!connection.isReady || series === 0) continue
      const room = visiting ?? `room:${1 + ((series + commanded) % group.seriesCount)}`
      if (room === `room:${series}`) continue
      group.dialect.visit?.(connection, room, visiting === undefined)
      group.dialect.talk?.(connection, room)
      connection.visiting = visiting === undefined ? room : undefined
    }
  },
  tally: (counts) => Object.fromEntries([...groups].map(([name, group]) => [name, group.tally(counts)])),
})

/** Opens the connections that wait, `atOnce` at a time. One that fails is tried again. */
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
