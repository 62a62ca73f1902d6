import { Child } from '../process/child.ts'
import type { Core } from '../machine/cores.ts'
import { built } from '../process/built.ts'
import { filesMax } from '../machine/usage.ts'
import type { GroupOptions, Counts, Tally } from './connection-group.ts'
import { Latencies } from './latency.ts'
import type { LoadClient, Pace, State } from './process.ts'

export interface CrowdOptions {
  readonly groups: readonly GroupOptions[]
  readonly core: Core | undefined
  readonly jwtSecret: string
  readonly atOnce: number
  readonly timeoutMs: number
  readonly comeBack: boolean
}

/** Files that a process needs beside its connections. */
const OTHER_FILES = 100
const CONNECTIONS_MAX = 15_000

/** The load client: groups of connections, spread over as many processes and source addresses as they need. */
export class Crowd {
  readonly children: readonly Child<LoadClient>[]
  readonly size: number
  private readonly options: CrowdOptions

  constructor(options: CrowdOptions) {
    this.options = options
    this.size = options.groups.reduce((sum, { connections }) => sum + connections, 0)
    const processes = Math.max(1, Math.ceil(this.size / Math.min(CONNECTIONS_MAX, filesMax() - OTHER_FILES)))
    this.children = Array.from(
      { length: processes },
      (_, i) =>
        new Child<LoadClient>({
          name: `load client ${i + 1}`,
          command: process.execPath,
          args: [built('load/process')],
          core: options.core,
        }),
    )
  }

  /** @returns how many were ready in time, and why the first was not */
  async connect(): Promise<{ ready: number; reason: string }> {
    const { groups, jwtSecret, atOnce, timeoutMs, comeBack } = this.options
    const processes = this.children.length
    const shares = await Promise.all(
      this.children.map((child, i) =>
        child.call('connect', {
          parts: groups.map((group) => {
            const from = Math.floor((group.connections * i) / processes)
            return { group, from, count: Math.floor((group.connections * (i + 1)) / processes) - from }
          }),
          network: `127.${1 + i}`,
          jwtSecret,
          atOnce: Math.max(1, Math.ceil(atOnce / processes)),
          timeoutMs,
          comeBack,
        }),
      ),
    )
    return {
      ready: shares.reduce((sum, { ready }) => sum + ready, 0),
      reason: shares.find(({ reason }) => reason !== '')?.reason ?? '',
    }
  }

  async record(on: boolean): Promise<void> {
    await this.all((child) => child.call('record', on))
  }

  async state(): Promise<State> {
    const states = await this.all((child) => child.call('state'))
    return {
      ready: states.reduce((sum, { ready }) => sum + ready, 0),
      arrived: states.reduce((sum, { arrived }) => sum + arrived, 0),
      lastReadyUs: Math.max(...states.map(({ lastReadyUs }) => lastReadyUs)),
      lastArrivedUs: Math.max(...states.map(({ lastArrivedUs }) => lastArrivedUs)),
    }
  }

  /** Waits until these groups have every event, or the time is up. @returns the number of events still outstanding */
  async arrival(counts: Counts, timeoutMs: number, groups?: readonly string[]): Promise<number> {
    const left = await this.all((child) => child.call('arrival', counts, timeoutMs, groups))
    return left.reduce((sum, n) => sum + n, 0)
  }

  async pace(group: string, pace: Pace | undefined): Promise<void> {
    // IPC is JSON, in which undefined at the end of a list is null.
    await this.all((child) => child.call('pace', group, pace))
  }

  async churn(connections: number, newcomers: number): Promise<number> {
    const left = await this.all((child) =>
      child.call('churn', Math.ceil(connections / this.children.length), newcomers),
    )
    return left.reduce((sum, n) => sum + n, 0)
  }

  async sendCommands(connections: number): Promise<void> {
    await this.all((child) => child.call('sendCommands', Math.ceil(connections / this.children.length)))
  }

  /** By group. */
  async tally(counts: Counts): Promise<Map<string, GroupTally>> {
    const parts = await this.all((child) => child.call('tally', counts))
    return new Map(this.options.groups.map(({ name }) => [name, merged(parts.flatMap((part) => part[name] ?? []))]))
  }

  async stop(): Promise<void> {
    await this.all((child) => child.stop())
  }

  private all<T>(call: (child: Child<LoadClient>) => Promise<T>): Promise<T[]> {
    return Promise.all(this.children.map(call))
  }
}

export type GroupTally = Omit<Tally, 'latencies'> & { readonly latencies: Latencies }

export function merged(parts: readonly (Tally | GroupTally)[]): GroupTally {
  const sum = (value: (part: Tally | GroupTally) => number) => parts.reduce((total, part) => total + value(part), 0)
  const latencies = new Latencies()
  for (const part of parts)
    latencies.add(typeof part.latencies === 'string' ? Latencies.decode(part.latencies) : part.latencies)
  return {
    deliveries: sum((part) => part.deliveries),
    missing: sum((part) => part.missing),
    twice: sum((part) => part.twice),
    disordered: sum((part) => part.disordered),
    foreign: sum((part) => part.foreign),
    cut: sum((part) => part.cut),
    toldMissed: sum((part) => part.toldMissed),
    bytes: sum((part) => part.bytes),
    reason: parts.find(({ reason }) => reason !== '')?.reason ?? '',
    latencies,
  }
}
