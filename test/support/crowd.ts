import { Agent } from 'node:http'
import type { Test } from 'tap'
import { token } from './broker.ts'
import { eventually } from './client.ts'
import { type EventOf, ReturningClient } from './load.ts'
import { SocketIoClient, TRANSPORTS } from './socketio-client.ts'

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

/** For raw clients and for those of Socket.IO in turn; each kind sees every second number. */
export const eventOf: EventOf = (n) =>
  n % 2 === 0
    ? { subject: 'events.game-djinn.game_added', body: { data: { n } } }
    : { subject: 'events.swe-agent.workflow.progress', body: { data: { workflow_id: 'w', n } } }

interface CrowdOptions {
  readonly raw: number
  readonly ofEachTransport: number
  /** Whether clients come from addresses of their own, 127.0.0.10 and on. */
  readonly addresses?: boolean
}

/**
 * Raw and Socket.IO clients that come back whenever they lose their connection: by WebSocket, by long-polling, and by
 * the one after the other.
 */
export class Crowd {
  readonly raw: readonly ReturningClient[]
  readonly socketIo: readonly SocketIoClient[]

  static async gather(
    t: Test,
    port: number,
    { raw, ofEachTransport, addresses = false }: CrowdOptions,
  ): Promise<Crowd> {
    const agents: Agent[] = []
    const optionsOf = (i: number) => {
      if (!addresses) return {}
      const agent = new Agent({ localAddress: `127.0.0.${10 + i}`, keepAlive: false })
      agents.push(agent)
      return { agent: agent as never }
    }
    const clients = new Crowd(
      upTo(raw).map(() => new ReturningClient(() => [`ws://127.0.0.1:${port}/ws`])),
      await Promise.all(
        Object.values(TRANSPORTS).flatMap((transports, kind) =>
          upTo(ofEachTransport).map((i) =>
            SocketIoClient.connect(`http://127.0.0.1:${port}/ws`, {
              token: token(`user-${kind}-${i}`),
              transports,
              options: optionsOf(kind * ofEachTransport + i),
            }),
          ),
        ),
      ),
    )
    t.teardown(async () => {
      for (const client of clients.raw) await client.end()
      for (const client of clients.socketIo) client.close()
      for (const agent of agents) agent.destroy()
    })
    await eventually(() => clients.raw.every(({ connects }) => connects > 0))
    return clients
  }

  private constructor(raw: readonly ReturningClient[], socketIo: readonly SocketIoClient[]) {
    this.raw = raw
    this.socketIo = socketIo
  }

  /** Resolves once everybody got so many more events. */
  async getMore(events: number): Promise<void> {
    const everyone = [...this.raw, ...this.socketIo]
    const before = everyone.map(({ numbers }) => numbers.length)
    await eventually(() => everyone.every(({ numbers }, i) => numbers.length >= (before[i] as number) + events), 60_000)
  }

  /** Of `count` events everybody has got those that are for them, once, in order, from the first seen on. */
  async hasAll(t: Test, count: number): Promise<void> {
    for (const [clients, parity] of [
      [this.raw, 0],
      [this.socketIo, 1],
    ] as const) {
      const all = upTo(count).filter((n) => n % 2 === parity)
      await eventually(() => clients.every(({ numbers }) => numbers.at(-1) === all.at(-1)), 90_000)
      for (const { numbers } of clients)
        t.same(
          numbers,
          all.slice(all.indexOf(numbers[0] as number)),
          'every event once, in order, from the first seen on',
        )
    }
    t.same(
      this.raw.flatMap(({ missed }) => missed),
      [],
    )
    t.same(
      this.socketIo
        .filter(({ connects }) => !connects.slice(1).every(({ recovered }) => recovered))
        .map(({ connects }) => connects),
      [],
      'recovered === true',
    )
  }
}
