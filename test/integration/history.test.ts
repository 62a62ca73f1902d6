import { JSONCodec } from 'nats'
import t from 'tap'
import { TestBroker } from '../support/broker.ts'
import { TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'

const codec = JSONCodec()

async function setUp(t: { teardown(f: () => unknown): void }, env: Record<string, string | number> = {}, maxMsgs = 50) {
  const nats = await TestNats.start()
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.add({ name: 'ROOMCAST_EVENTS', subjects: ['events.>'], max_msgs: maxMsgs })
  const broker = await TestBroker.start({ NATS_URL: nats.url, ...env })
  t.teardown(async () => {
    await broker.stop()
    await nats.stop()
  })
  const js = await nats.jetstream()
  const publish = async (from: number, to: number) => {
    for (let n = from; n < to; n++) await js.publish('events.game-djinn.game_added', codec.encode({ data: { n } }))
  }
  return { nats, broker, publish, jsm }
}

const numbers = (client: TestClient) => client.events.map(({ data }) => data.n)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)

const rings: [string, Record<string, number>][] = [
  ['a ring that holds more', {}],
  ['a ring that holds less', { LOG_RING_EVENTS: 16 }],
]
for (const [name, env] of rings) {
  t.test(`further back than the stream keeps: events_missed, what is still stored, then live (${name})`, async (t) => {
    const { broker, publish } = await setUp(t, env)
    const first = await TestClient.connect(broker.url())
    await first.subscribe(['game_added'])
    await publish(0, 1)
    const { id: since } = await first.type('game_added')
    await publish(1, 120)
    await first.next(({ data }) => data.n === 119)
    t.same(numbers(first), range(0, 120))
    const oldest = first.events.find(({ data }) => data.n === 70)?.id

    const back = await TestClient.connect(broker.url())
    await back.subscribe(['game_added'], {}, since)
    await back.next(({ data }) => data.n === 119)
    await publish(120, 125)
    await back.next(({ data }) => data.n === 124)
    t.same(
      back.frames.slice(1, 3).map(({ type, data }) => [type, data]),
      [
        ['subscribed', { events: ['game_added'], filters: {} }],
        ['events_missed', { since, oldest_available: oldest }],
      ],
    )
    t.same(numbers(back), range(70, 125))

    const edge = await TestClient.connect(broker.url())
    await edge.subscribe(['game_added'], {}, first.events.find(({ data }) => data.n === 74)?.id)
    await edge.next(({ data }) => data.n === 124)
    t.same(numbers(edge), range(75, 125), 'the last position before the oldest stored event has missed nothing')
    t.notOk(edge.frames.some(({ type }) => type === 'events_missed'))
  })
}

t.test('a position of another epoch, or ahead of the stream, is told by name', async (t) => {
  const { broker, publish } = await setUp(t)
  await publish(0, 3)
  const probe = await TestClient.connect(broker.url())
  await probe.subscribe(['game_added'], {}, 'anotherepoch-2')
  await probe.next(({ data }) => data.n === 2)
  const oldest = probe.events[0]?.id as string
  t.same((await probe.type('events_missed')).data, { since: 'anotherepoch-2', oldest_available: oldest })
  t.same(numbers(probe), [0, 1, 2])
  const ahead = await TestClient.connect(broker.url())
  const since = oldest.replace(/-1$/, '-999')
  await ahead.subscribe(['game_added'], {}, since)
  t.same((await ahead.type('events_missed')).data, { since, oldest_available: oldest })
})

t.test('a purged stream has no oldest position', async (t) => {
  const { broker, publish, jsm } = await setUp(t)
  await publish(0, 3)
  const probe = await TestClient.connect(broker.url())
  await probe.subscribe(['game_added'], {}, 'x-0')
  await probe.next(({ data }) => data.n === 2)
  const since = probe.events[0]?.id as string
  await jsm.streams.purge('ROOMCAST_EVENTS')
  // What a broker knows of the stream's bounds may be 20 ms old.
  await new Promise((resolve) => setTimeout(resolve, 50))
  const back = await TestClient.connect(broker.url())
  await back.subscribe(['game_added'], {}, since)
  t.same((await back.type('events_missed')).data, { since, oldest_available: null })
  await publish(3, 5)
  await back.next(({ data }) => data.n === 4)
  t.same(numbers(back), [3, 4])
})

t.test('a cold start reads what is older than its ring from the stream', async (t) => {
  const { broker, publish } = await setUp(t, { LOG_RING_EVENTS: 100, BACKFILL_BYTES: 65_536 }, 100_000)
  await publish(0, 3_000)
  await broker.kill()
  await broker.run()
  const clients = await Promise.all(range(0, 10).map(() => TestClient.connect(broker.url())))
  await Promise.all(clients.map((client) => client.subscribe(['game_added'], {}, 'x-0')))
  for (const client of clients) {
    await client.next(({ data }) => data.n === 2_999)
    t.same(numbers(client), range(0, 3_000))
  }
})
