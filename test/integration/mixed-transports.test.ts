import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, type SocketIoOptions } from '../support/socketio-client.ts'

const codec = StringCodec()
const folder = mkdtempSync(join(tmpdir(), 'roomcast-mixed-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** One application, two ways in: the same rooms behind both. */
const CONTRACT = join(folder, 'mixed.mjs')
writeFileSync(
  CONTRACT,
  `import { defineContract } from 'roomcast'
export default defineContract({
  app: 'mixed',
  endpoints: [
    { transport: 'websocket', path: '/mixed' },
    { transport: 'socketio', namespace: '/mixed', handlerArguments: ({ data }, id) => [{ data, id }] },
  ],
  events: { moved: { rooms: ({ data }) => data.to }, stopped: { rooms: ({ data }) => data.to } },
  rooms: { 'room:{id}': {} },
  commands: { join: { action: { use: 'join', room: ({ room }) => room, acknowledgement: (room) => [{ status: 'success', room }] } } },
})`,
)

const ROOMS = ['room:a', 'room:b', 'room:c']
/** Every combination of rooms comes up, in an order that jumps about. */
const toOf = (n: number) => ROOMS.filter((_, i) => (((n * 5) % 7) + 1) & (1 << i))
const typeOf = (n: number) => (n % 3 ? 'moved' : 'stopped')

interface Seen {
  readonly name: string
  /** Number and position of what it got, in order. */
  readonly got: () => [n: number, position: string][]
  pause?(): void
  resume?(): void
}

async function start(t: Test): Promise<{ nats: TestNats; broker: TestBroker }> {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const broker = await TestBroker.start({ NATS_URL: nats.url, CONTRACTS: CONTRACT, MAX_BACKPRESSURE_BYTES: 65_536 })
  t.teardown(() => broker.stop())
  return { nats, broker }
}

async function raw(t: Test, broker: TestBroker, format: 'json' | 'msgpack', rooms: readonly string[]): Promise<Seen> {
  const client = await TestClient.connect(broker.url('/mixed'), { format })
  t.teardown(() => client.close())
  client.send({ type: 'subscribe', data: { rooms } })
  await client.type('subscribed')
  return {
    name: `raw ${format}`,
    got: () => client.events.map(({ data, id }) => [data.n, id as string]),
    pause: () => client.pause(),
    resume: () => client.resume(),
  }
}

async function socketIo(
  t: Test,
  broker: TestBroker,
  transports: SocketIoOptions['transports'],
  rooms: readonly string[],
): Promise<Seen> {
  const client = await SocketIoClient.connect(`http://127.0.0.1:${broker.port}/mixed`, { token: token(), transports })
  t.teardown(() => client.close())
  for (const room of rooms) t.same(await client.ask('join', { room }), { status: 'success', room })
  const polls = transports?.length === 1 && transports[0] === 'polling'
  if (!polls) await eventually(() => client.transport === 'websocket')
  return {
    name: `socket.io ${transports}`,
    got: () => client.events.map(({ data, id }) => [data.n, id]),
    ...(polls ? undefined : { pause: () => client.pause(), resume: () => client.resume() }),
  }
}

async function everyKind(t: Test, broker: TestBroker, rooms: readonly string[]): Promise<Seen[]> {
  return Promise.all([
    raw(t, broker, 'json', rooms),
    raw(t, broker, 'msgpack', rooms),
    socketIo(t, broker, ['websocket'], rooms),
    socketIo(t, broker, ['polling'], rooms),
    socketIo(t, broker, ['polling', 'websocket'], rooms),
  ])
}

async function publish(nats: TestNats, from: number, to: number, perSecond: number, pad: string): Promise<void> {
  const js = await nats.jetstream()
  const startMs = Date.now()
  const acks: Promise<unknown>[] = []
  for (let n = from; n < to; ) {
    const due = Math.min(to, from + Math.floor(((Date.now() - startMs) / 1000) * perSecond) + 1)
    for (; n < due; n++)
      acks.push(
        js.publish(`events.mixed.${typeOf(n)}`, codec.encode(JSON.stringify({ data: { n, to: toOf(n), pad } }))),
      )
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await Promise.all(acks)
}

async function allSeeTheSame(
  t: Test,
  clients: readonly Seen[],
  rooms: readonly string[],
  count: number,
): Promise<void> {
  const expected = Array.from({ length: count }, (_, n) => n).filter((n) =>
    toOf(n).some((room) => rooms.includes(room)),
  )
  for (const { name, got } of clients) {
    await eventually(() => got().length >= expected.length, 60_000)
    t.same(
      got().map(([n]) => n),
      expected,
      `${name} in ${rooms}: every event once, in order`,
    )
    t.same(got(), clients[0]?.got(), 'under the same positions as everybody else')
  }
}

t.test('raw and Socket.IO clients of one room see the same events in the same order', async (t) => {
  const { nats, broker } = await start(t)
  const memberships = [['room:a'], ['room:b', 'room:c'], ROOMS]
  const clients = await Promise.all(memberships.map((rooms) => everyKind(t, broker, rooms)))
  const count = 3_000
  await publish(nats, 0, count, 1_000, '')
  for (const [i, rooms] of memberships.entries()) await allSeeTheSame(t, clients[i] as Seen[], rooms, count)
})

t.test('the same with one of each kind stalled and caught up', async (t) => {
  const { nats, broker } = await start(t)
  const rooms = ['room:a', 'room:b']
  const lively = await everyKind(t, broker, rooms)
  const stalling = await everyKind(t, broker, rooms)
  const pausing = stalling.filter(({ pause }) => pause !== undefined)
  t.equal(pausing.length, 4)
  const pad = 'x'.repeat(1_000)
  let count = 0
  for (let round = 0; round < 2; round++) {
    for (const client of pausing) client.pause?.()
    // Until the kernel's buffers are full, however large they are.
    do {
      count += 4_000
      await publish(nats, count - 4_000, count, 2_000, pad)
    } while (!(await broker.areBehind(pausing.length)) && count < 100_000)
    // They catch up while more comes.
    for (const client of pausing) client.resume?.()
    count += 1_000
    await publish(nats, count - 1_000, count, 1_000, pad)
  }
  await allSeeTheSame(t, [...lively, ...stalling], rooms, count)
  await eventually(async () => (await broker.metric('sessions_behind')) === 0)
})
