import { type ChildProcess, spawn } from 'node:child_process'
import type { Answer, Call, Calls } from './calls.ts'
import type { Core } from '../machine/cores.ts'
import { removeTemporaryFolders } from './folder.ts'

/** Processes that have not ended. */
const running = new Set<ChildProcess>()

/** Ids of all processes that the bench has running. */
export function childPids(): number[] {
  return [...running].flatMap(({ pid }) => pid ?? [])
}

let watching = false
const LEAVE_MS = 5_000

export interface ChildOptions {
  /** For errors: "the broker". */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly core: Core | undefined
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/**
 * A process of the bench. It does not outlive the bench. If it ends unexpectedly, it ends the bench with an uncaught
 * error: whatever would be measured without it counts for nothing.
 */
export class Child<T extends Calls<T> = Record<never, never>> {
  /** What it wrote on stdout and stderr. */
  output = ''
  readonly name: string
  private readonly process: ChildProcess
  private readonly waiting = new Map<number, (result: unknown) => void>()
  private watchers: { readonly heard: () => void; readonly ended: (error: Error) => void }[] = []
  private calls = 0
  private stopping = false
  private answers = false

  constructor({ name, command, args, core, env = {}, cwd }: ChildOptions) {
    this.name = name
    killAllOnExit()
    const [file, ...rest] = core === undefined ? [command, ...args] : ['taskset', '-c', String(core), command, ...args]
    this.process = spawn(file as string, rest, {
      cwd,
      env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    running.add(this.process)
    const hear = (chunk: Buffer) => {
      this.output += chunk.toString()
      for (const { heard } of this.watchers) heard()
    }
    this.process.stdout?.on('data', hear)
    this.process.stderr?.on('data', hear)
    this.process.on('message', ({ id, result }: Answer) => {
      this.answers = true
      this.waiting.get(id)?.(result)
      this.waiting.delete(id)
    })
    this.process.on('error', (error) => {
      throw new Error(`${name} cannot be started: ${error.message}`)
    })
    this.process.on('exit', () => running.delete(this.process))
    // At `exit` some of its output may be unread; at `close` all has been read. Not emitted after `disconnect()`.
    this.process.on('close', (code, signal) => {
      if (this.stopping) return
      const error = new Error(`${name} ended with ${code ?? signal}:\n${this.output.slice(-4_000)}`)
      if (this.watchers.length === 0) throw error
      for (const { ended } of this.watchers) ended(error)
    })
  }

  get pid(): number {
    return this.process.pid as number
  }

  /** Waits until its output matches. @throws Error if it ends first */
  async waitForOutput(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.output)
      if (match) return match
      await new Promise<void>((heard, ended) => this.watchers.push({ heard, ended }))
      this.watchers = []
    }
  }

  /** Calls what the process answers with `answerCalls`. */
  async call<K extends keyof T & string>(name: K, ...args: Parameters<T[K]>): Promise<Awaited<ReturnType<T[K]>>> {
    const id = this.calls++
    return new Promise<Awaited<ReturnType<T[K]>>>((resolve) => {
      this.waiting.set(id, resolve as (result: unknown) => void)
      this.process.send({ id, name, args } satisfies Call)
    })
  }

  /** Kills it. */
  async kill(): Promise<void> {
    this.stopping = true
    if (!running.has(this.process)) return
    const gone = new Promise((resolve) => this.process.once('exit', resolve))
    this.process.kill('SIGKILL')
    await gone
  }

  /** Ends it. A process that answers calls exits by itself, so that Node can write its CPU profile. */
  async stop(): Promise<void> {
    this.stopping = true
    if (!running.has(this.process)) return
    const gone = new Promise((resolve) => this.process.once('exit', resolve))
    this.process.disconnect()
    // A program that does not use the channel does not notice that it was closed.
    const late = setTimeout(() => this.process.kill('SIGKILL'), this.answers ? LEAVE_MS : 0)
    await gone
    clearTimeout(late)
  }
}

function killAllOnExit(): void {
  if (watching) return
  watching = true
  process.on('exit', () => {
    for (const child of running) child.kill('SIGKILL')
    removeTemporaryFolders()
  })
  process.on('SIGINT', () => process.exit(130))
  process.on('SIGTERM', () => process.exit(143))
  process.on('SIGHUP', () => process.exit(129))
}
