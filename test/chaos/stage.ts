import { RawChaosClient } from './raw-client.ts'
import { BrokerProcess } from './broker-process.ts'
import { FaultProxy } from './fault-proxy.ts'
import { NatsCluster } from './nats-cluster.ts'
import { ChaosPublisher, type RoomLoad } from './publisher.ts'
import type { Schedule } from './schedules.ts'
import { SocketIoChaosClient } from './socketio-client.ts'

export interface StageOptions {
  readonly schedule: Schedule
  /** Path of the nats-server. */
  readonly nats: string
  readonly clients: number
  /** Events a second to the rooms of small ones. */
  readonly rate: number
}

export type ChaosClient = RawChaosClient | SocketIoChaosClient

const CONTRACT = new URL('contract.ts', import.meta.url).pathname
const KINDS = ['json', 'websocket', 'msgpack', 'polling', 'json', 'polling, then websocket'] as const
const SMALL_ROOMS = 4
const SMALL_BYTES = 200
/**
 * Of the clients each so many-th is slow: its connection carries little more than what its rooms hold, `bulk` among
 * them.
 */
const SLOW_EVERY = 5
const SLOW_BYTES_PER_SECOND = 2_000_000
const BULK = { room: 'bulk', perSecond: 60, bytes: 12_000 }
/** Short of memory and patience, so that a few seconds show what otherwise takes hours. */
const BROKER = {
  CONTRACTS: CONTRACT,
  DRAIN_MS: 500,
  LOG_RING_EVENTS: 300,
  MAX_BACKPRESSURE_BYTES: 16_384,
  SLOW_CLIENT_TIMEOUT_MS: 8_000,
  SOCKETIO_PING_INTERVAL_MS: 1_000,
  SOCKETIO_PING_TIMEOUT_MS: 2_000,
}

/**
 * All that takes part: nats-servers, brokers behind proxies to them, clients behind proxies of their own, and a
 * publisher past all proxies.
 */
export class Stage {
  readonly nats: NatsCluster
  readonly brokers: BrokerProcess[] = []
  /** Between brokers and NATS: one of each broker for each node. */
  readonly natsProxies: FaultProxy[] = []
  /** Between clients and brokers: one for each client. */
  readonly clientProxies: FaultProxy[] = []
  readonly clients: ChaosClient[] = []
  publisher!: ChaosPublisher

  static async set(options: StageOptions): Promise<Stage> {
    const stage = new Stage(await NatsCluster.start(options.nats, options.schedule.nodes ?? 1))
    try {
      await stage.fill(options)
      return stage
    } catch (error) {
      await stage.clear()
      throw error
    }
  }

  private constructor(nats: NatsCluster) {
    this.nats = nats
  }

  /** Ends everything. */
  async clear(): Promise<void> {
    this.publisher?.stop()
    for (const client of this.clients) client.end()
    await Promise.all(this.brokers.map((broker) => broker.stop()))
    await Promise.all([...this.natsProxies, ...this.clientProxies].map((proxy) => proxy.close()))
    await this.nats.stop()
  }

  private async fill({ schedule: { brokers = 1, workers = 1 }, clients, rate }: StageOptions): Promise<void> {
    for (let i = 0; i < brokers; i++) {
      const proxies = await Promise.all(this.nats.nodes.map(({ port }) => FaultProxy.open([() => port])))
      this.natsProxies.push(...proxies)
      this.brokers.push(
        new BrokerProcess({
          ...BROKER,
          NATS_URL: proxies.map(({ port }) => `nats://127.0.0.1:${port}`).join(','),
          ...(workers > 1 ? { WORKERS: workers } : undefined),
        }),
      )
    }
    await Promise.all(this.brokers.map((broker) => broker.start()))
    for (let i = 0; i < clients; i++) await this.addClient(i)
    this.publisher = await ChaosPublisher.open(this.nats, loadsOf(rate))
  }

  private async addClient(i: number): Promise<void> {
    const slow = i % SLOW_EVERY === SLOW_EVERY - 1
    const proxy = await FaultProxy.open(
      this.brokers.map((broker) => () => broker.port),
      { first: i, bytesPerSecond: slow ? SLOW_BYTES_PER_SECOND : 0 },
    )
    this.clientProxies.push(proxy)
    const kind = KINDS[i % KINDS.length] as (typeof KINDS)[number]
    const name = `${slow ? 'slow' : 'client'}-${i}`
    const rooms = ['all', `room:${i % SMALL_ROOMS}`, ...(slow ? [BULK.room] : [])]
    this.clients.push(
      kind === 'json' || kind === 'msgpack'
        ? new RawChaosClient(name, kind, proxy.port, rooms)
        : new SocketIoChaosClient(name, kind, proxy.port, rooms),
    )
  }
}

function loadsOf(rate: number): RoomLoad[] {
  const small = Array.from({ length: SMALL_ROOMS }, (_, i) => ({
    room: `room:${i}`,
    perSecond: rate / 2 / SMALL_ROOMS,
    bytes: SMALL_BYTES,
  }))
  return [{ room: 'all', perSecond: rate / 2, bytes: SMALL_BYTES }, ...small, BULK]
}
