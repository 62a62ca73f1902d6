import { readFileSync } from 'node:fs'
import vm from 'node:vm'
import { Packr } from 'msgpackr'
import { headers, JSONCodec } from 'nats'
import t from 'tap'
import WebSocket from 'ws'
import { gameDjinn } from '../../src/applications/game-djinn.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, type Frame, TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { EXAMPLES } from './game-djinn-events.ts'

const codec = JSONCodec()
const packr = new Packr({ useRecords: false })
const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url, COMMAND_TIMEOUT_MS: 500 })
const js = await nats.jetstream()
const nc = await nats.client()
t.teardown(async () => {
  await broker.stop()
  await nats.stop()
})

const publish = (type: string, data: object, rest: object = {}) =>
  js.publish(`events.game-djinn.${type}`, codec.encode({ data, ...rest }))
const numbers = (client: TestClient) => client.events.map(({ data }) => data.n)
let barriers = 0

/** Publishes an event that everybody here gets, and waits for it: what came before has arrived, or never will. */
async function barrier(...clients: TestClient[]): Promise<void> {
  const n = `barrier-${barriers++}`
  await publish('maintenance_mode', { status: n })
  await Promise.all(clients.map((client) => client.next(({ data }) => data.status === n)))
}
const withoutBarriers = (client: TestClient) =>
  client.events.filter(({ data }) => !String(data.status).startsWith('barrier-'))

interface ChatRequest {
  readonly user_id: string
  readonly data: { readonly context: { readonly conversation_id: string } }
}

/** A chat service. @param accepts says whether it does */
async function serveChat(accepts: (request: ChatRequest) => boolean) {
  const participations = await js.views.kv('roomcast_participants')
  const subscription = nc.subscribe('commands.game-djinn.ai_chat_message', {
    callback: (_, message) =>
      message.respond(
        codec.encode(
          accepts(message.json()) ? { ok: true } : { ok: false, error: { code: 'FORBIDDEN', message: 'not yours' } },
        ),
      ),
  })
  await nc.flush()
  const encode = (text: string) => Buffer.from(text).toString('base64url')
  return {
    /** Resolves once somebody takes part. */
    joined: (conversation: string, user: string) =>
      eventually(async () => (await participations.get(`game-djinn.${encode(conversation)}.${encode(user)}`)) !== null),
    stop: async () => {
      subscription.unsubscribe()
      await nc.flush()
    },
  }
}

t.test('the examples cover every event of the contract', async (t) => {
  t.same(Object.keys(EXAMPLES), Object.keys(gameDjinn.events))
})

t.test('every server event of the document arrives in its shape, as JSON and as msgpack', async (t) => {
  // In the conversation, so that ai_* events are for this user.
  const clients = [
    await TestClient.connect(broker.url()),
    await TestClient.connect(broker.url(), { format: 'msgpack' }),
    await TestClient.connect(broker.url(), { protocols: ['roomcast.msgpack'] }),
  ]
  const service = await serveChat(() => true)
  clients[0]?.send({
    type: 'ai_chat_message',
    data: { message: 'hello', context: { conversation_id: 'conv_456789' } },
    id: 'msg_123456',
  })
  await service.joined('conv_456789', 'alice')
  await service.stop()
  for (const client of clients) await client.subscribe(Object.keys(EXAMPLES))
  for (const [type, data] of Object.entries(EXAMPLES))
    await publish(type, data, { timestamp: '2024-07-20T12:00:00Z', id: `producer-${type}` })
  await js.publish('events.game-djinn.game_added', packr.pack({ data: { ...EXAMPLES.game_added, n: 1 } }), {
    headers: (() => {
      const h = headers()
      h.set('Content-Type', 'application/msgpack')
      return h
    })(),
  })
  for (const client of clients) {
    const last = await client.next(({ data }) => data.n === 1)
    t.same(Object.keys(last).sort(), ['data', 'id', 'timestamp', 'type'], 'a frame has exactly these fields')
    t.match(
      last.timestamp,
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
      'the time of storage where the producer gave none',
    )
    const got = client.events.filter(({ data }) => data.n !== 1)
    t.same(
      got.map(({ type }) => type),
      Object.keys(EXAMPLES),
      'all types in order',
    )
    for (const { type, data, timestamp, id, source_id, ...rest } of got) {
      t.same(data, EXAMPLES[type], `${type}: data passes through whole`)
      t.equal(timestamp, '2024-07-20T12:00:00Z')
      t.equal(source_id, `producer-${type}`)
      t.match(id, /^[A-Za-z0-9]+-\d+$/)
      t.same(rest, {}, 'nothing else')
    }
    await client.close()
  }
})

