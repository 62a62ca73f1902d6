import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Ports } from './broker.ts'
import { hostOf, workersOf } from './config/load.ts'
import type { Config } from './config/options.ts'
import { BrokerError, reasonOf } from './errors.ts'
import { findPorts, listen, makeApp } from './gateways/listen.ts'
import { after, guarded, runGuarded } from './guarded.ts'
import { Link } from './ops/link.ts'
import type { Logger } from './ops/logger.ts'
import type { MetricValues } from './ops/metrics.ts'
import { allowedHosts } from './ops/allowed-host.ts'
import { mountOps } from './ops/ops-server.ts'
import { aggregated, remembered, totalFigures, totalStats } from './ops/totals.ts'
import type { Access, PageFigures, OpsView, PageSettings, Stats } from './ops/view.ts'

export interface SupervisorOptions {
  /** Reads the configuration again, for each reload. @throws BrokerError CONFIG_INVALID */
  readonly readConfig: () => Config
  readonly config: Config
  /** The keys were made for this machine: see `startBroker`. */
  readonly development: boolean
  readonly log: Logger
}

/** What a worker gets when it starts. */
export interface WorkerStart {
  readonly number: number
  readonly config: Config
  readonly development: boolean
  /** The folder in which workers listen for each other. */
  readonly folder: string
}

/** Flags for Node that only workers get. */
const WORKER_NODE_FLAGS: readonly string[] = []
const ANSWER_MS = 1_000
/** Requests in a row without an answer after which a worker counts as hanging. */
const SILENCES_MAX = 3
/** A worker that is not serving yet may be silent for at least this long: it is loading its program and contracts. */
const START_SILENCE_MS = 15_000
const BACK_OFF_MIN_MS = 100
const BACK_OFF_MAX_MS = 10_000
/** A worker that lived this long died of something new: its death counts as the first in a row. */
const STEADY_MS = 30_000
/** A worker that has not left this long after it should have is killed; its supervisor leaves right after it. */
const LATE_MS = 850

interface Worker {
  readonly number: number
  readonly process: ChildProcess
  readonly link: Link
  readonly startedMs: number
  readonly exited: Promise<void>
  ready: boolean
  leaving: boolean
  /** What it had counted when it was last asked. */
  counted: readonly MetricValues[]
}

/** One of the n places for a worker. */
interface Slot {
  worker: Worker | undefined
  /** Deaths in a row, for the back-off. */
  deaths: number
  retry: NodeJS.Timeout | undefined
}

/**
 * The supervisor: n worker processes share the client ports, and it answers for all of them on OPS_PORT. It serves no
 * clients itself, so that little in it can fail.
 */
export class Supervisor implements OpsView {
  /** The ports it listens on. */
  ports!: Ports
  private config: Config
  private readonly options: SupervisorOptions
  private readonly log: Logger
  private readonly folder = mkdtempSync(join(tmpdir(), 'roomcast-'))
  private readonly slots: Slot[]
  /** All running workers, including those that are leaving. */
  private readonly workers = new Set<Worker>()
  private started = 0
  private restarts = 0
  private departed: MetricValues[] = []
  private reloadWanted = false
  private reloading = false
  private stopping = false
  private closeOps = () => {}

  /**
   * Starts the first worker, then the others: a problem that keeps all of them from starting is reported only once.
   * @throws BrokerError saying what is wrong and what to do
   */
  static async start(options: SupervisorOptions): Promise<Supervisor> {
    const supervisor = new Supervisor(options)
    try {
      await supervisor.open()
    } catch (error) {
      for (const { process: child } of supervisor.workers) child.kill('SIGKILL')
      supervisor.close()
      throw error
    }
    return supervisor
  }

  private constructor(options: SupervisorOptions) {
    this.options = options
    this.config = options.config
    this.log = options.log
    this.slots = Array.from({ length: workersOf(options.config) }, () => ({
      worker: undefined,
      deaths: 0,
      retry: undefined,
    }))
  }

