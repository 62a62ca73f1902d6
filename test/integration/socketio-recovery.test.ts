import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { Balancer } from '../support/balancer.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { type EventOf, Publisher } from '../support/load.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, type SocketIoOptions } from '../support/socketio-client.ts'

const CLIENTS = 500
const codec = StringCodec()
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const project_access = ['p']

/** By turns to the room that clients joined, to everybody, and to both. */
const eventOf: EventOf = (n) => {
  if (n % 3 === 0) return { subject: 'events.swe-agent.pr.updated', body: { data: { pr_id: 'x', project_id: 'p', n } } }
  if (n % 3 === 1) return { subject: 'events.swe-agent.workflow.progress', body: { data: { workflow_id: 'w', n } } }
  return {
    subject: 'events.swe-agent.agent.connected',
    body: { data: { agent_id: 'a', n }, rooms: ['project:p', 'global'] },
  }
}

async function publish(nats: TestNats, type: string, data: object, rest: object = {}): Promise<void> {
  await (await nats.jetstream()).publish(`events.swe-agent.${type}`, codec.encode(JSON.stringify({ data, ...rest })))
}

async function startNats(t: Test): Promise<TestNats> {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  return nats
}

async function startBroker(t: Test, nats: TestNats, env: Record<string, string | number> = {}): Promise<TestBroker> {
  const broker = await TestBroker.start({ NATS_URL: nats.url, ...env })
  t.teardown(() => broker.stop())
  return broker
}

const addressOf = ({ port }: { port: number }) => `http://127.0.0.1:${port}/ws`

async function connect(t: Test, address: string, options: SocketIoOptions = {}): Promise<SocketIoClient> {
  const client = await SocketIoClient.connect(address, options)
  t.teardown(() => client.close())
  return client
}

/** Mostly WebSockets, some that poll, some that change from one to the other. */
const transportsOf = (i: number) =>
  i % 25 === 0 ? ['polling'] : i % 25 === 1 ? ['polling', 'websocket'] : ['websocket']

/** Clients that joined a room each, and have yet to get an event. */
async function crowd(t: Test, address: string, count: number): Promise<SocketIoClient[]> {
  const clients: SocketIoClient[] = []
  for (let from = 0; from < count; from += 50) {
    const some = upTo(Math.min(50, count - from)).map((i) =>
      connect(t, address, { token: token(`user-${from + i}`, { project_access }), transports: transportsOf(from + i) }),
    )
    clients.push(...(await Promise.all(some)))
  }
  await Promise.all(clients.map((client) => client.subscribe('project:p')))
  return clients
}

async function everyoneHasAll(t: Test, clients: readonly SocketIoClient[], count: number): Promise<void> {
  await eventually(() => clients.every(({ numbers }) => numbers[numbers.length - 1] === count - 1), 90_000)
  const faults = clients.flatMap(({ numbers, connects, disconnects }) => {
    const at = numbers.findIndex((n, i) => n !== i)
    return at === -1 && numbers.length === count
      ? []
      : [{ at, around: numbers.slice(Math.max(0, at - 3), at + 5), length: numbers.length, connects, disconnects }]
  })
  t.same([faults.length, ...faults.slice(0, 5)], [0], 'every event once, in order')
}

function everyoneRecovered(t: Test, clients: readonly SocketIoClient[]): void {
  t.same(
    clients
      .filter(({ connects }) => !connects.slice(1).every(({ recovered }) => recovered))
      .map(({ connects }) => connects),
    [],
    'recovered === true',
  )
  t.same(
    clients.filter(({ connects }) => new Set(connects.map(({ id }) => id)).size !== 1).map(({ connects }) => connects),
    [],
    'each under the id that it had',
  )
}

