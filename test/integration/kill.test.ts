import t, { type Test } from 'tap'
import { TestBroker } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { Publisher, ReturningClient } from '../support/load.ts'
import { TestNats } from '../support/nats.ts'

const CLIENTS = 40
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

async function everyoneHasAll(t: Test, clients: readonly ReturningClient[], count: number): Promise<void> {
  await eventually(() => clients.every(({ numbers }) => numbers[numbers.length - 1] === count - 1))
  for (const client of clients) {
    const first = client.numbers[0] as number
    t.same(client.numbers, upTo(count).slice(first), 'every event once, in order, from the first seen on')
    t.same(client.missed, [])
  }
}

t.test('kill -9 under load: clients that come back with since lose nothing and get nothing twice', async (t) => {
  const nats = await TestNats.start()
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  const clients = upTo(CLIENTS).map(() => new ReturningClient(() => [broker.url()]))
  t.teardown(async () => {
    for (const client of clients) await client.end()
    await broker.stop()
    await nats.stop()
  })
  await eventually(() => clients.every(({ connects }) => connects > 0))
  const publisher = new Publisher(nats, 500)
  await eventually(() => clients.every(({ numbers }) => numbers.length > 100))
  for (let round = 0; round < 2; round++) {
    await broker.kill('SIGKILL')
    await pause(300)
    await broker.run()
    await eventually(() => clients.every(({ connects }) => connects > round + 1))
    await pause(500)
  }
  await everyoneHasAll(t, clients, await publisher.stop())
})

t.test('kill -9 under load: the same when they come back to another broker on the same NATS', async (t) => {
  const nats = await TestNats.start()
  const brokers = [
    await TestBroker.start({ NATS_URL: nats.url }),
    await TestBroker.start({ NATS_URL: nats.url }),
  ] as const
  const clients = upTo(CLIENTS).map(() => new ReturningClient(() => brokers.map((broker) => broker.url())))
  t.teardown(async () => {
    for (const client of clients) await client.end()
    for (const broker of brokers) await broker.stop()
    await nats.stop()
  })
  await eventually(() => clients.every(({ connects }) => connects > 0))
  const publisher = new Publisher(nats, 500)
  await eventually(() => clients.every(({ numbers }) => numbers.length > 100))
  await brokers[0].kill('SIGKILL')
  await eventually(() => clients.every(({ connects }) => connects > 1))
  await pause(500)
  await everyoneHasAll(t, clients, await publisher.stop())
})

t.test('SIGTERM tells clients when to come back, spread evenly, closes 1012 and exits 0', async (t) => {
  const { TestClient } = await import('../support/client.ts')
  const broker = await TestBroker.start({ DRAIN_MS: 1_000 })
  t.teardown(() => broker.stop())
  const clients = await Promise.all(upTo(10).map(() => TestClient.connect(broker.url())))
  const code = broker.kill('SIGTERM')
  const told = await Promise.all(clients.map(async (client) => (await client.type('reconnect')).data.after_ms))
  t.same(
    told.sort((a, b) => a - b),
    upTo(10).map((i) => i * 100),
  )
  t.same(
    await Promise.all(clients.map((client) => client.closed())),
    upTo(10).map(() => 1012),
  )
  t.equal(await code, 0)
})
