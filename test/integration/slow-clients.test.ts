import t from 'tap'
import { StringCodec } from 'nats'
import { TestBroker } from '../support/broker.ts'
import { eventually, seqOf, TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'

const codec = StringCodec()
const EVENTS = 5_000
const PER_SECOND = 250
const PAD = 'x'.repeat(1_000)

/** Publishes at a steady rate, whatever the timers do. */
async function publishSteadily(nats: TestNats, count: number, perSecond: number, from = 0): Promise<void> {
  const js = await nats.jetstream()
  const startMs = Date.now()
  const acks: Promise<unknown>[] = []
  for (let n = 0; n < count; ) {
    const due = Math.min(count, Math.floor(((Date.now() - startMs) / 1000) * perSecond) + 1)
    for (; n < due; n++)
      acks.push(
        js.publish('events.game-djinn.game_added', codec.encode(JSON.stringify({ data: { n: from + n, pad: PAD } }))),
      )
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await Promise.all(acks)
}

function numbers(client: TestClient): number[] {
  return client.events.map(({ data }) => data.n)
}

const expected = (from: number, count: number) => Array.from({ length: count }, (_, i) => from + i)

t.test('a client that stalls among fifty gets everything later, and the others never notice', async (t) => {
  const nats = await TestNats.start()
  const ringBytes = 16 * 1024 * 1024
  const broker = await TestBroker.start({
    NATS_URL: nats.url,
    LOG_RING_BYTES: ringBytes,
    MAX_BACKPRESSURE_BYTES: 65_536,
  })
  t.teardown(async () => {
    await broker.stop()
    await nats.stop()
  })
  const clients = await Promise.all(
    Array.from({ length: 50 }, (_, i) => TestClient.connect(broker.url(), i % 2 ? { format: 'msgpack' } : {})),
  )
  for (const client of clients) await client.subscribe(['game_added'])
  const [stalled, ...healthy] = clients as [TestClient, ...TestClient[]]
  stalled.pause()

  const publishing = publishSteadily(nats, EVENTS, PER_SECOND)
  await eventually(async () => (await broker.metric('sessions_behind')) === 1)
  t.equal(await broker.metric('sessions_fallen_total'), 1, 'only the stalled one left live delivery')
  await publishing
  await Promise.all(healthy.map((client) => client.until(() => client.events.length >= EVENTS)))
  for (const client of healthy)
    t.same(numbers(client), expected(0, EVENTS), 'a healthy client has every event once, in order')
  t.equal(await broker.metric('sessions_fallen_total'), 1, 'the healthy ones stayed live')
  t.ok((await broker.metric('ring_bytes')) <= ringBytes, 'the ring kept its bound')

  stalled.resume()
  await stalled.until(() => stalled.events.length >= EVENTS)
  await stalled.settle()
  t.same(numbers(stalled), expected(0, EVENTS), 'the stalled client has every event once, in order')
  await eventually(async () => (await broker.metric('sessions_behind')) === 0)
  await publishSteadily(nats, 10, 100)
  await stalled.until(() => stalled.events.length >= EVENTS + 10)
  t.same(numbers(stalled).slice(EVENTS), expected(0, 10), 'and is live again')
})

t.test(
  'five clients that read slowly fall behind and catch up, each at its own pace, from the stream where the ring is too short',
  async (t) => {
    const nats = await TestNats.start()
    const broker = await TestBroker.start({ NATS_URL: nats.url, LOG_RING_EVENTS: 500, MAX_BACKPRESSURE_BYTES: 32_768 })
    t.teardown(async () => {
      await broker.stop()
      await nats.stop()
    })
    const slow = await Promise.all(Array.from({ length: 5 }, () => TestClient.connect(broker.url())))
    const healthy = await TestClient.connect(broker.url())
    for (const client of [...slow, healthy]) await client.subscribe(['game_added'])
    // They read nothing until all have fallen behind, then little by little.
    for (const client of slow) client.pause()
    let count = 0
    while ((await broker.metric('sessions_fallen_total')) < slow.length) {
      await publishSteadily(nats, 1_000, 4_000, count)
      count += 1_000
    }
    let throttling = true
    t.teardown(() => {
      throttling = false
    })
    const throttle = (async () => {
      while (throttling) {
        for (const client of slow) client.resume()
        await new Promise((resolve) => setTimeout(resolve, 2))
        for (const client of slow) client.pause()
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      for (const client of slow) client.resume()
    })()
    // Further back than the ring reaches.
    await publishSteadily(nats, 3_000, 2_000, count)
    count += 3_000
    throttling = false
    await throttle
    for (const client of [...slow, healthy]) {
      await client.until(() => client.events.length >= count, 60_000)
      await client.settle()
      t.same(numbers(client), expected(0, count), 'every event once, in order')
      t.ok(
        client.events.every(({ id }, i, all) => i === 0 || seqOf(id) > seqOf(all[i - 1]?.id)),
        'positions grow',
      )
    }
  },
)

t.test('to who catches up, a superseded progress may be skipped, its newest never', async (t) => {
  const nats = await TestNats.start()
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(async () => {
    await broker.stop()
    await nats.stop()
  })
  const js = await nats.jetstream()
  const publish = (type: string, data: object) =>
    js.publish(`events.game-djinn.${type}`, codec.encode(JSON.stringify({ data })))
  const first = await TestClient.connect(broker.url())
  await first.subscribe(['sync_progress', 'game_added'])
  await publish('game_added', { n: 0 })
  const { id: since } = await first.type('game_added')
  for (let n = 1; n <= 20; n++) await publish('sync_progress', { operation_id: n % 2 ? 'odd' : 'even', n })
  await publish('game_added', { n: 21 })
  await first.next(({ data }) => data.n === 21)
  t.same(numbers(first), expected(0, 22), 'live delivery skips nothing')

  const later = await TestClient.connect(broker.url())
  await later.subscribe(['sync_progress', 'game_added'], {}, since)
  await later.next(({ data }) => data.n === 21)
  t.same(numbers(later), [19, 20, 21], 'of each operation the newest, in order')
})
