import { type JetStreamClient, StringCodec } from 'nats'
import type { NatsCluster } from './nats-cluster.ts'

const codec = StringCodec()
const ACK_MS = 1_000
const RETRY_MS = 50

export interface RoomLoad {
  readonly room: string
  readonly perSecond: number
  readonly bytes: number
}

/**
 * Publishes numbers from 0 on to each room, the next one once the last is acknowledged: what counts as published is
 * known, and stored in order. A number is tried until NATS has it, always under the same message id.
 */
export class ChaosPublisher {
  /** By room: how many numbers are surely stored. */
  readonly published = new Map<string, number>()
  /** `room#n` of what was tried more than once. */
  readonly repeated = new Set<string>()
  private readonly js: JetStreamClient
  private readonly loads: readonly RoomLoad[]
  private running: Promise<void>[] = []
  private stopping = false
  private givenUp = false

  static async open(nats: NatsCluster, loads: readonly RoomLoad[]): Promise<ChaosPublisher> {
    return new ChaosPublisher((await nats.client()).jetstream({ timeout: ACK_MS }), loads)
  }

  private constructor(js: JetStreamClient, loads: readonly RoomLoad[]) {
    this.js = js
    this.loads = loads
  }

  get total(): number {
    return [...this.published.values()].reduce((sum, count) => sum + count, 0)
  }

  /** One more event for each room. */
  async once(): Promise<void> {
    await Promise.all(this.loads.map((load) => this.next(load)))
  }

  start(): void {
    this.running = this.loads.map((load) => this.run(load))
  }

  /** Ends with one event more for each room. @throws Error where NATS takes it not */
  async finish(timeoutMs: number): Promise<void> {
    this.stopping = true
    const late = setTimeout(() => {
      this.givenUp = true
    }, timeoutMs)
    await Promise.all(this.running)
    await this.once()
    clearTimeout(late)
    if (this.givenUp) throw new Error(`NATS stored no events any more for ${timeoutMs} ms`)
  }

  stop(): void {
    this.stopping = this.givenUp = true
  }

  private async run(load: RoomLoad): Promise<void> {
    const startMs = Date.now()
    for (let sent = 0; !this.stopping; sent++) {
      await this.next(load)
      // What an outage held up is not made up for in a burst: the pace goes on from there.
      const dueMs = Math.max(startMs + ((sent + 1) * 1_000) / load.perSecond - Date.now(), 200 / load.perSecond)
      await new Promise((resolve) => setTimeout(resolve, dueMs))
    }
  }

  private async next({ room, bytes }: RoomLoad): Promise<void> {
    const n = this.published.get(room) ?? 0
    // Lengths that vary, so that frames do not end at the same places each time.
    const body = codec.encode(JSON.stringify({ data: { room, n, padding: 'x'.repeat((bytes * (1 + (n % 7))) / 4) } }))
    for (let tries = 0; !this.givenUp; tries++) {
      if (tries > 0) this.repeated.add(`${room}#${n}`)
      try {
        await this.js.publish('events.chaos.numbered', body, { msgID: `${room}#${n}`, timeout: ACK_MS })
        this.published.set(room, n + 1)
        return
      } catch {
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      }
    }
  }
}
