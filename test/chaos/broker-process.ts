import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from '../support/client.ts'
import { TestBroker } from '../support/broker.ts'
import { childrenOf, forget, removeAtExit, signal, watchOver } from './processes.ts'

const START_MS = 40_000
const RETRY_MS = 300
/** A supervisor that was killed takes its workers along; those that it left are ended then. */
const ORPHANS_MS = 2_000

/**
 * The broker as a service manager keeps it: started again whenever it ends. Ends that are not our doing are counted.
 */
export class BrokerProcess {
  /** How it ended by itself, each time. */
  readonly exits: string[] = []
  readonly broker: TestBroker
  /** It is to run; otherwise somebody ended it and starts it again. */
  private wanted = false
  private starting: Promise<void> | undefined

  constructor(env: Readonly<Record<string, string | number>>) {
    const folder = mkdtempSync(join(tmpdir(), 'roomcast-chaos-broker-'))
    removeAtExit(folder)
    // What a process that is killed cannot remove.
    this.broker = new TestBroker({ ...env, TMPDIR: folder })
    removeAtExit(this.broker.folder)
  }

  get port(): number {
    return this.broker.port
  }

  /** Starts it unless it runs; tries again as long as it cannot, for example without NATS. */
  async start(): Promise<void> {
    this.wanted = true
    this.starting ??= this.keepTrying().finally(() => {
      this.starting = undefined
    })
    await this.starting
  }

  /** Ends it, and keeps it so until it is started. */
  async end(how: NodeJS.Signals): Promise<void> {
    this.wanted = false
    const { broker } = this
    const workers = this.workers()
    await broker.kill(how)
    await this.starting?.catch(() => {})
    const alive = () => workers.filter(isAlive)
    await eventually(() => alive().length === 0, ORPHANS_MS).catch(() => {
      this.exits.push(`${alive().length} workers outlived their supervisor by ${ORPHANS_MS} ms`)
      for (const pid of alive()) signal(pid, 'SIGKILL')
    })
  }

  pause(): void {
    if (this.broker.runs) signal(this.broker.pid, 'SIGSTOP')
  }

  resume(): void {
    if (this.broker.runs) for (const pid of [this.broker.pid, ...childrenOf(this.broker.pid)]) signal(pid, 'SIGCONT')
  }

  workers(): number[] {
    return this.broker.runs ? childrenOf(this.broker.pid) : []
  }

  /** Undefined where it is ready, else its reasons. */
  async whyNotReady(): Promise<string | undefined> {
    try {
      const answer = await this.broker.ops('/readyz')
      return answer.status === 200 ? undefined : JSON.stringify(await answer.json())
    } catch (error) {
      return String(error)
    }
  }

  /** Log lines of workers that ended by themselves. */
  get workerDeaths(): string[] {
    return this.broker.log
      .split('\n')
      .filter((line) => /a worker hangs|a worker died/.test(line) && !line.includes('"signal":"SIGKILL"'))
  }

  async stop(): Promise<void> {
    this.resume()
    await this.end('SIGKILL')
    await this.broker.stop()
  }

  private async keepTrying(): Promise<void> {
    const endMs = Date.now() + START_MS
    while (this.wanted && !this.broker.runs) {
      try {
        const started = this.broker.run()
        const { pid } = this.broker
        watchOver(pid)
        const ended = this.broker.ended()
        void ended.then(() => forget(pid))
        await started
        void ended.then((code) => {
          if (!this.wanted) return
          this.exits.push(`with code ${code}: ${this.broker.log.trimEnd().split('\n').slice(-3).join(' | ')}`)
          this.start().catch((error: Error) => this.exits.push(error.message))
        })
      } catch (error) {
        if (Date.now() > endMs) throw error
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