t.test('connection_established tells user, session, time and features', async (t) => {
  const client = await TestClient.connect(broker.url(), { token: token('admin') })
  const { data, timestamp, ...rest } = await client.type('connection_established')
  t.same(Object.keys(data).sort(), ['features', 'server_time', 'session_id', 'user_id'])
  t.equal(data.user_id, 'admin')
  t.same(data.features, ['sync_progress', 'ai_chat', 'notifications'])
  t.match(data.session_id, /^sess_/)
  t.ok(Date.parse(timestamp))
  t.same(rest, { type: 'connection_established' })
  await client.close()
})

t.test('features and single names subscribe to their events; unsubscribe leaves them', async (t) => {
  const client = await TestClient.connect(broker.url())
  t.same((await client.subscribe(['sync_progress', 'notifications'])).data, {
    events: ['sync_progress', 'notifications'],
    filters: {},
  })
  await publish('sync_started', { operation_id: 'a' })
  await publish('game_added', { n: 1 })
  await publish('system_notification', { level: 'info', message: 'm' })
  await barrier(client)
  t.same(
    withoutBarriers(client).map(({ type }) => type),
    ['sync_started', 'system_notification'],
  )
  client.send({ type: 'unsubscribe', data: { events: ['sync_progress'] }, id: 'u1' })
  const { data, id } = await client.type('unsubscribed')
  t.same([data, id], [{ events: ['sync_progress'] }, 'u1'])
  await client.subscribe(['game_added'])
  await publish('sync_started', { operation_id: 'b' })
  await publish('game_added', { n: 2 })
  await barrier(client)
  t.same(
    withoutBarriers(client).map(({ type }) => type),
    ['sync_started', 'system_notification', 'game_added'],
  )
  await client.close()
})

t.test('filters refuse an event only when it carries the field with another value', async (t) => {
  const one = await TestClient.connect(broker.url())
  await one.subscribe(['game_added', 'notifications'], {
    library_id: 'L1',
    notification_level: ['warning', 'error'],
    game_genres: ['RPG', 'Strategy'],
  })
  const both = await TestClient.connect(broker.url())
  await both.subscribe(['game_added', 'maintenance_mode'], { library_id: ['L1', 'L2'] })
  await publish('game_added', { n: 1, library_id: 'L1', game: { genres: ['RPG', 'Indie'] } })
  await publish('game_added', { n: 2, library_id: 'L2' })
  await publish('game_added', { n: 3 })
  await publish('game_added', { n: 4, library_id: 'L1', genres: ['Racing'] })
  await publish('game_added', { n: 5, library_id: 'L3' })
  await publish('system_notification', { n: 6, level: 'info', message: 'm' })
  await publish('system_notification', { n: 7, level: 'error', message: 'm' })
  await barrier(one, both)
  t.same(
    withoutBarriers(one).map(({ data }) => data.n),
    [1, 3, 7],
  )
  t.same(
    withoutBarriers(both).map(({ data }) => data.n),
    [1, 2, 3, 4],
  )
  await one.subscribe(['game_added'], { library_id: 'L3' })
  await publish('game_added', { n: 8, library_id: 'L1' })
  await publish('game_added', { n: 9, library_id: 'L3' })
  await barrier(one)
  t.same(
    withoutBarriers(one).map(({ data }) => data.n),
    [1, 3, 7, 9],
    'subscribing again replaces the filters of that event',
  )
  await one.close()
  await both.close()
})

t.test('library_access guards every event with a library; admin passes', async (t) => {
  const connect = async (claims: object) => {
    const client = await TestClient.connect(broker.url(), { token: token('u', claims as Record<string, unknown>) })
    await client.subscribe(['sync_started', 'maintenance_mode'])
    return client
  }
  const [absent, some, none, star, admin] = await Promise.all([
    connect({}),
    connect({ library_access: ['L1'] }),
    connect({ library_access: [] }),
    connect({ library_access: ['*'] }),
    connect({ library_access: [], roles: ['admin'] }),
  ])
  for (const [n, library_id] of ['L1', 'L2', undefined].entries())
    await publish('sync_started', { n, operation_id: 'o', library_id })
  await barrier(absent, some, none, star, admin)
  const got = [absent, some, none, star, admin].map((client) => withoutBarriers(client).map(({ data }) => data.n))
  t.same(got, [[0, 1, 2], [0, 2], [2], [0, 1, 2], [0, 1, 2]])
  for (const client of [absent, some, none, star, admin]) await client.close()
})

