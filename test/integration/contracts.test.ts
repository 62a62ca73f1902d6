import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-contracts-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** The contract of docs/contracts.md, as printed there. */
function documented(): string {
  const text = readFileSync(new URL('../../docs/contracts.md', import.meta.url), 'utf8')
  return (/```ts\n([\s\S]*?)```/.exec(text) as RegExpExecArray)[1] as string
}

for (const name of ['shop.ts', 'shop.mjs']) {
  t.test(`the documented contract works as ${name}: rooms, access, events`, async (t) => {
    const file = join(folder, name)
    writeFileSync(file, documented())
    const broker = await TestBroker.start({ CONTRACTS: file })
    t.teardown(() => broker.stop())
    const client = await TestClient.connect(broker.url('/shop'), {
      token: token('ann', { store_access: ['7', '8'] }),
    })
    client.send({ type: 'subscribe', data: { rooms: ['store:7', 'store:8'], events: ['sale_started'] }, id: 1 })
    t.match(await client.type('subscribed'), {
      data: { rooms: ['store:7', 'store:8'], events: ['sale_started'], filters: {} },
      id: 1,
    })
    client.send({ type: 'subscribe', data: { rooms: ['store:9'] }, id: 2 })
    t.match(await client.next(({ id }) => (id as unknown) === 2), {
      type: 'error',
      data: { error_code: 'ROOM_ACCESS_DENIED' },
    })
    client.send({ type: 'subscribe', data: { rooms: ['warehouse'] }, id: 3 })
    t.match(await client.next(({ id }) => (id as unknown) === 3), {
      type: 'error',
      data: { error_code: 'INVALID_ROOM' },
    })
    client.send({ type: 'subscribe', data: { events: ['order_placed'] }, id: 4 })
    t.match(
      await client.next(({ id }) => (id as unknown) === 4),
      { type: 'error', data: { error_code: 'UNKNOWN_EVENT' } },
      'an event with rooms is had by its rooms',
    )

    await broker.publish('shop', 'order_placed', { data: { store_id: 7, n: 1 } })
    await broker.publish('shop', 'order_placed', { data: { store_id: 9, n: 2 } })
    await broker.publish('shop', 'order_placed', { data: { n: 3 }, rooms: ['store:7', 'store:8', 'store:9'] })
    await broker.publish('shop', 'sale_started', { data: { n: 4 } })
    await client.next(({ data }) => data.n === 4)
    const got = () => client.frames.filter(({ data }) => data.n !== undefined).map(({ data }) => data.n)
    t.same(got(), [1, 3, 4], 'an event that names several of its rooms arrives once')

    client.send({ type: 'unsubscribe', data: { rooms: ['store:7'] } })
    await client.type('unsubscribed')
    await broker.publish('shop', 'order_placed', { data: { store_id: 7, n: 5 } })
    await broker.publish('shop', 'order_placed', { data: { store_id: 8, n: 6 } })
    await client.next(({ data }) => data.n === 6)
    t.same(got(), [1, 3, 4, 6])
    await client.close()
  })
}

t.test('an event of several rooms reaches each socket once, in order with events of single rooms', async (t) => {
  const file = join(folder, 'rooms.mjs')
  writeFileSync(
    file,
    `import { defineContract } from 'roomcast'
export default defineContract({ app: 'rooms', endpoints: [{ transport: 'websocket', path: '/rooms' }], events: { e: { rooms: ({ data }) => data.to } }, rooms: { '{id}': {} } })`,
  )
  const broker = await TestBroker.start({ CONTRACTS: file })
  t.teardown(() => broker.stop())
  const memberships = [['a'], ['b'], ['a', 'b'], ['a', 'b', 'c'], ['c'], ['d']]
  const clients = await Promise.all(
    memberships.map((_, i) => TestClient.connect(broker.url('/rooms'), i % 2 ? { format: 'msgpack' } : {})),
  )
  for (const [i, client] of clients.entries()) {
    client.send({ type: 'subscribe', data: { rooms: memberships[i] } })
    await client.type('subscribed')
  }
  const sent: string[][] = []
  const rooms = ['a', 'b', 'c']
  for (let n = 0; n < 200; n++) {
    const to = rooms.filter((_, i) => (n >> i) & 1)
    sent.push([...to, ...(n % 7 === 0 ? ['d'] : [])])
  }
  for (const [n, to] of sent.entries()) await broker.publish('rooms', 'e', { data: { n, to } })
  await broker.publish('rooms', 'e', { data: { n: 'end', to: ['a', 'b', 'c', 'd'] } })
  for (const [i, client] of clients.entries()) {
    await client.next(({ data }) => data.n === 'end')
    const expected = [...sent.keys()].filter((n) => sent[n]?.some((room) => memberships[i]?.includes(room)))
    t.same(
      client.events.map(({ data }) => data.n),
      [...expected, 'end'],
      `member of ${memberships[i]}`,
    )
  }
  // And from the log, as from live topics.
  const first = clients[3]?.events[0]?.id as string
  const back = await TestClient.connect(broker.url('/rooms'))
  back.send({ type: 'subscribe', data: { rooms: ['a', 'b', 'c'], since: first } })
  await back.next(({ data }) => data.n === 'end')
  t.same(
    back.events.map(({ data }) => data.n),
    clients[3]?.events.slice(1).map(({ data }) => data.n),
  )
})