  private async open(): Promise<void> {
    const host = hostOf(this.config)
    const { port, contractPorts, opsHost, opsPort, opsAllowedHosts } = this.config
    const wanted = Object.entries(contractPorts)
    this.ports = await findPorts({
      PORT: { host, port },
      ...Object.fromEntries(wanted.map(([option, number]) => [option, { host, port: number }])),
      OPS_PORT: { host: opsHost, port: opsPort },
    })
    const app = makeApp(undefined)
    mountOps(app, this, allowedHosts(opsHost, opsAllowedHosts))
    await listen(app, opsHost, this.ports.OPS_PORT, 'OPS_PORT')
    this.closeOps = () => app.close()
    const [first, ...others] = this.slots as [Slot, ...Slot[]]
    await this.seat(first, await this.launch())
    await Promise.all(others.map(async (slot) => this.seat(slot, await this.launch())))
  }

  /** Replaces the workers one after another, each once its successor is ready: there are never fewer than before. */
  async reload(): Promise<void> {
    this.reloadWanted = true
    if (this.reloading) return
    this.reloading = true
    // If asked during a reload, starts over: the configuration read so far may be old by then.
    while (this.reloadWanted && !this.stopping) {
      this.reloadWanted = false
      await this.replaceAll()
    }
    this.reloading = false
  }

  /** Drains all workers, then leaves. */
  async stop(): Promise<void> {
    this.stopping = true
    for (const { retry } of this.slots) clearTimeout(retry)
    await Promise.all([...this.workers].map((worker) => this.drain(worker)))
    this.close()
  }

  /** A fault of the supervisor's own got past every guard: it is not ready from now on. */
  failed(): void {
    this.stopping = true
  }

  /** Ends the workers at once. */
  kill(): void {
    this.stopping = true
    for (const { process: child } of this.workers) child.kill('SIGKILL')
    this.close()
  }

  async readiness(): Promise<{ ready: boolean; reasons: readonly string[] }> {
    if (this.stopping) return { ready: false, reasons: ['draining'] }
    const states = await Promise.all(
      this.slots.map(async ({ worker }, index): Promise<string[]> => {
        if (worker === undefined) return [`place ${index + 1} of ${this.slots.length}: no worker serves`]
        const reasons = await worker.link
          .ask<unknown>('unready', undefined, ANSWER_MS)
          .catch((error: unknown) => [reasonOf(error)])
        return (Array.isArray(reasons) ? reasons : ['what it said is no answer']).map(
          (reason) => `worker ${worker.number}: ${reason}`,
        )
      }),
    )
    return { ready: states.some((reasons) => reasons.length === 0), reasons: states.flat() }
  }

  async figures(): Promise<PageFigures> {
    const figures = totalFigures(await this.askAll<PageFigures>('figures'))
    return { ...figures, rss_bytes: figures.rss_bytes + process.memoryUsage.rss() }
  }

  async metrics(): Promise<string> {
    await this.count([...this.workers])
    const own = [
      gauge('roomcast_workers', 'Worker processes wanted', this.slots.length),
      gauge(
        'roomcast_workers_ready',
        'Worker processes that serve',
        this.slots.filter(({ worker }) => worker?.ready).length,
      ),
      {
        ...gauge('roomcast_worker_restarts_total', 'Workers started again because one died', this.restarts),
        type: 'counter' as const,
      },
    ]
    return aggregated([own, this.departed, ...[...this.workers].map(({ counted }) => counted)]).metrics()
  }

  pageSettings(): Promise<PageSettings> {
    return this.askOne('pageSettings')
  }

  access(token: string): Promise<Access> {
    return this.askOne('access', token)
  }

  /** The answer of any worker. @throws BrokerError SERVICE_UNAVAILABLE if none serves; TIMEOUT */
  private async askOne<T>(question: string, detail?: unknown): Promise<T> {
    for (const { worker } of this.slots) if (worker) return worker.link.ask<T>(question, detail, ANSWER_MS)
    throw new BrokerError('SERVICE_UNAVAILABLE')
  }