t.test('an event with user_id goes to that user alone, on each of their connections, where subscribed', async (t) => {
  const connect = async (user: string, events: string[]) => {
    const client = await TestClient.connect(broker.url(), { token: token(user) })
    await client.subscribe(['maintenance_mode', ...events])
    return client
  }
  const clients = await Promise.all([
    connect('ann', ['game_added']),
    connect('ann', ['game_added']),
    connect('ann', []),
    connect('bob', ['game_added']),
  ])
  await publish('game_added', { n: 1 })
  await publish('game_added', { n: 2 }, { user_id: 'ann' })
  await publish('game_added', { n: 3 })
  await barrier(...clients)
  t.same(
    clients.map((client) => withoutBarriers(client).map(({ data }) => data.n)),
    [[1, 2, 3], [1, 2, 3], [], [1, 3]],
  )
  for (const client of clients) await client.close()
})

t.test(
  'whoever comes to a room and leaves it, to one alone in it or to others, each sees what came while it was there, once',
  async (t) => {
    const clients = await Promise.all(
      (['json', 'json', 'msgpack'] as const).map((format) => TestClient.connect(broker.url(), { format })),
    )
    for (const client of clients) await client.subscribe(['maintenance_mode'])
    const expected: number[][] = clients.map(() => [])
    // Who is in it after each step, a bit for each: nobody, each alone, any two, all, in many orders.
    const path = [0, 1, 3, 2, 6, 4, 5, 7, 3, 1, 5, 4, 0, 2, 3, 7, 6, 7, 5, 1, 0, 4, 6, 2, 0]
    for (const [step, inRoom] of path.entries()) {
      for (const [i, client] of clients.entries()) {
        const was = ((path[step - 1] ?? 0) >> i) & 1
        const is = (inRoom >> i) & 1
        if (is > was) await client.subscribe(['game_added'], i === 1 && step % 2 ? { library_id: 'L1' } : {})
        else if (was > is) {
          client.send({ type: 'unsubscribe', data: { events: ['game_added'] } })
          await client.type('unsubscribed', client.frames.length)
        }
        if (is) expected[i]?.push(2 * step, 2 * step + 1)
      }
      await publish('game_added', { n: 2 * step })
      await publish('game_added', { n: 2 * step + 1 })
      await barrier(...clients)
    }
    t.same(
      clients.map((client) => withoutBarriers(client).map(({ data }) => data.n)),
      expected,
    )
    for (const client of clients) await client.close()
  },
)

t.test('a conversation is for who took part in it, also after reconnecting, and on another broker', async (t) => {
  const second = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(() => second.stop())
  const connect = async (at: TestBroker, user: string) => {
    const client = await TestClient.connect(at.url(), { token: token(user) })
    await client.subscribe(['ai_chat', 'maintenance_mode'])
    return client
  }
  const carl = await connect(broker, 'carl')
  const dora = await connect(broker, 'dora')
  const service = await serveChat(() => true)
  carl.send({ type: 'ai_chat_message', data: { message: 'hi', context: { conversation_id: 'talk-1' } }, id: 1 })
  await service.joined('talk-1', 'carl')
  await service.stop()
  const elsewhere = await connect(second, 'carl')
  await publish('ai_thinking', { conversation_id: 'talk-1', n: 1 })
  await publish('ai_thinking', { conversation_id: 'talk-2', n: 2 })
  await publish('ai_thinking', { n: 3 })
  await publish('ai_thinking', { conversation_id: 'talk-1', n: 4 }, { user_id: 'dora' })
  await barrier(carl, dora, elsewhere)
  const got = [carl, dora, elsewhere].map((client) =>
    withoutBarriers(client)
      .filter(({ id }) => id)
      .map(({ data }) => data.n)
      .filter(Boolean),
  )
  t.same(got, [
    [1, 3],
    [3, 4],
    [1, 3],
  ])
  for (const client of [carl, dora, elsewhere]) await client.close()
})

