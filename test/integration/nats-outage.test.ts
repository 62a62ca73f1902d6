import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { Publisher, ReturningClient } from '../support/load.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, TRANSPORTS } from '../support/socketio-client.ts'

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function start(t: Test): Promise<{ nats: TestNats; broker: TestBroker }> {
  const nats = await TestNats.start()
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(async () => {
    await broker.stop()
    await nats.stop()
  })
  return { nats, broker }
}

t.test(
  'nats-server killed and restarted under load: nobody is disconnected, nothing stored is lost or doubled',
  async (t) => {
    const nats = await TestNats.start()
    const broker = await TestBroker.start({ NATS_URL: nats.url })
    const clients = Array.from({ length: 20 }, () => new ReturningClient(() => [broker.url()]))
    t.teardown(async () => {
      for (const client of clients) await client.end()
      await broker.stop()
      await nats.stop()
    })
    await eventually(() => clients.every(({ connects }) => connects === 1))
    t.equal((await broker.ops('/readyz')).status, 200)
    const publisher = new Publisher(nats, 500)
    await eventually(() => clients.every(({ numbers }) => numbers.length > 100))
    for (let round = 0; round < 2; round++) {
      await nats.kill('SIGKILL')
      await eventually(async () => (await broker.ops('/readyz')).status === 503)
      t.match(await (await broker.ops('/readyz')).json(), { status: 'not ready', reasons: ['NATS is out of reach'] })
      t.equal((await broker.ops('/healthz')).status, 200, 'the process itself is well')
      t.equal(
        (await broker.publish('game-djinn', 'game_added', { data: { n: -1 } })).status,
        503,
        'no 202 for what is not stored',
      )
      await pause(500)
      await nats.run()
      await eventually(async () => (await broker.ops('/readyz')).status === 200)
      const before = Math.min(...clients.map(({ numbers }) => numbers.length))
      await eventually(() => clients.every(({ numbers }) => numbers.length > before + 100))
    }
    const count = await publisher.stop()
    await eventually(() => clients.every(({ numbers }) => numbers[numbers.length - 1] === count - 1))
    for (const { numbers, connects } of clients) {
      t.same(numbers, Array.from({ length: count }, (_, n) => n).slice(numbers[0]), 'every event once, in order')
      t.equal(connects, 1, 'the connection stayed')
    }
  },
)

t.test("commands during an outage get their document's error at once, and work again afterwards", async (t) => {
  const nats = await TestNats.start()
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(async () => {
    await broker.stop()
    await nats.stop()
  })
  const client = await TestClient.connect(broker.url(), { token: token('ida') })
  await client.subscribe(['game_added', 'ai_chat'])
  await broker.publish('game-djinn', 'game_added', { data: { n: 1 } })
  const { id: since } = await client.type('game_added')
  await nats.kill()
  await eventually(async () => (await broker.ops('/readyz')).status === 503)
  client.send({ type: 'ai_chat_message', data: { message: 'hi', context: { conversation_id: 'c' } }, id: 'm1' })
  t.match((await client.type('ai_error')).data, {
    message_id: 'm1',
    error_code: 'SERVICE_UNAVAILABLE',
    is_recoverable: true,
  })
  const other = await TestClient.connect(broker.url())
  await other.subscribe(['game_added'], {}, since)
  await other.settle()
  await nats.run()
  await eventually(async () => (await broker.publish('game-djinn', 'game_added', { data: { n: 2 } })).status === 202)
  for (const each of [client, other]) await each.next(({ data }) => data.n === 2)
  t.same(
    other.events.map(({ data }) => data.n),
    [2],
  )
})

t.test('a server that hangs makes the broker unready, and its return ready', async (t) => {
  const nats = await TestNats.start()
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(async () => {
    nats.signal('SIGCONT')
    await broker.stop()
    await nats.stop()
  })
  nats.signal('SIGSTOP')
  await eventually(async () => (await broker.ops('/readyz')).status === 503)
  nats.signal('SIGCONT')
  await eventually(async () => (await broker.ops('/readyz')).status === 200)
})

