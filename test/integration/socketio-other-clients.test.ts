import { StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, type SocketIoOptions } from '../support/socketio-client.ts'

/** What clients without connection state recovery, and with handlers of one argument, connect with. */

const codec = StringCodec()
const POSITION = /^[A-Za-z0-9]+-\d+$/
const access = { project_access: ['p', 'q'] }

async function start(t: Test, env: Record<string, string | number> = {}) {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const broker = await TestBroker.start({ NATS_URL: nats.url, ...env })
  t.teardown(() => broker.stop())
  return { nats, broker, publish: publisher(nats) }
}

function publisher(nats: TestNats) {
  return async (project_id: string, n: number, rest: object = {}) => {
    const body = codec.encode(JSON.stringify({ data: { pr_id: 'x', project_id, n, ...rest } }))
    await (await nats.jetstream()).publish('events.swe-agent.pr.updated', body)
  }
}

function client(t: Test, { port }: TestBroker, options: SocketIoOptions = {}, namespace = '/ws'): SocketIoClient {
  const made = new SocketIoClient(`http://127.0.0.1:${port}${namespace}`, { token: token('u', access), ...options })
  t.teardown(() => made.close())
  return made
}

const numbersOf = (one: SocketIoClient): number[] => one.of('pr.updated').map(([{ data }]) => data.n)
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']])
  t.test(
    `auth.positions false: events and the greeting come with one argument, by ${transports.join(' then ')}`,
    async (t) => {
      const { broker, publish } = await start(t)
      const bare = await client(t, broker, { transports, auth: { positions: false } }).connected()
      const usual = await client(t, broker, { transports }).connected()
      for (const one of [bare, usual]) await one.subscribe('project:p')
      if (transports.length === 2) await bare.until(() => bare.transport === 'websocket')
      for (const n of upTo(20)) await publish('p', n)
      for (const one of [bare, usual]) {
        await one.until(() => one.of('pr.updated').length >= 20)
        t.same(numbersOf(one), upTo(20))
      }
      t.same([...new Set(bare.arrivals.map(({ args }) => args.length))], [1])
      t.same([...new Set(usual.arrivals.map(({ args }) => args.length))], [2])
      t.match(bare.of('pr.updated')[0]?.[0].id, POSITION)
    },
  )

t.test(
  'A full socket without positions loses nothing, and neither does one with them on the same connection',
  async (t) => {
    const { broker, publish } = await start(t, { MAX_BACKPRESSURE_BYTES: 65_536 })
    const bare = await client(t, broker, { transports: ['websocket'], auth: { positions: false } }).connected()
    await bare.subscribe('project:p')
    // Another namespace on its connection, with positions.
    const other = bare.socket.io.socket('/portal', { auth: { token: token('u', access) } })
    t.teardown(() => other.disconnect())
    await eventually(() => other.connected)
    bare.pause()
    const filling = 'x'.repeat(10_000)
    for (const n of upTo(600)) await publish('p', n, { filling })
    bare.resume()
    await bare.until(() => bare.of('pr.updated').length >= 600)
    t.same(numbersOf(bare), upTo(600))
    t.same(bare.disconnects, [])
  },
)

t.test('auth.since and auth.rooms: what followed comes first, in its rooms, then live events; no pid', async (t) => {
  const { broker, publish } = await start(t)
  const before = await client(t, broker, { auth: { rooms: ['project:p'] } }).connected()
  await before.until(() => before.of('subscribed').length > 0)
  t.match(before.of('subscribed')[0], [{ rooms: ['project:p'], position: POSITION }, POSITION])
  await publish('p', 0)
  await before.until(() => before.of('pr.updated').length > 0)
  const since = before.of('pr.updated')[0]?.[1]
  before.close()
  for (const n of [1, 2]) await publish('p', n)
  await publish('q', 100)
  await broker.kill('SIGKILL')
  await broker.run()
  const after = client(t, broker, { auth: { since, rooms: ['project:p', 'project:r', 'no such room', 'user:v'] } })
  await after.until(() => after.of('pr.updated').length >= 2)
  await publish('p', 3)
  await after.until(() => after.of('pr.updated').length >= 3)
  t.same(numbersOf(after), [1, 2, 3])
  t.same(after.of('subscribed'), [[{ rooms: ['project:p'], position: since }, since]], 'rooms that its token allows')
  t.same(after.of('events_missed'), [])
  // `socket.io-client` sends the `pid` that it was given: it was given none.
  t.equal((after.socket as unknown as { _pid?: string })._pid, undefined)
})

t.test('auth.since: default rooms are replayed too, without auth.rooms', async (t) => {
  const { nats, broker } = await start(t)
  const suggest = async (n: number) => {
    const body = codec.encode(JSON.stringify({ data: { workflow_id: 'w', n } }))
    await (await nats.jetstream()).publish('events.swe-agent.workflow.progress', body)
  }
  const before = await client(t, broker).connected()
  await suggest(0)
  await before.until(() => before.of('workflow.progress').length > 0)
  const since = before.of('workflow.progress')[0]?.[1]
  before.close()
  await suggest(1)
  const after = client(t, broker, { auth: { since, positions: false } })
  await after.until(() => after.of('workflow.progress').length > 0)
  t.same(
    after.of('workflow.progress').map(([{ data }, ...more]) => [data.n, more.length]),
    [[1, 0]],
  )
})

