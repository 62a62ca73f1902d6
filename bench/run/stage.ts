import { Child, childPids } from '../process/child.ts'
import { monotonicUs } from '../machine/clock.ts'
import type { Pinning } from '../machine/cores.ts'
import type { GroupOptions } from '../load/connection-group.ts'
import { Crowd } from '../load/crowd.ts'
import type { Target } from '../load/dialects/target.ts'
import { type Nats, startNats } from './nats-server.ts'
import type { Env, Peer, Server, ServerOptions } from '../peers/peer.ts'
import type { Published, Publisher } from '../events/publisher.ts'
import type { Figures } from '../report/result.ts'
import { built } from '../process/built.ts'
import {
  type Cpu,
  commandOf,
  cpuOf,
  cpuOfTree,
  cpuSince,
  machineCpuUs,
  residentBytesOfTree,
  totalOf,
  treeOf,
} from '../machine/usage.ts'
import { subjectOf, type Workload } from '../events/workload.ts'

/** What is the same for all servers of a run. */
export interface Place {
  /** Undefined: processes share all cores. */
  readonly cores: Pinning | undefined
  readonly profile: string | undefined
  readonly seed: number
}

export interface StageOptions {
  readonly peer: Peer
  readonly workload: Workload
  readonly groups: (target: Target) => readonly GroupOptions[]
  readonly rawByMessage?: boolean
  /** Connections that are cut reconnect. */
  readonly comeBack?: boolean
  readonly atOnce?: number
  readonly connectTimeoutMs?: number
  /** How long to wait for outstanding events while none arrives. */
  readonly arrivalTimeoutMs?: number
  readonly env?: Env
}

/** What is published. */
export interface Load {
  readonly perSecond: number
  readonly seconds: number
  readonly dataBytes: number
  /** 0 or none: to everybody. */
  readonly series?: number
  /** Default: the workload's. */
  readonly type?: string
}

/** A peer could not be measured; the message says why. */
export class NotMeasured extends Error {}

/** CPU time used so far. */
export interface Usage {
  /** By the server. */
  readonly server: Cpu
  /** By the load client's processes. */
  readonly clientUs: number
  /** By everything on the machine that is not the bench. */
  readonly othersUs: number
  /** The time by the clock. */
  readonly us: number
}

const JWT_SECRET = 'a-secret-for-benches-that-is-long-enough'
const AT_ONCE = 200
const CONNECT_TIMEOUT_MS = 60_000
/** On a busy machine events may be late, but a pause as long as this means that they are lost. */
const ARRIVAL_TIMEOUT_MS = 20_000
const ARRIVAL_LOOK_MS = 1_000
const WORKERS_SETTLE_MS = 400

/**
 * One server with its nats-server, clients and publisher: everything that a scenario does to a server and reads from
 * it.
 */
export class Stage {
  server: Server
  readonly crowd: Crowd
  readonly groups: readonly GroupOptions[]
  /** Deliveries that were due before the schedules that run now. */
  private dueBefore = 0
  private readonly running = new Set<{ readonly startUs: number; readonly load: Load; readonly audience: number }>()
  private readonly nats: Nats
  private readonly publisher: Child<Publisher>
  private readonly options: StageOptions
  private readonly place: Place

  /** Starts all of it, on an empty stream. */
  static async open(options: StageOptions, place: Place): Promise<Stage> {
    const nats = await startNats(place.cores?.rest)
    try {
      return new Stage(options, place, nats, await options.peer.start(serverOptions(options, place, nats, 0)))
    } catch (error) {
      await nats.stop()
      throw new NotMeasured((error as Error).message)
    }
  }

  private constructor(options: StageOptions, place: Place, nats: Nats, server: Server) {
    this.options = options
    this.place = place
    this.nats = nats
    this.server = server
    this.groups = options.groups(server.target).filter(({ connections }) => connections > 0)
    this.crowd = new Crowd({
      groups: this.groups,
      core: place.cores?.rest,
      jwtSecret: JWT_SECRET,
      atOnce: options.atOnce ?? AT_ONCE,
      timeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      comeBack: options.comeBack === true,
    })
    this.publisher = new Child<Publisher>({
      name: 'publisher',
      command: process.execPath,
      args: [built('events/publisher')],
      core: place.cores?.rest,
    })
  }

  get pid(): number {
    return this.server.child.pid
  }

  /** Connects all clients. @returns what that cost */
  async connect(): Promise<Figures> {
    const before = await this.weigh()
    const cpuBefore = cpuOfTree(this.pid)
    const startUs = monotonicUs()
    const { ready, reason } = await this.crowd.connect()
    const { lastReadyUs } = await this.crowd.state()
    const cpu = cpuSince(cpuBefore, cpuOfTree(this.pid))
    const { size } = this.crowd
    if (ready < size)
      throw new NotMeasured(
        `did not connect ${size} in ${(this.options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS) / 1000} s, but ${ready}${reason === '' ? '' : ` (${reason})`}`,
      )
    const after = await this.weigh()
    const seconds = (lastReadyUs - startUs) / 1e6
    return {
      connectSeconds: seconds,
      connectsPerSecond: size / seconds,
      handshakeUs: totalOf(cpu) / size,
      handshakeUserUs: cpu.userUs / size,
      emptyBytes: before.residentBytes,
      connectionBytes: (after.residentBytes - before.residentBytes) / size,
      ...(before.heap && after.heap
        ? {
            connectionHeapBytes: (after.heap.usedBytes - before.heap.usedBytes) / size,
            connectionYoungBytes: (after.heap.youngBytes - before.heap.youngBytes) / size,
          }
        : undefined),
    }
  }