t.test('a stream that is deleted and made again starts a new epoch, and older positions are told so', async (t) => {
  const nats = await TestNats.start()
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(async () => {
    await broker.stop()
    await nats.stop()
  })
  const client = await TestClient.connect(broker.url())
  await client.subscribe(['game_added'])
  await broker.publish('game-djinn', 'game_added', { data: { n: 1 } })
  const { id: since } = await client.type('game_added')
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.delete('ROOMCAST_EVENTS')
  await eventually(
    async () => (await broker.publish('game-djinn', 'game_added', { data: { n: 2 } })).status === 202,
    60_000,
  )
  const { id } = await client.next(({ data }) => data.n === 2)
  t.not(id?.split('-')[0], since?.split('-')[0], 'another epoch')
  const back = await TestClient.connect(broker.url())
  await back.subscribe(['game_added'], {}, since)
  t.same((await back.type('events_missed')).data, { since, oldest_available: id })
  await back.next(({ data }) => data.n === 2)
})

t.test(
  'events acknowledged while the broker was cut off, and lost with the store: live clients are told, and get what the new stream has',
  async (t) => {
    const { nats, broker } = await start(t)
    const raw = await TestClient.connect(broker.url())
    await raw.subscribe(['game_added'])
    const clients = await Promise.all(
      Object.values(TRANSPORTS).map((transports) =>
        SocketIoClient.connect(`http://127.0.0.1:${broker.port}/ws`, { transports }),
      ),
    )
    t.teardown(() => clients.map((client) => client.close()))
    const publish = async (n: number) => {
      await broker.publish('game-djinn', 'game_added', { data: { n } })
      return (await broker.publish('swe-agent', 'agent.connected', { data: { agent_id: 'a', n }, rooms: ['global'] }))
        .status
    }
    await publish(0)
    const { id: since } = await raw.type('game_added')
    await eventually(() => clients.every(({ events }) => events.length === 1))

    process.kill(broker.pid, 'SIGSTOP')
    const js = await nats.jetstream()
    for (let n = 1; n < 4; n++) await js.publish('events.game-djinn.game_added', JSON.stringify({ data: { n } }))
    await nats.kill('SIGKILL')
    nats.wipe()
    await nats.run()
    process.kill(broker.pid, 'SIGCONT')

    const { data: told } = await raw.type('events_missed')
    t.equal(told.since.split('-')[0], since?.split('-')[0], 'a position of the stream that was lost')
    for (const client of clients) {
      await client.connected(2)
      t.equal(client.connects[1]?.recovered, false)
    }
    await eventually(async () => (await publish(4)) === 202)
    const after = await raw.next(({ data }) => data.n === 4)
    t.not(after.id?.split('-')[0], since?.split('-')[0])
    t.equal(told.oldest_available, `${after.id?.split('-')[0]}-1`)
    for (const client of clients) {
      await eventually(() => client.events.at(-1)?.data.n === 4)
      t.notOk(client.numbers.some((n) => n > 0 && n < 4))
    }
  },
)

t.test(
  'a client with a position of the new stream, at a broker that had yet to notice it, got events of the old one again',
  async (t) => {
    const { nats, broker } = await start(t)
    for (let n = 0; n < 3; n++) await broker.publish('game-djinn', 'game_added', { data: { n } })
    await nats.kill('SIGKILL')
    nats.wipe()
    await eventually(async () => (await broker.ops('/readyz')).status === 503)
    const client = await TestClient.connect(broker.url())
    client.send({ type: 'subscribe', data: { events: ['game_added'], since: 'abcdef0123-2' } })
    await pause(1_000)
    await nats.run()
    const { data: told } = await client.type('events_missed')
    await eventually(async () => (await broker.publish('game-djinn', 'game_added', { data: { n: 3 } })).status === 202)
    const after = await client.type('game_added')
    t.equal(after.data.n, 3, 'nothing of the old stream')
    t.equal(told.oldest_available ?? after.id, after.id)
  },
)