t.test(
  'auth.since of another stream, and one that the log no longer has: events_missed, then what is stored',
  async (t) => {
    const { nats, broker, publish } = await start(t)
    for (const n of upTo(5)) await publish('p', n)
    const first = await client(t, broker, { auth: { since: 'other-3', rooms: ['project:p'] } }).connected()
    await first.until(() => first.of('pr.updated').length >= 5)
    t.match(first.of('events_missed'), [[{ since: 'other-3', oldest_available: POSITION }]])
    t.same(numbersOf(first), upTo(5))
    const oldest: string = first.of('events_missed')[0]?.[0].oldest_available
    t.same(
      first.arrivals
        .map(({ event }) => event)
        .filter((event) => event !== 'connection_established')
        .slice(0, 3),
      ['subscribed', 'events_missed', 'pr.updated'],
    )
    const since = first.of('pr.updated')[0]?.[1]
    first.close()
    const streams = await (await nats.client()).jetstreamManager()
    await streams.streams.purge('ROOMCAST_EVENTS', { seq: 4 })
    await eventually(async () => {
      const second = await client(t, broker, { auth: { since, rooms: ['project:p'] } }).connected()
      await second.until(() => second.of('pr.updated').some(([{ data }]) => data.n === 4))
      second.close()
      return second.of('events_missed').length === 1 && numbersOf(second).join() === '3,4'
    })
    t.match(oldest, POSITION)
  },
)

t.test('Records are read for auth.rooms while the client is there, and each counts as a command', async (t) => {
  const { nats, broker } = await start(t, { COMMANDS_PER_MINUTE: 600 })
  let reads = 0
  const heard = (await nats.client()).subscribe('$JS.API.>', {
    callback: (_, { subject }) => {
      if (/GET\.KV_roomcast_sessions/.test(subject)) reads++
    },
  })
  t.teardown(() => heard.unsubscribe())
  const asking = (count: number) => {
    const auth = { rooms: upTo(count).map((n) => `session:${n}`) }
    return client(t, { port: broker.geminiSessionsPort } as TestBroker, { auth, token: token('mallory') }, '/')
  }
  const leaving = asking(590)
  await eventually(() => reads >= 5)
  leaving.close()
  let before = -1
  await eventually(async () => {
    const quiet = reads === before
    before = reads
    await new Promise((resolve) => setTimeout(resolve, 200))
    return quiet
  })
  t.ok(reads < 590, `it left after the first five, and ${reads} were read`)

  const many = asking(1_000)
  await eventually(() => many.refusals.length > 0)
  t.match(JSON.stringify(many.refusals[0]), 'RATE_LIMITED')
  const some = await asking(500).connected()
  await some.until(() => some.of('subscribed').length > 0)
  t.same(some.of('subscribed')[0]?.[0].rooms, [])
})

t.test('auth.since and auth.rooms that are none are refused', async (t) => {
  const { broker } = await start(t)
  for (const [auth, code] of [
    [{ since: 'nonsense' }, 'INVALID_POSITION'],
    [{ since: 7 }, 'INVALID_POSITION'],
    [{ rooms: 'project:p' }, 'INVALID_MESSAGE'],
    [{ rooms: [7] }, 'INVALID_MESSAGE'],
    [{ rooms: upTo(20_000).map((n) => `project:${n}`) }, 'TOO_MANY_SUBSCRIPTIONS'],
  ] as const) {
    const refused = client(t, broker, { auth })
    await eventually(() => refused.refusals.length > 0)
    t.match(JSON.stringify(refused.refusals[0]?.data), code)
  }
})

t.test('Who authenticates by a command goes on from auth.since in auth.rooms then', async (t) => {
  const { broker } = await start(t)
  const late = client(t, broker, { token: null, auth: { since: 'other-1' } }, '/portal')
  await late.connected()
  t.same(late.of('events_missed'), [], 'not before it is known who it is')
  late.socket.emit('authenticate', { token: token('u', access), user_id: 'u' })
  await late.until(() => late.of('events_missed').length > 0)
  t.match(late.of('subscribed'), [[{ rooms: [], position: POSITION }, POSITION]])
})

t.test('The namespace / is there, with a token and without events, where no contract has it', async (t) => {
  const { broker, publish } = await start(t)
  const root = await client(t, broker, {}, '/').connected()
  const unknown = await client(t, broker, { token: null }, '/')
  await eventually(() => unknown.refusals.length > 0)
  t.match(unknown.refusals[0]?.data ?? unknown.refusals[0]?.message, /./)
  t.same(unknown.connects, [])
  // Others share its connection.
  const ws = root.socket.io.socket('/ws', { auth: { token: token('u', access) } })
  t.teardown(() => ws.disconnect())
  await eventually(() => ws.connected)
  await ws.emitWithAck('subscribe', { room: 'project:p' })
  const got: unknown[] = []
  ws.on('pr.updated', ({ data }) => got.push(data.n))
  await publish('p', 1)
  await eventually(() => got.length === 1)
  root.socket.emit('subscribe', { room: 'project:p' })
  await root.until(() => root.of('error').length > 0)
  t.match(root.of('error')[0]?.[0], { code: 'UNKNOWN_TYPE' })
  t.same(
    root.arrivals.map(({ event }) => event),
    ['error'],
  )
})