  /** Publishes; resolves when the last event is stored. */
  async publish(load: Load): Promise<Published> {
    const running = { startUs: monotonicUs(), load, audience: this.audienceOf(load) }
    this.running.add(running)
    const published = await this.publisher.call('publish', {
      ...this.kindOf(load),
      core: this.server.publish.core,
      perSecond: load.perSecond,
      seconds: load.seconds,
      series: load.series ?? 0,
      seed: this.place.seed,
    })
    this.running.delete(running)
    this.dueBefore += published.events * running.audience
    return published
  }

  /** Publishes so many to everybody, as fast as JetStream stores them; resolves when the last one is. */
  async burst(events: number, dataBytes: number): Promise<void> {
    await this.publisher.call('burst', { ...this.kindOf({ dataBytes }), events })
    this.dueBefore += events * this.audienceOf({})
  }

  /** Suspends the server, until `resume`. */
  suspend(): void {
    process.kill(this.pid, 'SIGSTOP')
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT')
  }

  /**
   * Waits until all groups, or these, have every event: for a given time, or as long as events still arrive.
   * @returns the number of events still outstanding
   */
  async arrival(timeoutMs?: number, groups?: readonly string[]): Promise<number> {
    const counts = await this.publisher.call('counts')
    if (timeoutMs !== undefined) return this.crowd.arrival(counts, timeoutMs, groups)
    const quietMsMax = this.options.arrivalTimeoutMs ?? ARRIVAL_TIMEOUT_MS
    let left = await this.crowd.arrival(counts, 0, groups)
    for (let quietMs = 0; left > 0 && quietMs < quietMsMax; ) {
      const now = await this.crowd.arrival(counts, ARRIVAL_LOOK_MS, groups)
      quietMs = now < left ? 0 : quietMs + ARRIVAL_LOOK_MS
      left = now
    }
    return left
  }

  async tally() {
    return this.crowd.tally(await this.publisher.call('counts'))
  }

  /** Deliveries that are due by now. */
  dueNow(): number {
    let due = this.dueBefore
    for (const { startUs, load, audience } of this.running)
      due += Math.min(load.seconds, (monotonicUs() - startUs) / 1e6) * load.perSecond * audience
    return due
  }

  usage(): Usage {
    return {
      server: cpuOfTree(this.pid),
      clientUs: this.crowd.children.reduce((sum, { pid }) => sum + totalOf(cpuOf(pid)), 0),
      othersUs: this.othersCpuUs(),
      us: monotonicUs(),
    }
  }

  /** Memory in use after a garbage collection. */
  async weigh() {
    const { child, probed } = this.server
    const workers = probed
      ? treeOf(child.pid)
          .slice(1)
          .filter((pid) => commandOf(pid).includes('probe'))
      : []
    for (const pid of workers) process.kill(pid, 'SIGUSR2')
    const heap = probed ? await child.call('settle') : undefined
    if (workers.length > 0) await new Promise((resolve) => setTimeout(resolve, WORKERS_SETTLE_MS))
    // A server with workers has more heaps than the one that answered.
    return { heap: workers.length > 0 ? undefined : heap, residentBytes: residentBytesOfTree(child.pid) }
  }

  /** Kills the server with SIGKILL, and starts it again on its port. @returns CPU that it had used when it listened */
  async restart(whenKilled: () => void): Promise<Cpu> {
    const { port } = this.server.target
    await this.server.child.kill()
    whenKilled()
    this.server = await this.options.peer.start(serverOptions(this.options, this.place, this.nats, port))
    return cpuOfTree(this.pid)
  }

  /** A figure of the server's own `/metrics`, over all labels. @returns undefined where it has none */
  async metric(name: string): Promise<number | undefined> {
    const { opsPort } = this.server
    if (opsPort === undefined) return undefined
    const text = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text()
    return [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'gm'))].reduce(
      (sum, [, value]) => sum + Number(value),
      0,
    )
  }

  async close(): Promise<void> {
    await this.crowd.stop()
    await this.publisher.stop()
    await this.server.child.stop()
    await this.nats.stop()
  }

  private kindOf({ type, dataBytes }: Pick<Load, 'type' | 'dataBytes'>) {
    const { workload } = this.options
    const { app, idField, id = 'bench', fields = '' } = workload
    return {
      url: this.server.publish.url,
      subject: subjectOf({ app, type: type ?? workload.type }),
      idField,
      id,
      fields,
      dataBytes,
    }
  }

  private audienceOf({ series = 0 }: Pick<Load, 'series'>): number {
    return this.groups.reduce(
      (sum, group) =>
        sum +
        (series === 0
          ? group.common
            ? group.connections
            : 0
          : group.series > 0
            ? group.connections / group.series
            : 0),
      0,
    )
  }

  /** CPU time of everything on the machine that is not the bench. */
  private othersCpuUs(): number {
    const own = new Set([process.pid, ...childPids(), ...treeOf(this.pid)])
    return [...own].reduce((left, pid) => left - totalOf(cpuOf(pid)), machineCpuUs())
  }
}

function serverOptions(
  { workload, rawByMessage, env = {} }: StageOptions,
  { cores, profile }: Place,
  nats: Nats,
  port: number,
): ServerOptions {
  return {
    natsUrl: nats.url,
    workload,
    core: cores?.server,
    jwtSecret: JWT_SECRET,
    rawByMessage: rawByMessage === true,
    profile,
    port,
    env,
  }
}
