import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSigner } from 'fast-jwt'

export const SECRET = 'a-secret-for-tests-that-is-long-enough'
export const PUBLISH_KEY = 'a-publish-key-for-tests'
const ENTRY = new URL('../../dist/main.js', import.meta.url).pathname

/** A broker in a process of its own: the built program, as users start it. */
export class TestBroker {
  port = 0
  codingAssistantPort = 0
  geminiSessionsPort = 0
  opsPort = 0
  /** All ports that it printed. */
  ports: Readonly<Record<string, number>> = {}
  /** What it logged. */
  log = ''
  private readonly env: Readonly<Record<string, string>>
  /** Its home, removed by `stop`. */
  readonly folder = mkdtempSync(join(tmpdir(), 'roomcast-broker-'))
  private process: ChildProcess | undefined

  static async start(env: Readonly<Record<string, string | number>> = {}): Promise<TestBroker> {
    const broker = new TestBroker(env)
    await broker.run()
    return broker
  }

  constructor(env: Readonly<Record<string, string | number>>) {
    this.env = Object.fromEntries(
      Object.entries({
        JWT_SECRET: SECRET,
        PUBLISH_KEY,
        HOST: '127.0.0.1',
        PORT: 0,
        CODING_ASSISTANT_PORT: 0,
        GEMINI_SESSIONS_PORT: 0,
        OPS_PORT: 0,
        DRAIN_MS: 200,
        ...env,
      }).map(([name, value]) => [name, String(value)]),
    )
  }

  /** Starts it, or starts it again, on the ports that it had. */
  async run(): Promise<void> {
    const ports = Object.fromEntries(
      Object.entries(this.ports).map(([name, port]) => [name.toUpperCase(), String(port)]),
    )
    const child = spawn(process.execPath, [ENTRY, 'serve', '--print-ports'], {
      cwd: this.folder,
      env: { PATH: process.env.PATH, HOME: this.folder, ...this.env, ...ports },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.process = child
    let out = ''
    child.stderr.on('data', (chunk: Buffer) => {
      this.log += chunk.toString()
    })
    await new Promise<void>((resolve, reject) => {
      child.stdout.on('data', (chunk: Buffer) => {
        out += chunk.toString()
        if (out.includes('\n')) resolve()
      })
      child.once('exit', (code) => reject(new Error(`the broker ended with ${code}: ${this.log}`)))
    })
    this.ports = JSON.parse(out)
    const { port = 0, coding_assistant_port = 0, gemini_sessions_port = 0, ops_port = 0 } = this.ports
    this.port = port
    this.codingAssistantPort = coding_assistant_port
    this.geminiSessionsPort = gemini_sessions_port
    this.opsPort = ops_port
  }

  get runs(): boolean {
    return this.process !== undefined && this.process.exitCode === null && this.process.signalCode === null
  }

  get pid(): number {
    return this.process?.pid as number
  }

  /** It runs no more, by itself or because somebody ended it. */
  get gone(): boolean {
    return !this.process || this.process.exitCode !== null || this.process.signalCode !== null
  }

  url(path = '/ws'): string {
    return `ws://127.0.0.1:${this.port}${path}`
  }

  async ops(path: string): Promise<Response> {
    const url = `http://127.0.0.1:${this.opsPort}${path}`
    return fetch(url).catch((error: { cause?: { code?: string } }) => {
      // A connection that was kept may end just as it is used again.
      if (error.cause?.code === 'UND_ERR_SOCKET') return fetch(url)
      throw error
    })
  }

  async publish(app: string, type: string, body: unknown): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port}/api/v1/events/${app}/${type}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${PUBLISH_KEY}` },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    })
  }

  /** The value of a metric without labels, or the sum over its labels. */
  async metric(name: string): Promise<number> {
    const text = await (await this.ops('/metrics')).text()
    return text
      .split('\n')
      .filter((line) => line.startsWith(`roomcast_${name} `) || line.startsWith(`roomcast_${name}{`))
      .reduce((sum, line) => sum + Number(line.split(' ').pop()), 0)
  }

  /** Whether so many sessions are behind and stay so: those that only trail for a moment do not count. */
  async areBehind(sessions: number): Promise<boolean> {
    for (let look = 0; look < 8; look++) {
      if ((await this.metric('sessions_behind')) < sessions) return false
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    return true
  }

  /** @returns the exit code */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<number | null> {
    const child = this.process
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null
    const gone = new Promise<number | null>((resolve) => child.once('exit', resolve))
    child.kill(signal)
    return gone
  }

  /** Waits for it to end by itself. @returns the exit code */
  async ended(): Promise<number | null> {
    const child = this.process
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null
    return new Promise((resolve) => child.once('exit', resolve))
  }

  async stop(): Promise<void> {
    await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A token as an identity provider of the test's would sign it. */
export function token(sub = 'alice', claims: Record<string, unknown> = {}, key = SECRET): string {
  return createSigner({ key, algorithm: 'HS256' })({ sub, exp: Math.floor(Date.now() / 1000) + 3600, ...claims })
}
