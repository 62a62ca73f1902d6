import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { TestBroker } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-contract-faults-'))
writeFileSync(
  join(folder, 'faulty.mjs'),
  `
const boom = () => { throw new Error('secret inner words') }
const later = async () => { throw new Error('secret inner words') }
const circle = {}
circle.circle = circle
const message = { type: 'm', data: {} }
const event = (data) => ({ type: 'ok', data })
export default {
  app: 'faulty',
  endpoints: [
    { transport: 'websocket', path: '/faulty' },
    { transport: 'socketio', namespace: '/faulty', failed: ({ code, message, details }) => ({ acknowledgement: [{ status: 'error', code, message, details }] }) },
    { transport: 'socketio', namespace: '/broken', allows: () => true, joins: () => undefined, welcome: boom, refusal: boom, failed: boom, handlerArguments: (event) => (event.data.args ? boom() : [event.data]) },
    { transport: 'socketio', namespace: '/closed', allows: boom, refusal: boom, refusalMessage: later },
    { transport: 'socketio', namespace: '/late', lateAuthentication: { command: 'login', timeoutMs: 10_000, credential: boom, succeeded: boom, failed: boom, refused: boom, ended: boom } },
  ],
  events: {
    ok: {},
    throws: { rooms: boom },
    promised: { rooms: later },
    numbers: { rooms: () => [5] },
    latest: { rooms: () => ['lobby'], latest: later },
    subject: { rooms: () => ['lobby'], entity: boom },
    remember: { rooms: () => ['lobby'], lastValue: boom },
    conversation: { rooms: () => ['lobby'], conversation: () => ({}) },
    args: { rooms: () => ['lobby'] },
    fine: { rooms: () => ['lobby'] },
  },
  rooms: { 'shut:{id}': { allows: boom }, 'later:{id}': { allows: later }, lobby: {}, told: { presence: true } },
  filters: { f: { read: ({ filter }) => (filter ? boom() : undefined) } },
  presence: { joined: boom, left: later, room: (channel) => channel },
  locks: { locked: boom, unlocked: () => 'nothing' },
  figures: { room: 'lobby', everyMs: 100, message: boom },
  commands: {
    echo: { action: { use: 'echo', reply: boom } },
    nothing: { action: { use: 'echo', reply: () => undefined } },
    typeless: { action: { use: 'echo', reply: () => ({ data: 1 }) } },
    bigint: { action: { use: 'echo', reply: () => ({ type: 'm', data: { n: 1n } }) } },
    circle: { action: { use: 'echo', reply: () => ({ type: 'm', data: circle }) } },
    listless: { action: { use: 'echo', acknowledgement: () => 'no list' } },
    promise: { action: { use: 'echo', reply: later, acknowledgement: later } },
    allows: { action: { use: 'echo', reply: () => message }, allows: later },
    join: { action: { use: 'join', room: ({ room }) => room, acknowledgement: (room) => [{ status: 'success', room }] } },
    'join-boom': { action: { use: 'join', room: boom } },
    'join-late': { action: { use: 'join', room: later } },
    'join-reply': { action: { use: 'join', room: () => 'lobby', reply: boom } },
    store: { action: { use: 'store', event: boom } },
    'store-later': { action: { use: 'store', event: later } },
    'store-nothing': { action: { use: 'store', event: () => undefined } },
    'store-rooms': { action: { use: 'store', event: () => ({ ...event({}), rooms: 'lobby' }) } },
    'store-circle': { action: { use: 'store', event: () => event(circle) } },
    'store-bigint': { action: { use: 'store', event: () => event({ n: 1n }) } },
    'store-within': { action: { use: 'store', within: boom, event: () => event({}) } },
    'store-forward': { action: { use: 'store', event: () => event({}), forward: boom } },
    say: { action: { use: 'broadcast', room: boom, message: () => message } },
    'say-rooms': { action: { use: 'broadcast', room: () => [5], message: () => message } },
    'say-message': { action: { use: 'broadcast', room: () => 'lobby', message: () => ({ type: 'm', data: { n: 1n } }) } },
    forward: { action: { use: 'forward', participates: later } },
    'forward-failed': { action: { use: 'forward', failed: boom } },
    recall: { action: { use: 'query', summary: { make: () => [], add: () => 1 }, query: boom } },
    'recall-look': { action: { use: 'query', summary: { make: () => [], add: () => 1 }, query: () => ({ look: boom, reply: () => message }) } },
    'recall-reply': { action: { use: 'query', summary: { make: boom, add: boom }, query: () => ({ look: () => true, reply: later }) } },
    lock: { action: { use: 'lock', resource: () => ({ n: 1n }) } },
    'lock-event': { action: { use: 'lock', resource: () => ({ n: 1 }) } },
    batch: { action: { use: 'batch', commands: () => [{ type: 5 }] } },
    enter: { action: { use: 'joinPresence', channel: () => 'p', allows: () => true, room: boom, events: ['ok'] } },
    'enter-allows': { action: { use: 'joinPresence', channel: () => 'p', allows: later, room: () => 'lobby', events: ['ok'] } },
    select: { action: { use: 'select', events: () => 'ok', channel: () => undefined, room: () => undefined } },
    works: { action: { use: 'echo', reply: () => message, acknowledgement: () => ['works'] } },
  },
}`,
)
/** Commands, and what they fail with. */
const COMMANDS: readonly (readonly [string, string])[] = [
  ...[
    'echo',
    'nothing',
    'typeless',
    'bigint',
    'circle',
    'promise',
    'join-boom',
    'join-late',
    'join-reply',
    'store',
    'store-later',
    'store-nothing',
    'store-rooms',
    'store-circle',
    'store-bigint',
    'store-within',
    'store-forward',
    'say',
    'say-rooms',
    'say-message',
  ].map((name) => [name, 'INTERNAL'] as const),
  ...['forward', 'recall', 'recall-look', 'recall-reply', 'lock', 'lock-event', 'batch', 'enter', 'select'].map(
    (name) => [name, 'INTERNAL'] as const,
  ),
  ['allows', 'ACCESS_DENIED'],
  ['enter-allows', 'ROOM_ACCESS_DENIED'],
  ['forward-failed', 'SERVICE_UNAVAILABLE'],
]