t.test(
  'a participant of whom a node hears only after the answer gets it all the same, once and in order',
  async (t) => {
    const second = await TestBroker.start({ NATS_URL: nats.url })
    t.teardown(() => second.stop())
    const clients = await Promise.all(
      [broker, second].flatMap((at) =>
        ['ida', 'ida', 'jan'].map((user) => TestClient.connect(at.url(), { token: token(user) })),
      ),
    )
    t.teardown(() => Promise.all(clients.map((client) => client.close())))
    for (const client of clients) await client.subscribe(['ai_chat', 'maintenance_mode'])
    await publish('ai_thinking', { conversation_id: 'talk-9', n: 0 })
    await publish('maintenance_mode', { n: 1 })
    const { id: since } = await (clients[0] as TestClient).type('maintenance_mode')
    await publish('ai_thinking', { conversation_id: 'talk-9', n: 2 })
    await publish('maintenance_mode', { n: 3 })
    await publish('ai_chat_response_chunk', { conversation_id: 'talk-9', chunk: 'x', n: 4 })
    for (const client of clients) await client.next(({ data }) => data.n === 3)
    // As the node writes it that had the command; on the others the answer was faster.
    const encode = (text: string) => Buffer.from(text).toString('base64url')
    const kv = await nc.jetstream().views.kv('roomcast_participants')
    await kv.put(`game-djinn.${encode('talk-9')}.${encode('ida')}`, `${Date.now()} ${since}`)
    for (const [at, client] of clients.entries()) if (at % 3 < 2) await client.next(({ data }) => data.n === 4)
    await publish('ai_thinking', { conversation_id: 'talk-9', n: 5 })
    await barrier(...clients)
    const got = clients.map((client) =>
      withoutBarriers(client)
        .filter(({ id }) => id)
        .map(({ data }) => data.n)
        .filter((n) => n !== undefined),
    )
    t.same(
      got,
      [0, 1].flatMap(() => [
        [1, 3, 2, 4, 5],
        [1, 3, 2, 4, 5],
        [1, 3],
      ]),
    )
  },
)

t.test("naming somebody's conversation made one a participant, before any service had accepted it", async (t) => {
  const second = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(() => second.stop())
  const owner = await TestClient.connect(broker.url(), { token: token('owner') })
  const [stranger, strangerElsewhere] = [
    await TestClient.connect(broker.url(), { token: token('stranger') }),
    await TestClient.connect(second.url(), { token: token('stranger') }),
  ]
  for (const client of [owner, stranger, strangerElsewhere]) await client.subscribe(['ai_chat', 'maintenance_mode'])
  let n = 0
  const chunk = () =>
    nc.publish(
      'events.game-djinn.ai_chat_response_chunk',
      codec.encode({ data: { conversation_id: 'private', chunk: 'word', n: ++n } }),
    )
  const service = await serveChat(({ user_id }) => {
    // It begins to answer before it replies.
    for (let i = 0; i < 3; i++) chunk()
    return user_id === 'owner'
  })
  const ask = (client: TestClient) =>
    client.send({ type: 'ai_chat_message', data: { message: 'hi', context: { conversation_id: 'private' } }, id: 'm' })
  const chunksOf = (client: TestClient) =>
    client.events.filter(({ type }) => type === 'ai_chat_response_chunk').map(({ data }) => data.n)
  ask(stranger)
  t.match((await stranger.type('ai_error')).data, { error_code: 'FORBIDDEN' })
  await eventually(() => n === 3)
  ask(owner)
  await owner.until(() => chunksOf(owner).length === 3)
  t.same(chunksOf(owner), [4, 5, 6], 'what was said before the reply is not lost, and comes first')
  ask(stranger)
  await eventually(() => n === 9)
  await owner.until(() => chunksOf(owner).length === 6)
  await service.stop()
  ask(stranger)
  await stranger.next(({ type, data }) => type === 'ai_error' && data.error_code === 'SERVICE_UNAVAILABLE')
  chunk()
  await barrier(owner, stranger, strangerElsewhere)
  t.same(chunksOf(owner), [4, 5, 6, 7, 8, 9, 10])
  t.same([chunksOf(stranger), chunksOf(strangerElsewhere)], [[], []])
  for (const client of [owner, stranger, strangerElsewhere]) await client.close()
})