async function members(broker: TestBroker, room: string): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${broker.port}/api/v1/websocket/stats`, {
    headers: { Authorization: `Bearer ${token('root', { roles: ['admin'] })}` },
  })
  return ((await answer.json()) as { rooms: Record<string, number> }).rooms[room] ?? 0
}

t.test(
  `kill -9 under load: ${CLIENTS} clients come back recovered, in their rooms, with every event once and in order`,
  async (t) => {
    const nats = await startNats(t)
    const broker = await startBroker(t, nats)
    const clients = await crowd(t, addressOf(broker), CLIENTS)
    const publisher = new Publisher(nats, 50, eventOf)
    await eventually(() => clients.every(({ numbers }) => numbers.length > 50), 60_000)
    await broker.kill('SIGKILL')
    await eventually(() => clients.every(({ disconnects }) => disconnects.length > 0))
    const before = publisher.stored
    await eventually(() => publisher.stored > before + 20)
    await broker.run()
    await eventually(() => clients.every(({ connects }) => connects.length > 1), 60_000)
    const after = publisher.stored
    await eventually(() => publisher.stored > after + 20)
    await everyoneHasAll(t, clients, await publisher.stop())
    everyoneRecovered(t, clients)
    t.same([await members(broker, 'project:p'), await members(broker, 'global')], [CLIENTS, CLIENTS])
  },
)

t.test('brokers on one NATS die in turn: clients recover on the other each time', async (t) => {
  const nats = await startNats(t)
  const brokers = [await startBroker(t, nats), await startBroker(t, nats)] as const
  const balancer = await Balancer.start(brokers[0].port)
  t.teardown(() => balancer.stop())
  const clients = await crowd(t, addressOf(balancer), 50)
  const publisher = new Publisher(nats, 200, eventOf)
  for (let round = 0; round < 4; round++) {
    const [one, other] = round % 2 ? ([brokers[1], brokers[0]] as const) : brokers
    const { stored } = publisher
    await eventually(() => publisher.stored > stored + 100)
    balancer.direct(other.port)
    await one.kill('SIGKILL')
    await eventually(() => clients.every(({ connects }) => connects.length > round + 1), 60_000)
    await one.run()
  }
  await everyoneHasAll(t, clients, await publisher.stop())
  everyoneRecovered(t, clients)
})

t.test('SIGTERM sends clients away, transport close, and they recover on another broker', async (t) => {
  const nats = await startNats(t)
  const brokers = [await startBroker(t, nats, { DRAIN_MS: 1_000 }), await startBroker(t, nats)] as const
  const balancer = await Balancer.start(brokers[0].port)
  t.teardown(() => balancer.stop())
  const clients = await crowd(t, addressOf(balancer), 50)
  const publisher = new Publisher(nats, 200, eventOf)
  await eventually(() => clients.every(({ numbers }) => numbers.length > 50))
  balancer.direct(brokers[1].port)
  t.equal(await brokers[0].kill('SIGTERM'), 0)
  await eventually(() => clients.every(({ connects }) => connects.length > 1), 60_000)
  // A poll of its own connection may reach the other broker already, which does not know the session.
  const reasons = (i: number) =>
    transportsOf(i)[0] === 'polling' && transportsOf(i).length === 1
      ? ['transport close', 'transport error']
      : ['transport close']
  t.same(
    clients
      .filter(({ disconnects }, i) => !reasons(i).includes(disconnects[0] as string))
      .map(({ disconnects }) => disconnects),
    [],
  )
  await everyoneHasAll(t, clients, await publisher.stop())
  everyoneRecovered(t, clients)
})

t.test('where history is gone, recovered is false, and the client gets live events', async (t) => {
  const nats = await startNats(t)
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.add({ name: 'ROOMCAST_EVENTS', subjects: ['events.>'], max_msgs: 20 })
  const broker = await startBroker(t, nats)
  const clients = [
    await connect(t, addressOf(broker), { transports: ['websocket'] }),
    await connect(t, addressOf(broker), { transports: ['polling'] }),
  ]
  for (let n = 0; n < 5; n++) await publish(nats, 'workflow.progress', { workflow_id: 'w', n })
  for (const client of clients) await client.until(() => client.numbers.length === 5)
  await broker.kill('SIGKILL')
  for (let n = 5; n < 50; n++) await publish(nats, 'workflow.progress', { workflow_id: 'w', n })
  await broker.run()
  for (const client of clients) await client.connected(2)
  await publish(nats, 'workflow.progress', { workflow_id: 'w', n: 50 })
  for (const client of clients) {
    await client.until(() => client.numbers.includes(50))
    t.same(client.numbers, [0, 1, 2, 3, 4, 50])
    t.same(
      client.connects.map(({ recovered }) => recovered),
      [false, false],
    )
    t.not(client.connects[0]?.id, client.connects[1]?.id)
  }
  await broker.kill('SIGKILL')
  await publish(nats, 'workflow.progress', { workflow_id: 'w', n: 51 })
  await broker.run()
  for (const client of clients) {
    await client.connected(3)
    await client.until(() => client.numbers.includes(51))
    t.equal(client.connects[2]?.recovered, true, 'from the second session on it can recover again')
    t.same(client.numbers, [0, 1, 2, 3, 4, 50, 51])
  }
})

t.test('a stream that was deleted and made anew: recovered is false', async (t) => {
  const nats = await startNats(t)
  const jsm = await (await nats.client()).jetstreamManager()
  const broker = await startBroker(t, nats)
  const client = await connect(t, addressOf(broker))
  await publish(nats, 'workflow.progress', { workflow_id: 'w', n: 0 })
  await client.until(() => client.numbers.length === 1)
  await broker.kill('SIGKILL')
  await jsm.streams.delete('ROOMCAST_EVENTS')
  await broker.run()
  await client.connected(2)
  for (let n = 1; n < 4; n++) await publish(nats, 'workflow.progress', { workflow_id: 'w', n })
  await client.until(() => client.numbers.includes(3))
  t.same(client.numbers, [0, 1, 2, 3])
  t.equal(client.connects[1]?.recovered, false)
})

t.test('a stream made anew while a client that comes back has yet to authenticate: it is told', async (t) => {
  const nats = await startNats(t)
  const broker = await startBroker(t, nats)
  const store = async (n: number) => {
    const data = { project_name: 'p', old_state: 'a', new_state: 'b', timestamp: 't', n }
    const answer = await broker.publish('orchestrator-portal', 'state_change', { data })
    return ((await answer.json()) as { id?: string }).id
  }
  await store(0)
  const since = await store(1)
  const client = await connect(t, addressOf(broker).replace('/ws', '/project/p'), { token: null, auth: { since } })
  await (await (await nats.client()).jetstreamManager()).streams.delete('ROOMCAST_EVENTS')
  await eventually(() => /the stream was replaced/.test(broker.log))
  for (const n of [10, 11, 12, 13]) await eventually(async () => (await store(n)) !== undefined)
  const authenticate = () => client.socket.emit('authenticate', { token: token('u', { project_access }) })
  authenticate()
  await client.connected(2)
  authenticate()
  await client.until(() => client.of('state_change').length === 4)
  t.same(client.disconnects, ['transport close'])
  t.match(client.of('events_missed'), [[{ since }]])
  t.same(
    client.of('state_change').map(([{ n }]) => n),
    [10, 11, 12, 13],
  )
})

t.test('a client that got no event yet recovers, greeted or not', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-recovery-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'silent.mjs')
  writeFileSync(
    file,
    `import { defineContract } from 'roomcast'
