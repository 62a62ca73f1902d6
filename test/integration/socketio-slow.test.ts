import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StringCodec } from 'nats'
import { io, type Socket } from 'socket.io-client'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, type SocketIoOptions } from '../support/socketio-client.ts'

const codec = StringCodec()
const PAD = 'x'.repeat(1_000)
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

const folder = mkdtempSync(join(tmpdir(), 'roomcast-slow-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** Events to a room that sockets of both namespaces are in, and to a room of each. */
const TWO = join(folder, 'two.mjs')
writeFileSync(
  TWO,
  `import { defineContract } from 'roomcast'
const namespace = (name) => ({ transport: 'socketio', namespace: name, joins: () => ['both', name.slice(1)], handlerArguments: ({ data }, id) => [{ data, id }] })
export default defineContract({
  app: 'two',
  endpoints: [namespace('/one'), namespace('/other')],
  events: { e: { rooms: ({ data }) => data.to } },
  commands: { echo: { action: { use: 'echo', acknowledgement: ({ args }) => args } } },
})`,
)

async function start(
  t: Test,
  env: Record<string, string | number> = {},
): Promise<{ nats: TestNats; broker: TestBroker }> {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const broker = await TestBroker.start({ NATS_URL: nats.url, MAX_BACKPRESSURE_BYTES: 65_536, ...env })
  t.teardown(() => broker.stop())
  return { nats, broker }
}

async function connect(
  t: Test,
  broker: TestBroker,
  namespace = '/ws',
  options: SocketIoOptions = {},
): Promise<SocketIoClient> {
  const client = await SocketIoClient.connect(`http://127.0.0.1:${broker.port}${namespace}`, {
    transports: ['websocket'],
    ...options,
  })
  t.teardown(() => client.close())
  return client
}

/** Publishes at a steady rate, whatever the timers do. */
async function publishSteadily(
  nats: TestNats,
  subject: string,
  dataOf: (n: number) => object,
  from: number,
  to: number,
  perSecond: number,
): Promise<void> {
  const js = await nats.jetstream()
  const startMs = Date.now()
  const acks: Promise<unknown>[] = []
  for (let n = from; n < to; ) {
    const due = Math.min(to, from + Math.floor(((Date.now() - startMs) / 1000) * perSecond) + 1)
    for (; n < due; n++)
      acks.push(js.publish(subject, codec.encode(JSON.stringify({ data: { ...dataOf(n), n, pad: PAD } }))))
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await Promise.all(acks)
}

/**
 * Publishes until the kernel's buffers are full, however large they are, and so many sessions are behind.
 * @returns the number after the last
 */
async function publishUntilBehind(
  broker: TestBroker,
  sessions: number,
  from: number,
  publish: (from: number, to: number) => Promise<void>,
): Promise<number> {
  for (let count = from; count < from + 50_000; ) {
    await publish(count, (count += 3_000))
    if (await broker.areBehind(sessions)) return count
  }
  throw new Error(`${sessions} stalled sessions never fell behind`)
}

const progress = (nats: TestNats, from: number, to: number, perSecond: number) =>
  publishSteadily(nats, 'events.swe-agent.workflow.progress', () => ({ workflow_id: 'w' }), from, to, perSecond)

t.test('a client that stalls among others gets everything later, once and in order, and is live again', async (t) => {
  const { nats, broker } = await start(t)
  const stalled = await connect(t, broker)
  const upgraded = await connect(t, broker, '/ws', { transports: ['polling', 'websocket'] })
  await eventually(() => upgraded.transport === 'websocket')
  const healthy = await Promise.all(
    upTo(20).map((i) => connect(t, broker, '/ws', { transports: i % 10 === 0 ? ['polling'] : ['websocket'] })),
  )
  for (const client of [stalled, upgraded]) client.pause()
  const count = await publishUntilBehind(broker, 2, 0, (from, to) => progress(nats, from, to, 1_000))
  for (const client of healthy) {
    await client.until(() => client.numbers.length >= count)
    t.same(client.numbers, upTo(count), 'a healthy client has every event once, in order')
  }
  for (const client of [stalled, upgraded]) client.resume()
  for (const client of [stalled, upgraded]) {
    await client.until(() => client.numbers.length >= count)
    t.same(await client.ask('ping', {}), { status: 'pong' })
    t.same(client.numbers, upTo(count), 'the stalled client has every event once, in order')
  }
  await eventually(async () => (await broker.metric('sessions_behind')) === 0)
  await progress(nats, count, count + 10, 100)
  for (const client of [stalled, upgraded, ...healthy]) {
    await client.until(() => client.numbers.length >= count + 10)
    t.same(client.numbers.slice(count), upTo(count + 10).slice(count))
    t.equal(client.connects.length, 1, 'all on the connection that they had')
  }
})

t.test('what a stalled client asked before it stalled is answered, among the events', async (t) => {
  const { nats, broker } = await start(t)
  const client = await connect(t, broker)
  client.pause()
  const publishing = publishUntilBehind(broker, 1, 0, (from, to) => progress(nats, from, to, 2_000))
  const pongs: Promise<unknown>[] = []
  for (let i = 0; i < 300; i++) {
    pongs.push(client.ask('ping', {}))
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const count = await publishing
  client.resume()
  await client.until(() => client.numbers.length >= count)
  t.same(client.numbers, upTo(count))
  t.same(new Set((await Promise.all(pongs)).map((pong) => JSON.stringify(pong))), new Set(['{"status":"pong"}']))
})

t.test('two namespaces on one stalled connection: each gets each of its events once, in order', async (t) => {
  const { nats, broker } = await start(t, { CONTRACTS: TWO })
  const url = (name: string) => `http://127.0.0.1:${broker.port}/${name}`
  const got: Record<string, number[]> = { one: [], other: [] }
  // One manager, so one connection.
  const sockets: Socket[] = [io(url('one'), { transports: ['websocket'], forceNew: true, auth: { token: token() } })]
  sockets.push((sockets[0] as Socket).io.socket('/other', { auth: { token: token() } }))
  sockets[1]?.connect()
  t.teardown(() =>
    sockets.forEach((socket) => {
      socket.disconnect()
    }),
  )
  for (const [i, name] of ['one', 'other'].entries())
    sockets[i]?.on('e', ({ data }: { data: { n: number } }) => got[name]?.push(data.n))
  await eventually(() => sockets.every(({ connected }) => connected))
  t.equal(await broker.metric('connections'), 1)
  const lively = await Promise.all(['/one', '/other'].map((name) => connect(t, broker, name)))
  const engine = (
    sockets[0] as unknown as { io: { engine: { transport: { ws: { _socket: { pause(): void; resume(): void } } } } } }
  ).io.engine

  const tos = [['both'], ['one'], ['other'], ['both', 'one'], ['other', 'one'], ['both', 'other', 'one']]
  const toOf = (n: number) => tos[(n * 7) % tos.length] as string[]
  const expected = (name: string, count: number) =>
    upTo(count).filter((n) => toOf(n).includes('both') || toOf(n).includes(name))
  let count = 0
  for (let round = 0; round < 3; round++) {
    engine.transport.ws._socket.pause()
    count = await publishUntilBehind(broker, 2, count, (from, to) =>
      publishSteadily(nats, 'events.two.e', (n) => ({ to: toOf(n) }), from, to, 1_500),
    )
    engine.transport.ws._socket.resume()
    for (const name of ['one', 'other']) {
      const all = expected(name, count)
      await eventually(
        () => got[name]?.[got[name].length - 1] === all[all.length - 1] && (got[name]?.length ?? 0) >= all.length,
      )
    }
    await eventually(async () => (await broker.metric('sessions_behind')) === 0)
  }
  for (const socket of sockets) t.same(await socket.timeout(30_000).emitWithAck('echo', 'done'), 'done')
  for (const name of ['one', 'other']) t.same(got[name], expected(name, count), `/${name} after a stall`)
  for (const [i, name] of ['one', 'other'].entries()) {
    const client = lively[i] as SocketIoClient
    await client.until(() => client.numbers.length >= expected(name, count).length)
    t.same(client.numbers, expected(name, count), `/${name} of another client`)
  }
})

t.test('a polling client that polls slowly gets everything, once and in order', async (t) => {
  const { nats, broker } = await start(t)
  const client = await connect(t, broker, '/ws', { transports: ['polling'] })
  client.pollSlowly(() => 50)
  const count = 2_000
  const publishing = progress(nats, 0, count, 1_000)
  const pongs = upTo(20).map(() => client.ask('ping', {}))
  await publishing
  client.pollSlowly(() => 0)
  await client.until(() => client.numbers.length >= count)
  t.same(
    await Promise.all(pongs),
    pongs.map(() => ({ status: 'pong' })),
  )
  t.same(client.numbers, upTo(count))
  t.same(client.connects.length, 1)
  await progress(nats, count, count + 10, 100)
  await client.until(() => client.numbers.length >= count + 10)
  t.same(client.numbers.slice(count), upTo(count + 10).slice(count))
})

t.test('a client that changes its transport while far behind misses nothing', async (t) => {
  const { nats, broker } = await start(t)
  const first = await connect(t, broker)
  await progress(nats, 0, 1, 1_000)
  await first.until(() => first.numbers.length === 1)
  const { _pid: pid, _lastOffset: offset } = first.socket as unknown as { _pid: string; _lastOffset: string }
  const count = 3_000
  await progress(nats, 1, count, 2_000)
  const clients = await Promise.all(
    upTo(10).map(() => connect(t, broker, '/ws', { transports: ['polling', 'websocket'], auth: { pid, offset } })),
  )
  await progress(nats, count, count + 100, 1_000)
  for (const client of clients) {
    await client.until(() => client.numbers.length >= count + 99 && client.transport === 'websocket')
    t.same(await client.ask('ping', {}), { status: 'pong' })
    t.same(client.numbers, upTo(count + 100).slice(1))
    t.equal(client.connects.length, 1)
  }
})

t.test(
  'a client that stalls for longer than history lasts comes back, and is told by recovered === false',
  async (t) => {
    const { nats, broker } = await start(t, { LOG_RING_EVENTS: 64 })
    const stalled = await connect(t, broker)
    const healthy = await connect(t, broker)
    stalled.pause()
    const count = await publishUntilBehind(broker, 1, 0, (from, to) => progress(nats, from, to, 2_000))
    await healthy.until(() => healthy.numbers.length >= count)
    const jsm = await (await nats.client()).jetstreamManager()
    const { config } = await jsm.streams.info('ROOMCAST_EVENTS')
    await jsm.streams.update('ROOMCAST_EVENTS', { ...config, max_msgs: 100 })
    stalled.resume()
    await stalled.connected(2)
    t.same(
      stalled.connects.map(({ recovered }) => recovered),
      [false, false],
    )
    const before = stalled.numbers.length
    t.ok(before < count)
    t.same(stalled.numbers, upTo(before), 'what it had is without a gap')
    await progress(nats, count, count + 5, 100)
    await stalled.until(() => stalled.numbers.length >= before + 5)
    t.same(stalled.numbers.slice(before), upTo(count + 5).slice(count))
  },
)
