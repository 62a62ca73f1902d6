import t, { type Test } from 'tap'
import { Balancer } from '../support/balancer.ts'
import { TestBroker } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { connect as open, join } from '../support/gemini.ts'
import { Publisher } from '../support/load.ts'
import { TestNats } from '../support/nats.ts'
import { type SocketIoClient, TRANSPORTS } from '../support/socketio-client.ts'

const PAD = 'x'.repeat(2_000)
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const chunks = (client: SocketIoClient) => client.of('gemini:content').map(([{ text }]) => Number(text))

async function connect(
  t: Test,
  at: { geminiSessionsPort: number },
  transports: readonly string[],
): Promise<SocketIoClient> {
  const client = await open(at, { transports })
  t.teardown(() => client.close())
  await join(client, 'answer')
  return client
}

t.test(
  "the chunks of one answer arrive in order, once: by every transport, on a slow client, and over a broker's death",
  async (t) => {
    const nats = await TestNats.start()
    const [doomed, other] = [
      await TestBroker.start({ NATS_URL: nats.url, MAX_BACKPRESSURE_BYTES: 65_536 }),
      await TestBroker.start({ NATS_URL: nats.url, MAX_BACKPRESSURE_BYTES: 65_536, LOG_RING_EVENTS: 64 }),
    ]
    const balancer = await Balancer.start(doomed.geminiSessionsPort)
    t.teardown(async () => {
      await balancer.stop()
      await doomed.stop()
      await other.stop()
      await nats.stop()
    })
    const steady = await Promise.all(
      Object.values(TRANSPORTS).flatMap((transports) =>
        [doomed, other].map((at) => connect(t, at === doomed ? { geminiSessionsPort: balancer.port } : at, transports)),
      ),
    )
    const slow = await connect(t, other, ['websocket'])
    const lazy = await connect(t, other, ['polling'])
    lazy.pollSlowly(() => 100)
    const publisher = new Publisher(nats, 400, (n) => ({
      subject: 'events.gemini-sessions.gemini:content',
      body: { data: { text: `${n}`, accumulated: PAD, sessionId: 'answer' } },
    }))
    slow.pause()
    await eventually(() => steady.every((client) => chunks(client).length > 500), 60_000)
    balancer.direct(other.geminiSessionsPort)
    await doomed.kill()
    await eventually(() => steady.every((client) => client.socket.connected), 60_000)
    await eventually(async () => other.areBehind(1), 60_000)
    slow.resume()
    const count = await publisher.stop()
    for (const client of [...steady, slow, lazy]) {
      await client.until(() => chunks(client).length >= count)
      t.same(chunks(client), upTo(count))
      t.ok(client.connects.slice(1).every(({ recovered }) => recovered))
    }
  },
)