t.test('a contract whose functions throw costs its own events alone', async (t) => {
  const file = join(folder, 'throws.mjs')
  writeFileSync(
    file,
    `import { defineContract } from 'roomcast'
export default defineContract({ app: 'throws', endpoints: [{ transport: 'websocket', path: '/throws' }], events: { e: { rooms: ({ data }) => data.nothing.there }, ok: {} } })`,
  )
  const broker = await TestBroker.start({ CONTRACTS: file })
  t.teardown(() => broker.stop())
  const client = await TestClient.connect(broker.url('/throws'))
  await client.subscribe(['ok'])
  t.equal((await broker.publish('throws', 'e', { data: {} })).status, 202)
  await broker.publish('throws', 'ok', { data: {} })
  await client.type('ok')
  t.equal(await broker.metric('bad_events_total'), 1)
})

t.test(
  'a room that only a record allows: kept when its user authenticates again, and when a recovered one does, until the record says otherwise',
  async (t) => {
    const file = join(folder, 'notes.mjs')
    writeFileSync(
      file,
      `import { defineContract } from 'roomcast'
const told = (type) => ({ code }) => ({ type, data: { code } })
export default defineContract({
  app: 'notes',
  idPattern: '.{1,20}',
  endpoints: [{ transport: 'socketio', namespace: '/notes', lateAuthentication: { command: 'authenticate', timeoutMs: 10_000, succeeded: ({ sub }) => ({ type: 'authenticated', data: { sub } }), failed: told('failed'), refused: told('refused') } }],
  rooms: {
    'note:{id}': { allows: () => false, record: { bucket: 'notes', allows: ({ sub }, record) => record?.owner === sub } },
    'team:{id}': { allows: ({ roles = [] }, id) => roles.includes(id) },
  },
  events: { edited: { rooms: ({ data }) => [data.room] } },
  commands: { open: { action: { use: 'join', room: ({ room }) => room, acknowledgement: (room) => [{ status: 'success', room }] } } },
})`,
    )
    const nats = await TestNats.start()
    const broker = await TestBroker.start({ NATS_URL: nats.url, CONTRACTS: file })
    t.teardown(async () => {
      await broker.stop()
      await nats.stop()
    })
    const records = await (await nats.jetstream()).views.kv('notes')
    const own = (id: string, owner: string) => records.put(id, JSON.stringify({ owner }))
    await own('1', 'ann')
    await own('2', 'ann')
    const client = await SocketIoClient.connect(`http://127.0.0.1:${broker.port}/notes`, { token: null })
    t.teardown(() => client.close())
    const authenticate = (claims: Record<string, unknown>) =>
      client.socket.timeout(30_000).emitWithAck('authenticate', { token: token('ann', claims) })
    const edited = () => client.of('edited').map(([{ room, n }]) => `${room} ${n}`)
    let n = 0
    const edit = async () => {
      n++
      for (const room of ['note:1', 'note:2', 'team:red', 'team:blue'])
        await broker.publish('notes', 'edited', { data: { room, n } })
    }
    await authenticate({ roles: ['red', 'blue'], exp: Math.floor(Date.now() / 1000) + 3600 })
    for (const room of ['note:1', 'note:2', 'team:red', 'team:blue'])
      t.match(await client.socket.timeout(30_000).emitWithAck('open', { room }), { status: 'success' })
    for (const id of ['a b', '.', 'a..b', 'ä']) client.socket.emit('open', { room: `note:${id}` })
    await eventually(() => client.of('error').length === 4)
    t.same(
      client.of('error').map(([{ code }]) => code),
      Array(4).fill('NOT_FOUND'),
      'an id that is no key was answered as if the store were out of reach',
    )
    await edit()
    await eventually(() => edited().length === 4)

    await own('2', 'bob')
    await authenticate({ roles: ['blue'], exp: Math.floor(Date.now() / 1000) + 8 })
    // Once it is off note:2, which the record no longer allows, nothing is on its way any more.
    await eventually(async () => (await broker.metric('rooms')) === 2)
    await edit()
    await eventually(() => edited().length === 6)
    t.same(edited().slice(4), ['note:1 2', 'team:blue 2'], 'its claims have changed, and so has one record')

    await eventually(() => client.disconnects.length === 1)
    await edit()
    client.socket.connect()
    await client.connected(2)
    t.equal(client.connects[1]?.recovered, true)
    t.same(edited().length, 6, 'nobody yet')
    await authenticate({ roles: [], exp: Math.floor(Date.now() / 1000) + 3600 })
    await eventually(() => edited().length === 7)
    await edit()
    await eventually(() => edited().length === 8)
    t.same(edited().slice(6), ['note:1 3', 'note:1 4'], 'what came meanwhile, where it may still be')
  },
)