t.test("ai_chat_message reaches the service with the caller's identity; its failures are ai_error", async (t) => {
  const client = await TestClient.connect(broker.url(), { token: token('eve') })
  const { data: established } = await client.type('connection_established')
  let mode = 'ok'
  const requests: {
    user_id: string
    connection_id: string
    type: string
    id: string
    data: { message: string }
    timestamp: string
  }[] = []
  const service = nc.subscribe('commands.game-djinn.ai_chat_message', {
    callback: (_, message) => {
      requests.push(message.json())
      if (mode === 'ok') message.respond(codec.encode({ ok: true }))
      if (mode === 'refuse')
        message.respond(codec.encode({ ok: false, error: { code: 'QUOTA', message: 'no more today' } }))
      if (mode === 'garbage') message.respond(Buffer.from('\x00nonsense'))
      if (mode === 'odd') message.respond(codec.encode({ fine: 'yes' }))
    },
  })
  await nc.flush()
  const ask = async (id: string) => {
    client.send({
      type: 'ai_chat_message',
      data: { message: 'hi', context: { conversation_id: 'c9', library_id: 'L' } },
      id,
    })
    return (await client.next(({ type, data }) => type === 'ai_error' && data.message_id === id)).data
  }
  client.send({ type: 'ai_chat_message', data: { message: 'first', context: { conversation_id: 'c9' } }, id: 'm0' })
  await eventually(() => requests.length === 1)
  t.match(requests[0], {
    type: 'ai_chat_message',
    data: { message: 'first', context: { conversation_id: 'c9' } },
    id: 'm0',
    user_id: 'eve',
    connection_id: established.session_id,
    timestamp: /Z$/,
  })
  mode = 'refuse'
  t.match(await ask('m1'), {
    conversation_id: 'c9',
    message_id: 'm1',
    error_code: 'QUOTA',
    error_message: 'no more today',
    is_recoverable: true,
  })
  mode = 'garbage'
  t.match(await ask('m2'), { error_code: 'BAD_REPLY' })
  mode = 'odd'
  t.match(await ask('m3'), { error_code: 'BAD_REPLY' })
  mode = 'silent'
  t.match(await ask('m4'), { error_code: 'TIMEOUT', is_recoverable: true })
  service.unsubscribe()
  await nc.flush()
  t.match(await ask('m5'), { conversation_id: 'c9', error_code: 'SERVICE_UNAVAILABLE' })
  t.notOk(
    client.frames.some(({ type, data }) => type === 'ai_error' && data.message_id === 'm0'),
    'a success says nothing by itself',
  )
  await client.close()
})

t.test('since replays what a client missed, once and in order, before it goes live', async (t) => {
  const first = await TestClient.connect(broker.url())
  await first.subscribe(['game_added', 'game_updated'])
  for (let n = 0; n < 10; n++) await publish(n % 2 ? 'game_added' : 'game_updated', { n })
  await first.next(({ data }) => data.n === 9)
  const since = first.events.find(({ data }) => data.n === 3)?.id
  await first.close()
  const back = await TestClient.connect(broker.url())
  await back.subscribe(['game_added', 'game_updated'], {}, since)
  for (let n = 10; n < 15; n++) await publish('game_added', { n })
  await back.next(({ data }) => data.n === 14)
  t.same(numbers(back), [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14])
  const later = await TestClient.connect(broker.url())
  await later.subscribe(['game_updated'])
  await publish('game_updated', { n: 15 })
  await later.next(({ data }) => data.n === 15)
  await later.subscribe(['game_added'], {}, since)
  await publish('game_added', { n: 16 })
  await later.next(({ data }) => data.n === 16)
  t.same(
    numbers(later),
    [15, 5, 7, 9, 10, 11, 12, 13, 14, 16],
    'what another subscription had live does not come again',
  )
  await back.close()
  await later.close()
})

t.test("authenticate renews in place; a bad token or another user's changes nothing", async (t) => {
  const exp = Math.floor(Date.now() / 1000) + 4
  const client = await TestClient.connect(broker.url(), { token: token('fay', { exp, library_access: ['L1'] }) })
  await client.subscribe(['game_added', 'maintenance_mode'])
  client.send({ type: 'authenticate', data: { token: 'nonsense' }, id: 'a1' })
  t.match(await client.next(({ id }) => id === 'a1'), { type: 'error', data: { error_code: 'AUTH_FAILED' } })
  client.send({ type: 'authenticate', data: { token: token('someone-else') }, id: 'a2' })
  t.match(await client.next(({ id }) => id === 'a2'), { type: 'error', data: { error_code: 'AUTH_FAILED' } })
  await publish('game_added', { n: 1, library_id: 'L2' })
  client.send({ type: 'authenticate', data: { token: token('fay', { library_access: ['L2'] }) }, id: 'a3' })
  t.match(await client.next(({ id }) => id === 'a3'), { type: 'authenticated', data: { user_id: 'fay' } })
  await publish('game_added', { n: 2, library_id: 'L1' })
  await publish('game_added', { n: 3, library_id: 'L2' })
  await barrier(client)
  t.same(
    withoutBarriers(client).map(({ data }) => data.n),
    [3],
    "the new token's access counts",
  )
  await new Promise((resolve) => setTimeout(resolve, exp * 1000 - Date.now() + 2_500))
  await client.settle()
  t.equal(client.closeCode, undefined, "the old token's end passed")
  await client.close()
})