const broker = await TestBroker.start({ CONTRACTS: join(folder, 'faulty.mjs') })
const clients: SocketIoClient[] = []
t.teardown(async () => {
  for (const client of clients) client.close()
  await broker.stop()
  rmSync(folder, { recursive: true, force: true })
})
t.afterEach(async () => {
  if ((await broker.ops('/healthz')).status !== 200) throw new Error(`the broker is gone: ${broker.log}`)
})

async function connect(
  namespace: string,
  options: ConstructorParameters<typeof SocketIoClient>[1] = {},
): Promise<SocketIoClient> {
  const client = new SocketIoClient(`http://127.0.0.1:${broker.port}${namespace}`, options)
  clients.push(client)
  return client.connected()
}

t.test(
  'a command whose functions throw, or return what they may not, fails alone, by name, without inner words: Socket.IO',
  async (t) => {
    // Something to recall.
    t.equal((await broker.publish('faulty', 'ok', { data: {} })).status, 202)
    const client = await connect('/faulty')
    for (const [command, code] of [...COMMANDS, ['listless', 'INTERNAL'] as const]) {
      const answer = await client.ask(command, {})
      t.match(answer, { status: 'error', code }, command)
      t.notMatch(JSON.stringify(answer), /secret|BigInt|circular/, command)
    }
    for (const room of ['shut:1', 'later:1'])
      t.match(await client.ask('join', { room }), { code: 'ROOM_ACCESS_DENIED' }, 'who cannot be asked about may not')
    t.equal(await client.ask('works', {}), 'works')
    t.equal(client.disconnects.length, 0)
  },
)

