import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type JetStreamManager, type NatsConnection } from 'nats'
import { eventually } from '../support/client.ts'
import { freePort } from '../support/nats.ts'
import { forget, removeAtExit, signal, watchOver } from './processes.ts'

export const STREAM = 'ROOMCAST_EVENTS'
/** Of JetStream clusters older ones lose what they acknowledged. */
export const CLUSTER_VERSION_MIN = [2, 10] as const
const START_MS = 20_000
const ANSWER_MS = 3_000

/** `2.9.10` of the program at `path`. */
export function versionOf(path: string): string {
  const match = /v(\d+\.\d+\.\d+\S*)/.exec(execFileSync(path, ['-v'], { encoding: 'utf8' }))
  if (!match) throw new Error(`${path} -v names no version`)
  return match[1] as string
}

export function canCluster(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > CLUSTER_VERSION_MIN[0] || (major === CLUSTER_VERSION_MIN[0] && minor >= CLUSTER_VERSION_MIN[1])
}

/** One nats-server, or a cluster of them, with JetStream; data and configuration in a temporary folder. */
export class NatsCluster {
  readonly nodes: readonly NatsNode[]
  private readonly folder: string
  private nc: NatsConnection | undefined

  static async start(program: string, count: number): Promise<NatsCluster> {
    const cluster = new NatsCluster(program, await Promise.all(Array.from({ length: count * 2 }, freePort)))
    await Promise.all(cluster.nodes.map((node) => node.start()))
    if (count > 1) await cluster.makeStream(count)
    return cluster
  }

  private constructor(program: string, ports: readonly number[]) {
    this.folder = mkdtempSync(join(tmpdir(), 'roomcast-chaos-nats-'))
    removeAtExit(this.folder)
    const count = ports.length / 2
    const routes = ports.slice(count)
    this.nodes = ports
      .slice(0, count)
      .map(
        (port, i) =>
          new NatsNode(
            program,
            `n${i}`,
            port,
            this.folder,
            count > 1 ? { port: routes[i] as number, routes } : undefined,
          ),
      )
  }

  /** A connection of our own, past all proxies. */
  async client(): Promise<NatsConnection> {
    this.nc ??= await connect({
      servers: this.nodes.map(({ port }) => `127.0.0.1:${port}`),
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
      reconnectJitter: 50,
      pingInterval: 1_000,
      maxPingOut: 2,
      waitOnFirstConnect: true,
    })
    return this.nc
  }

  async manager(): Promise<JetStreamManager> {
    return (await this.client()).jetstreamManager({ timeout: ANSWER_MS, checkAPI: false })
  }

  /** The node that leads the stream, or the only one. */
  async leader(): Promise<NatsNode> {
    const [only] = this.nodes
    if (this.nodes.length === 1) return only as NatsNode
    const { cluster } = await (await this.manager()).streams.info(STREAM)
    return this.nodes.find(({ name }) => name === cluster?.leader) ?? (only as NatsNode)
  }

  /** Resolves once the stream has a leader, and all its replicas are current. */
  async settled(timeoutMs: number): Promise<void> {
    if (this.nodes.length === 1) return
    await eventually(async () => {
      const info = await (await this.manager()).streams.info(STREAM).catch(() => undefined)
      return (
        info?.cluster?.leader !== undefined &&
        (info.cluster.replicas ?? []).every(({ current, offline }) => current && !offline)
      )
    }, timeoutMs)
  }

  /** Everything runs again. */
  async heal(): Promise<void> {
    for (const node of this.nodes) node.resume()
    await Promise.all(this.nodes.map((node) => node.start()))
  }

  async stop(): Promise<void> {
    await this.nc?.close()
    await Promise.all(this.nodes.map((node) => node.end('SIGKILL')))
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** Replicated as often as there are nodes; otherwise as the broker makes it. */
  private async makeStream(replicas: number): Promise<void> {
    const jsm = await this.manager()
    // The nodes elect a leader first.
    await eventually(
      () =>
        jsm.streams.add({ name: STREAM, subjects: ['events.>'], num_replicas: replicas }).then(
          () => true,
          () => false,
        ),
      START_MS,
    )
  }
}

export class NatsNode {
  readonly name: string
  readonly port: number
  /** The end of what it logged. */
  log = ''
  private readonly program: string
  private readonly store: string
  private readonly configuration: string
  private process: ChildProcess | undefined

  constructor(
    program: string,
    name: string,
    port: number,
    folder: string,
    cluster?: { readonly port: number; readonly routes: readonly number[] },
  ) {
    this.program = program
    this.name = name
    this.port = port
    this.store = join(folder, name)
    this.configuration = join(folder, `${name}.conf`)
    // Without `no_advertise` clients would learn the other nodes' addresses, and go past the proxies.
    const routes = cluster?.routes.map((route) => `nats://127.0.0.1:${route}`).join(', ')
    writeFileSync(
      this.configuration,
      [
        `server_name: ${name}`,
        `listen: 127.0.0.1:${port}`,
        `jetstream { store_dir: "${this.store}" }`,
        ...(cluster
          ? [`cluster { name: chaos, listen: 127.0.0.1:${cluster.port}, no_advertise: true, routes: [${routes}] }`]
          : []),
      ].join('\n'),
    )
  }

  get runs(): boolean {
    return this.process !== undefined && this.process.exitCode === null && this.process.signalCode === null
  }

  /** Starts it unless it runs. */
  async start(): Promise<void> {
    if (this.runs) return
    const child = spawn(this.program, ['-c', this.configuration], { stdio: ['ignore', 'ignore', 'pipe'] })
    const pid = child.pid as number
    this.process = child
    watchOver(pid)
    child.once('exit', () => forget(pid))
    let said = ''
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        said = (said + chunk).slice(-20_000)
        this.log = (this.log + chunk).slice(-200_000)
        if (said.includes('Server is ready')) resolve()
      })
      child.once('error', reject)
      child.once('exit', (code, by) => reject(new Error(`nats-server ended with ${code ?? by}: ${said}`)))
    })
  }

  pause(): void {
    if (this.runs) signal(this.process?.pid as number, 'SIGSTOP')
  }

  resume(): void {
    if (this.runs) signal(this.process?.pid as number, 'SIGCONT')
  }

  async end(how: NodeJS.Signals): Promise<void> {
    const child = this.process
    if (!child || !this.runs) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill(how)
    await gone
  }

  /** All that it stored is gone. Only while it does not run. */
  wipe(): void {
    rmSync(this.store, { recursive: true, force: true })
  }
}