t.test('a token that expires while connected ends the session by name', async (t) => {
  const client = await TestClient.connect(broker.url(), {
    token: token('gus', { exp: Math.floor(Date.now() / 1000) + 2 }),
  })
  t.match((await client.type('connection_error')).data, {
    error_code: 'AUTH_EXPIRED',
    message: 'Authentication token has expired',
    reconnect_required: true,
    action_required: 'refresh_token',
  })
  t.equal(await client.closed(), 4401)
})

t.test('a command that is sent after the token ran out is not carried out', async (t) => {
  const exp = Math.ceil(Date.now() / 1000) + 1
  const client = await TestClient.connect(broker.url(), { token: token('gia', { exp }) })
  // Sent all the time, each with the time of its sending as its id.
  const sending = setInterval(
    () => client.send({ type: 'subscribe', data: { events: ['game_added'] }, id: Date.now() }),
    5,
  )
  t.teardown(() => clearInterval(sending))
  t.equal(await client.closed(), 4401)
  const sent = client.frames.filter(({ type }) => type === 'subscribed').map(({ id }) => Number(id))
  t.not(sent.length, 0)
  t.same(
    sent.filter((ms) => ms >= exp * 1000),
    [],
  )
})

t.test("the document's own client class runs unchanged", async (t) => {
  const source = readFileSync(new URL('game-djinn-websocket.js', import.meta.url), 'utf8')
  // Its address is the default port; this broker has another.
  const sockets: WebSocket[] = []
  const here = function (this: unknown, url: string) {
    const socket = new WebSocket(url.replace('localhost:8000', `127.0.0.1:${broker.port}`))
    sockets.push(socket)
    return socket
  }
  Object.assign(here, { OPEN: WebSocket.OPEN })
  const said: string[] = []
  const context = vm.createContext({
    WebSocket: here,
    console: { log: (line: string) => said.push(line) },
    Map,
    Date,
    JSON,
  })
  const GameDjinnWebSocket = vm.runInContext(`${source}\nGameDjinnWebSocket`, context)
  const client = new GameDjinnWebSocket(token('hal'))
  const got: Frame[] = []
  for (const type of [
    'connection_established',
    'subscribed',
    'sync_progress',
    'ai_chat_response_chunk',
    'ai_error',
    'pong',
    'game_added',
  ])
    client.on(type, (data: unknown) => got.push({ type, data, timestamp: '' }))
  const has = (fits: (frame: Frame) => boolean) => eventually(() => got.some(fits))
  client.connect()
  await has(({ type }) => type === 'subscribed')
  await publish('sync_progress', EXAMPLES.sync_progress as object)
  await has(({ type, data }) => type === 'sync_progress' && data.progress_percentage === 45)
  client.subscribe(['game_added'], { library_id: 'mine' })
  await has(({ type, data }) => type === 'subscribed' && data.filters.library_id === 'mine')
  await publish('game_added', { library_id: 'other', n: 1 })
  await publish('game_added', { library_id: 'mine', n: 2 })
  await has(({ type, data }) => type === 'game_added' && data.n === 2)
  t.notOk(got.some(({ data }) => data.n === 1))
  client.sendAIMessage('Show me my unplayed RPG games', { conversation_id: 'conv-hal' })
  await has(({ type, data }) => type === 'ai_error' && data.conversation_id === 'conv-hal')
  const service = await serveChat(() => true)
  client.sendAIMessage('Show me my unplayed RPG games', { conversation_id: 'conv-hal' })
  await service.joined('conv-hal', 'hal')
  await service.stop()
  await publish('ai_chat_response_chunk', { conversation_id: 'conv-hal', chunk: 'Based on', chunk_index: 0 })
  await has(({ type, data }) => type === 'ai_chat_response_chunk' && data.chunk === 'Based on')
  client.send({ type: 'ping', data: {}, id: 'ping_123' })
  await has(({ type, data }) => type === 'pong' && data.client_id === 'ping_123')
  sockets[0]?.close()
  await eventually(() => said.includes('Disconnected from Game Djinn'))
  t.same(said, ['Connected to Game Djinn', 'Disconnected from Game Djinn'])
})