  private async stats(): Promise<Stats> {
    return totalStats(await this.askAll<Stats>('stats'))
  }

  /** The answers of those workers that give one in time. */
  private async askAll<T>(question: string): Promise<T[]> {
    const answers = await Promise.all(
      [...this.workers]
        .filter(({ ready }) => ready)
        .map(({ link }) => link.ask<T>(question, undefined, ANSWER_MS).catch(() => undefined)),
    )
    return answers.filter((answer) => answer !== undefined) as T[]
  }

  private async count(workers: readonly Worker[]): Promise<void> {
    await Promise.all(
      workers
        .filter(({ ready }) => ready)
        .map(async (worker) => {
          const counted = await worker.link.ask<unknown>('metrics', undefined, ANSWER_MS).catch(() => undefined)
          // Other code in a worker may answer in its place, before it can itself.
          if (Array.isArray(counted)) worker.counted = counted
        }),
    )
  }

  /** Starts a worker; resolves once it serves. @throws BrokerError saying what kept it from serving */
  private async launch(): Promise<Worker> {
    const number = ++this.started
    const child = fork(process.argv[1] as string, ['worker', String(number)], {
      execArgv: [...process.execArgv, ...WORKER_NODE_FLAGS],
      // What a contract prints goes to stderr, as logs do: stdout is the supervisor's.
      stdio: ['ignore', 2, 2, 'ipc'],
      // JSON has no NaN.
      serialization: 'advanced',
    })
    const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    const link = new Link(child, (question) => {
      if (question === 'stats') return this.stats()
      throw new Error(`no such question: ${question}`)
    })
    const worker: Worker = {
      number,
      process: child,
      link,
      startedMs: Date.now(),
      exited,
      ready: false,
      leaving: false,
      counted: [],
    }
    this.workers.add(worker)
    child.on('error', (error) => this.log.error({ worker: number, reason: error.message }, 'a worker process failed'))
    child.once(
      'exit',
      guarded('end of a worker', (code: number | null, signal: string | null) => this.gone(worker, code, signal)),
    )
    const { PORT, OPS_PORT, ...contractPorts } = this.ports
    const config = { ...this.config, port: PORT, contractPorts, opsPort: OPS_PORT }
    const start: WorkerStart = { number, config, development: this.options.development, folder: this.folder }
    const started = link.ask('start', start)
    runGuarded('watch over a worker', () => this.watch(worker))
    await started.catch(async (error: unknown) => {
      const said = child.connected
      worker.leaving = true
      child.kill('SIGKILL')
      await exited
      throw said
        ? error
        : new BrokerError('INTERNAL', `Worker ${number} ended before it could serve; what it said is above`)
    })
    worker.ready = true
    return worker
  }

  /**
   * Kills a worker that hangs: it serves nobody, yet the kernel would go on giving it clients. One that hangs before it
   * serves would hold up this reload and every later one for ever.
   */
  private async watch(worker: Worker): Promise<void> {
    const { workerTimeoutMs } = this.config
    for (let silentMs = 0; silentMs < workerTimeoutMs || (!worker.ready && silentMs < START_SILENCE_MS); ) {
      const askMs = Math.ceil(
        (worker.ready ? workerTimeoutMs : Math.max(workerTimeoutMs, START_SILENCE_MS)) / SILENCES_MAX,
      )
      const answers = await worker.link.ask('unready', undefined, askMs).then(
        () => true,
        () => false,
      )
      if (worker.leaving || !this.workers.has(worker)) return
      silentMs = answers ? 0 : silentMs + askMs
      if (answers) await new Promise((resolve) => setTimeout(resolve, workerTimeoutMs / SILENCES_MAX).unref())
    }
    this.log.error(
      { worker: worker.number, seconds: this.config.workerTimeoutMs / 1000 },
      'a worker hangs (WORKER_TIMEOUT_MS) and is killed',
    )
    worker.process.kill('SIGKILL')
  }

