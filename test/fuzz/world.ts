import { fileURLToPath } from 'node:url'
import type { JetStreamClient } from 'nats'
import { TestBroker } from '../support/broker.ts'
import { TestNats } from '../support/nats.ts'
import { Canary, type CanaryReport } from './canary.ts'
import type { PortName } from './script.ts'
import { signed } from './tokens.ts'

export interface WorldOptions {
  /** More options for the broker. */
  readonly env?: Readonly<Record<string, string | number>>
  /** The broker's limits are those of a broker that nobody configured. */
  readonly defaultLimits?: boolean
}

/** So high that odd input is looked at, not refused for its number. */
const RAISED_LIMITS = { COMMANDS_PER_MINUTE: 1_000_000_000 }
const CANARY_EVERY_MS = 100
const TRIES_MAX = 10

/** A broker on a nats-server of its own, with clients that behave well, and producers for them. */
export class World {
  readonly nats: TestNats
  readonly broker: TestBroker
  private readonly canaries: Canary[] = []
  private readonly mark = `canary-${Math.random().toString(36).slice(2)}`
  private published = 0
  private publishing: Promise<void> | undefined
  private stopped = false

  static async start({ env = {}, defaultLimits = false }: WorldOptions = {}): Promise<World> {
    const nats = await TestNats.start()
    const broker = new TestBroker({
      NATS_URL: nats.url,
      COMMAND_TIMEOUT_MS: 500,
      STREAM_MAX_BYTES: 268_435_456,
      LOG_LEVEL: 'warn',
      CONTRACTS: fileURLToPath(new URL('contract.mjs', import.meta.url)),
      ...(defaultLimits ? undefined : RAISED_LIMITS),
      ...env,
    })
    try {
      await broker.run()
      return new World(nats, broker)
    } catch (error) {
      await broker.stop()
      await nats.stop()
      throw error
    }
  }

  private constructor(nats: TestNats, broker: TestBroker) {
    this.nats = nats
    this.broker = broker
  }

  get ports(): Readonly<Record<PortName, number>> {
    const { port, codingAssistantPort, geminiSessionsPort, opsPort } = this.broker
    return {
      PORT: port,
      CODING_ASSISTANT_PORT: codingAssistantPort,
      GEMINI_SESSIONS_PORT: geminiSessionsPort,
      OPS_PORT: opsPort,
    }
  }

  /** A client that behaves well on each gateway, and events for them from now on. */
  async openCanaries(): Promise<void> {
    const { mark } = this
    const token = signed(
      JSON.stringify({
        sub: mark,
        exp: 4_000_000_000,
        project_access: [mark],
        session_access: [mark],
        roles: [],
        permissions: [],
      }),
    )
    const address = (port: number, path: string) => `http://127.0.0.1:${port}${path}`
    const raw = `ws://127.0.0.1:${this.ports.PORT}/ws?token=${token}`
    const subscribe = { type: 'subscribe', data: { events: ['sync_started', 'sync_progress', 'ai_chat'] } }
    this.canaries.push(
      ...(await Promise.all([
        Canary.raw('raw JSON', raw, 'json', subscribe, mark),
        Canary.raw('raw msgpack', raw, 'msgpack', subscribe, mark),
        Canary.socketIo(
          'swe-agent',
          address(this.ports.PORT, '/ws'),
          token,
          ['subscribe', { room: `project:${mark}` }],
          mark,
        ),
        Canary.socketIo('orchestrator-portal', address(this.ports.PORT, `/project/${mark}`), token, undefined, mark),
        Canary.socketIo(
          'coding-assistant',
          address(this.ports.CODING_ASSISTANT_PORT, '/'),
          token,
          ['project:join', { projectId: mark }],
          mark,
        ),
        Canary.socketIo(
          'gemini-sessions',
          address(this.ports.GEMINI_SESSIONS_PORT, '/'),
          token,
          ['join-session', { sessionId: mark }],
          mark,
        ),
      ])),
    )
    this.publishing = this.publish(await this.nats.jetstream())
  }

  /** Waits until the canaries have all that was published, or have had time for it. */
  async reportCanaries(patienceMs = 20_000): Promise<CanaryReport[]> {
    this.stopped = true
    await this.publishing
    const endMs = Date.now() + patienceMs
    while (Date.now() < endMs && this.canaries.some(({ last }) => last < this.published))
      await new Promise((resolve) => setTimeout(resolve, 50))
    return this.canaries.map((canary) => {
      const report = canary.report()
      return { ...report, lost: report.lost + Math.max(0, this.published - canary.last) }
    })
  }

  closeCanaries(): void {
    this.stopped = true
    for (const canary of this.canaries) canary.close()
  }

  async stop(): Promise<void> {
    this.closeCanaries()
    await this.publishing?.catch(() => {})
    await this.broker.stop()
    await this.nats.stop()
  }

  private async publish(js: JetStreamClient): Promise<void> {
    const { mark } = this
    while (!this.stopped) {
      const n = this.published + 1
      const store = (subject: string, data: object) =>
        stored(
          js,
          `events.${subject}`,
          Buffer.from(JSON.stringify({ data: { ...data, canary: mark, n } })),
          `${mark} ${subject} ${n}`,
        )
      await Promise.all([
        store('game-djinn.sync_started', { operation_id: 'canary' }),
        store('swe-agent.project.updated', { project_id: mark }),
        store('orchestrator-portal.task_update', { project_name: mark, task_id: 'canary' }),
        store('coding-assistant.file:updated', { projectId: mark, filePath: 'canary' }),
        store('gemini-sessions.gemini:content', { sessionId: mark, text: 'canary' }),
      ])
      this.published = n
      await new Promise((resolve) => setTimeout(resolve, CANARY_EVERY_MS))
    }
  }
}

/** Again and again until the server says that it has it; it keeps it once. */
async function stored(js: JetStreamClient, subject: string, body: Uint8Array, msgID: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await js.publish(subject, body, { msgID })
      return
    } catch (error) {
      if (tries === TRIES_MAX) throw error
    }
  }
}
