import { StringCodec } from 'nats'
import { token } from './broker.ts'
import { TestClient } from './client.ts'
import type { TestNats } from './nats.ts'

const codec = StringCodec()

/** What the event of a number is. */
export type EventOf = (n: number) => { readonly subject: string; readonly body: unknown }

const gameAdded: EventOf = (n) => ({ subject: 'events.game-djinn.game_added', body: { data: { n } } })

/** Publishes numbered events until it is stopped; the numbers have no gap, whatever NATS does meanwhile. */
export class Publisher {
  /** Events that are surely stored. */
  stored = 0
  private stopping = false
  private readonly eventOf: EventOf
  private readonly running: Promise<void>

  constructor(nats: TestNats, perSecond: number, eventOf: EventOf = gameAdded) {
    this.eventOf = eventOf
    this.running = this.run(nats, perSecond)
  }

  async stop(): Promise<number> {
    this.stopping = true
    await this.running
    return this.stored
  }

  private async run(nats: TestNats, perSecond: number): Promise<void> {
    const js = await nats.jetstream()
    while (!this.stopping) {
      const batch = Math.max(1, Math.round(perSecond / 50))
      for (let i = 0; i < batch; i++) {
        const n = this.stored
        const { subject, body } = this.eventOf(n)
        // The same message id: an event whose acknowledgement was lost is not stored twice.
        await js.publish(subject, codec.encode(JSON.stringify(body)), { msgID: `n-${n}`, timeout: 1_000 }).then(
          () => this.stored++,
          () => new Promise((resolve) => setTimeout(resolve, 50)),
        )
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

/** A client that comes back with its last position whenever its connection breaks; keeps the numbers that it got. */
export class ReturningClient {
  readonly numbers: number[] = []
  readonly missed: unknown[] = []
  connects = 0
  private since: string | undefined
  private client: TestClient | undefined
  private ended = false
  private readonly urls: () => string[]

  constructor(urls: () => string[]) {
    this.urls = urls
    void this.run()
  }

  async end(): Promise<void> {
    this.ended = true
    await this.client?.close()
  }

  private async run(): Promise<void> {
    for (let turn = 0; !this.ended; turn++) {
      const urls = this.urls()
      const client = new TestClient(urls[turn % urls.length] as string, { token: token(`user-${turn}`) })
      this.client = client
      client.socket.on('error', () => {})
      client.socket.on('open', () => {
        this.connects++
        client.send({
          type: 'subscribe',
          data: { events: ['game_added'], ...(this.since === undefined ? undefined : { since: this.since }) },
        })
      })
      client.socket.on('message', () => {
        const { type, data, id } = client.frames[client.frames.length - 1] as TestClient['frames'][number]
        if (type === 'events_missed') this.missed.push(data)
        if (type !== 'game_added') return
        this.numbers.push(data.n)
        this.since = id
      })
      await client.closed().catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