export default defineContract({
  app: 'silent',
  endpoints: [{ transport: 'socketio', namespace: '/silent', joins: () => ['all'], handlerArguments: ({ data }, id) => [{ data, id }] }],
  events: { e: { rooms: () => ['all'] } },
})`,
  )
  const nats = await startNats(t)
  const broker = await startBroker(t, nats, { CONTRACTS: file })
  const js = await nats.jetstream()
  const tell = async (n: number) => {
    await js.publish('events.silent.e', codec.encode(JSON.stringify({ data: { n } })))
    await publish(nats, 'workflow.progress', { workflow_id: 'w', n })
  }
  await tell(0)
  // Who connected before the broker has read them would get them.
  await eventually(async () => (await broker.metric('events_total')) === 2)
  const silent = `http://127.0.0.1:${broker.port}/silent`
  const clients = [
    await connect(t, addressOf(broker)),
    await connect(t, addressOf(broker), { transports: ['polling'] }),
    await connect(t, silent),
    await connect(t, silent, { transports: ['polling'] }),
    await connect(t, silent, { transports: ['websocket'] }),
  ]
  t.same(
    clients.slice(2).flatMap(({ arrivals }) => arrivals),
    [],
    'nobody greets there',
  )
  await broker.kill('SIGKILL')
  for (let n = 1; n < 10; n++) await tell(n)
  await broker.run()
  for (const client of clients) await client.connected(2)
  await tell(10)
  for (const client of clients) {
    await client.until(() => client.numbers.includes(10))
    t.same(client.numbers, upTo(11).slice(1))
  }
  everyoneRecovered(t, clients)
})