t.test('the same on a raw WebSocket', async (t) => {
  const client = await TestClient.connect(broker.url('/faulty'))
  for (const [command, code] of COMMANDS) {
    client.send({ type: command, data: {}, id: command })
    const answer = await client.next(({ type, id }) => type === 'error' && (id as unknown) === command)
    t.match(answer.data, { error_code: code }, command)
    t.notMatch(JSON.stringify(answer), /secret|BigInt|circular/, command)
  }
  client.send({ type: 'subscribe', data: { rooms: ['shut:1'] }, id: 's' })
  t.match(await client.next(({ id }) => (id as unknown) === 's'), { data: { error_code: 'ROOM_ACCESS_DENIED' } })
  await client.settle()
  await client.close()
})

t.test('an event whose functions fail is left out and counted; those before and after arrive', async (t) => {
  const [client, raw] = [await connect('/faulty'), await TestClient.connect(broker.url('/faulty'))]
  await client.ask('join', { room: 'lobby' })
  raw.send({ type: 'subscribe', data: { rooms: ['lobby'] } })
  await raw.type('subscribed')
  const before = await broker.metric('bad_events_total')
  const bad = ['throws', 'promised', 'numbers', 'latest', 'subject', 'remember', 'conversation']
  for (const type of bad) {
    await broker.publish('faulty', type, { data: {} })
    await broker.publish('faulty', 'fine', { data: { after: type } })
  }
  await broker.publish('faulty', 'fine', { data: { filter: true } })
  await broker.publish('faulty', 'fine', { data: { after: 'all' } })
  await client.until(() => client.of('fine').some(([data]) => data.after === 'all'))
  await raw.next(({ data }) => data.after === 'all')
  t.same(
    client.of('fine').map(([data]) => data.after),
    [...bad, 'all'],
  )
  t.same(
    raw.events.map(({ data }) => data.after),
    [...bad, 'all'],
  )
  t.equal(await broker.metric('bad_events_total'), before + bad.length + 1)
  await raw.close()
})

t.test(
  'what an endpoint says as clients come and fail: its functions throw, and clients come, and are told',
  async (t) => {
    const client = await connect('/broken')
    t.match(
      await client.ask('echo', {}),
      { status: 'error', error_code: 'INTERNAL' },
      'a failure is told in plain words',
    )
    t.match(await client.ask('join', { room: 'lobby' }), { status: 'success' })
    const before = await broker.metric('bad_events_total')
    await broker.publish('faulty', 'args', { data: { args: true } })
    await broker.publish('faulty', 'fine', { data: { n: 1 } })
    await client.until(() => client.of('fine').length === 1)
    t.equal(client.of('args').length, 0)
    t.equal(await broker.metric('bad_events_total'), before + 1)
    const refused = new SocketIoClient(`http://127.0.0.1:${broker.port}/closed`)
    clients.push(refused)
    await eventually(() => refused.refusals.length > 0)
    t.match(refused.refusals[0]?.message, 'Access denied')
    const late = await connect('/late', { token: null })
    late.socket.emit('login', { token: 'x' })
    late.socket.emit('works', {})
    await late.until(() => late.of('error').length === 2)
    t.same(
      late
        .of('error')
        .map(([{ code }]) => code)
        .sort(),
      ['AUTH_MISSING', 'INTERNAL'],
    )
  },
)

t.test(
  'functions that nobody waits for, in timers and as others come and go, are reported, each by its name',
  async (t) => {
    const [one, two] = [await connect('/faulty'), await connect('/faulty')]
    await one.ask('join', { room: 'told' })
    await two.ask('join', { room: 'told' })
    two.close()
    await eventually(async () => (await broker.metric('faults_total')) > 100)
    t.match(await (await broker.ops('/metrics')).text(), /faults_total\{where="contract function"\} [1-9]/)
    t.match(broker.log, /contract faulty: .*secret inner words/, 'whoever runs it learns what it was')
    t.equal(await one.ask('works', {}), 'works')
  },
)