  /** A worker's process ended. */
  private gone(worker: Worker, code: number | null, signal: string | null): void {
    this.workers.delete(worker)
    const slot = this.slots.find((one) => one.worker === worker)
    if (slot) slot.worker = undefined
    runGuarded('counts of a worker', () => {
      this.departed = remembered(this.departed, worker.counted)
    })
    if (worker.leaving || this.stopping || !slot) return
    slot.deaths = Date.now() - worker.startedMs > STEADY_MS ? 1 : slot.deaths + 1
    this.log.error({ worker: worker.number, code, signal }, 'a worker died; its clients come back to the others')
    this.restart(slot)
  }

  private restart(slot: Slot): void {
    const afterMs = Math.min(BACK_OFF_MAX_MS, BACK_OFF_MIN_MS * 2 ** (slot.deaths - 1))
    slot.retry = after('restart of a worker', afterMs, async () => {
      this.restarts++
      try {
        const worker = await this.launch()
        this.log.info({ worker: worker.number }, 'a worker has replaced the one that died')
        runGuarded('end of a worker', () => this.seat(slot, worker))
      } catch (error) {
        if (this.stopping) return
        slot.deaths++
        this.log.error({ reason: reasonOf(error) }, 'a worker could not be started, trying again')
        if (slot.worker === undefined) this.restart(slot)
      }
    })
  }

  /** @returns a promise that resolves once the previous worker in this place has ended */
  private seat(slot: Slot, worker: Worker): Promise<void> {
    const before = slot.worker
    // It may have died already.
    slot.worker = this.workers.has(worker) ? worker : undefined
    clearTimeout(slot.retry)
    if (this.stopping) return this.drain(worker)
    if (slot.worker === undefined) {
      slot.deaths++
      this.restart(slot)
    }
    return before ? this.drain(before) : Promise.resolve()
  }

  private async replaceAll(): Promise<void> {
    const before = this.config
    try {
      this.readAgain()
      for (const slot of this.slots) {
        if (this.stopping) return
        const worker = await this.launch()
        this.log.info({ worker: worker.number, instead_of: slot.worker?.number }, 'a worker takes over')
        await this.seat(slot, worker)
      }
      this.log.info('reloaded')
    } catch (error) {
      // With the configuration of before, a worker that dies can be replaced.
      this.config = before
      if (!this.stopping) this.log.error({ reason: reasonOf(error) }, 'reloading failed; the workers that run stay')
    }
  }

  /** Reads the configuration again, as far as it can change while the ports and the number of workers stay. */
  private readAgain(): void {
    const { host, workers, port, contractPorts, opsPort, opsHost } = this.options.config
    const fixed = { host, workers, port, opsPort, opsHost }
    const read = this.options.readConfig()
    if (read.natsUrl === '') throw new BrokerError('CONFIG_INVALID', 'NATS_URL is empty; workers need it')
    const changed = [
      ...Object.entries(fixed).filter(([name, value]) => read[name as keyof typeof fixed] !== value),
      ...Object.entries(contractPorts).filter(([option, value]) => read.contractPorts[option] !== value),
    ]
    for (const [option] of changed) this.log.warn({ option }, 'this option needs a restart; it stays as it was')
    this.config = { ...read, ...fixed, contractPorts }
  }

  /** Lets a worker send its clients away, and makes sure that it ends after that. */
  private async drain(worker: Worker): Promise<void> {
    if (!worker.leaving) {
      worker.leaving = true
      runGuarded('counts of a worker', () => this.count([worker]))
      void worker.link.ask('drain').catch(() => {})
    }
    const late = after('end of a worker', this.config.drainMs + LATE_MS, () => worker.process.kill('SIGKILL'))
    await worker.exited
    clearTimeout(late)
  }

  private close(): void {
    this.closeOps()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function gauge(name: string, help: string, value: number): MetricValues {
  return { name, help, type: 'gauge', aggregator: 'sum', values: [{ labels: {}, value }] }
}
