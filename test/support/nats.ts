import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type JetStreamClient, type NatsConnection } from 'nats'

/** The program that tests run: that of PATH, or another version's. */
const NATS_SERVER = process.env.NATS_SERVER ?? 'nats-server'

/** A real nats-server of the test's own, on a free port, with its data in a temporary folder. */
export class TestNats {
  readonly port: number
  readonly url: string
  /** Where it keeps its streams. */
  readonly folder: string
  private readonly args: readonly string[]
  private process: ChildProcess | undefined
  private nc: NatsConnection | undefined

  static async start(args: readonly string[] = ['-js']): Promise<TestNats> {
    const nats = new TestNats(await freePort(), args)
    await nats.run()
    return nats
  }

  private constructor(port: number, args: readonly string[]) {
    this.port = port
    this.url = `nats://127.0.0.1:${port}`
    this.folder = mkdtempSync(join(tmpdir(), 'roomcast-nats-'))
    this.args = args
  }

  async run(): Promise<void> {
    this.process = spawn(
      NATS_SERVER,
      [
        '-a',
        '127.0.0.1',
        '-p',
        String(this.port),
        ...(this.args.includes('-js') ? ['-sd', this.folder] : []),
        ...this.args,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    )
    let said = ''
    await new Promise<void>((resolve, reject) => {
      this.process?.stderr?.on('data', (chunk: Buffer) => {
        said += chunk.toString()
        if (said.includes('Server is ready')) resolve()
      })
      this.process?.once('exit', () => reject(new Error(`nats-server did not start: ${said}`)))
    })
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { process } = this
    if (!process || process.exitCode !== null || process.signalCode !== null) return
    const gone = new Promise((resolve) => process.once('exit', resolve))
    process.kill(signal)
    await gone
  }

  signal(signal: NodeJS.Signals): void {
    this.process?.kill(signal)
  }

  /** Loses all that it stored. It must not run. */
  wipe(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** A client connection of the test's own. */
  async client(): Promise<NatsConnection> {
    this.nc ??= await connect({ servers: this.url, maxReconnectAttempts: -1, reconnectTimeWait: 100 })
    return this.nc
  }

  async jetstream(): Promise<JetStreamClient> {
    return (await this.client()).jetstream()
  }

  async stop(): Promise<void> {
    await this.nc?.close()
    await this.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