t.test('unsubscribed rooms stay so; rooms that the token no longer allows are not recovered', async (t) => {
  const nats = await startNats(t)
  const broker = await startBroker(t, nats)
  const client = await connect(t, addressOf(broker), { token: token('ann', { project_access: ['p', 'q', 'r'] }) })
  for (const room of ['project:p', 'project:q', 'project:r']) await client.subscribe(room)
  t.equal((await client.ask('unsubscribe', { room: 'project:q' })).status, 'success')
  client.socket.auth = { token: token('ann', { project_access: ['p', 'q'] }) }
  await broker.kill('SIGKILL')
  for (const [n, project_id] of ['p', 'q', 'r'].entries())
    await publish(nats, 'pr.updated', { pr_id: 'x', project_id, n })
  await broker.run()
  await client.connected(2)
  for (const [n, project_id] of ['r', 'q', 'p'].entries())
    await publish(nats, 'pr.updated', { pr_id: 'x', project_id, n: n + 3 })
  await client.until(() => client.numbers.includes(5))
  t.same(client.numbers, [0, 5])
  everyoneRecovered(t, [client])
})

t.test('rooms of connected sessions are written again when the store lost them', async (t) => {
  const nats = await startNats(t)
  const broker = await startBroker(t, nats)
  const client = await connect(t, addressOf(broker), { token: token('ann', { project_access }) })
  await client.subscribe('project:p')
  const jsm = await (await nats.client()).jetstreamManager()
  const { _pid: pid } = client.socket as unknown as { _pid: string }
  await jsm.streams.purge('KV_roomcast_recovery')
  const kept = () =>
    jsm.streams
      .getMessage('KV_roomcast_recovery', { last_by_subj: `$KV.roomcast_recovery.${pid}` })
      .catch(() => undefined)
  t.equal(await kept(), undefined)
  await eventually(async () => (await kept()) !== undefined, 60_000)
  await broker.kill('SIGKILL')
  await publish(nats, 'pr.updated', { pr_id: 'x', project_id: 'p', n: 0 })
  await broker.run()
  await client.connected(2)
  await client.until(() => client.numbers.length === 1)
  everyoneRecovered(t, [client])
})

t.test(
  'clients that came back while NATS was away began anew and lost what they were to get: they wait for it, and recover',
  async (t) => {
    const nats = await startNats(t)
    const broker = await startBroker(t, nats)
    const client = await connect(t, addressOf(broker), { token: token('ann', { project_access }) })
    await client.subscribe('project:p')
    await publish(nats, 'pr.updated', { pr_id: 'x', project_id: 'p', n: 0 })
    await client.until(() => client.numbers.length === 1)
    await nats.kill('SIGKILL')
    await eventually(async () => (await broker.ops('/readyz')).status === 503)
    const { io } = client.socket as unknown as { io: { engine: { close(): void } } }
    io.engine.close()
    await eventually(() => client.disconnects.length === 1)
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    await nats.run()
    await client.connected(2)
    await publish(nats, 'pr.updated', { pr_id: 'x', project_id: 'p', n: 1 })
    await client.until(() => client.numbers.length === 2)
    everyoneRecovered(t, [client])
  },
)

t.test('another user does not recover into a session whose private id it knows', async (t) => {
  const nats = await startNats(t)
  const broker = await startBroker(t, nats)
  for (const joins of [true, false]) {
    const victim = await connect(t, addressOf(broker), { token: token('ann', { project_access }) })
    if (joins) await victim.subscribe('project:p')
    await publish(nats, 'issue.updated', { issue_id: 'i', project_id: 'p', assigned_to: 'ann', n: 0 })
    await victim.until(() => victim.numbers.includes(0))
    const { _pid: pid, _lastOffset: offset } = victim.socket as unknown as { _pid: string; _lastOffset: string }
    await publish(nats, 'issue.updated', { issue_id: 'i', project_id: 'p', assigned_to: 'ann', n: 1 })
    victim.close()
    const thief = await connect(t, addressOf(broker), {
      token: token('bob', { project_access }),
      auth: { pid, offset },
    })
    await publish(nats, 'issue.updated', { issue_id: 'i', project_id: 'p', assigned_to: 'ann', n: 2 })
    await publish(nats, 'workflow.progress', { workflow_id: 'w', n: 3 })
    await thief.until(() => thief.numbers.includes(3))
    t.same(thief.numbers, [3])
    t.not(thief.socket.id, victim.connects[0]?.id, 'a session of its own')
    t.not((thief.socket as unknown as { _pid: string })._pid, pid)
    const nonsense = await connect(t, addressOf(broker), {
      token: token('bob'),
      auth: { pid: `${pid}x`, offset: 'nonsense' },
    })
    t.not((nonsense.socket as unknown as { _pid: string })._pid, `${pid}x`)
  }
})
