import { generateKeyPairSync } from 'node:crypto'
import net from 'node:net'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url })
const js = await nats.jetstream()
const witness = await TestClient.connect(broker.url(), { token: token('witness') })
await witness.subscribe(['game_added'])
t.teardown(async () => {
  await broker.stop()
  await nats.stop()
})

let n = 0
/** Events go on to arrive at the witness, in order and without a gap. */
t.afterEach(async () => {
  await js.publish('events.game-djinn.game_added', Buffer.from(JSON.stringify({ data: { n } })))
  await witness.next(({ data }) => data.n === n)
  n++
  if (witness.closeCode !== undefined || witness.events.some(({ data }, i) => data.n !== i))
    throw new Error('the witness noticed')
})

t.test('malformed messages get an error by name, and the connection stays', async (t) => {
  const client = await TestClient.connect(broker.url())
  const errorTo = async (message: unknown) => {
    const from = client.frames.length
    client.send(message)
    return (await client.type('error', from)).data
  }
  for (const message of [
    '{"type": "subscribe", ',
    'null',
    '[]',
    '"text"',
    '42',
    '{}',
    '{"type": 5}',
    '{"type":"ping","data":[]}',
    '{"type":"ping","data":"x"}',
    '',
    '\u0000',
    `${'['.repeat(100_000)}`,
  ]) {
    t.match(await errorTo(message), { error_code: 'INVALID_MESSAGE', message: String }, `to ${message.slice(0, 30)}`)
  }
  client.socket.send(Buffer.from([0xff, 0xfe]), { binary: true })
  t.match(
    await client.next(({ data }) => /text frames/.test(data.message)),
    { data: { error_code: 'INVALID_MESSAGE' } },
    'a binary frame on a JSON connection',
  )
  t.match(await errorTo({ type: 'launch', data: {} }), { error_code: 'UNKNOWN_TYPE' })
  t.match(await errorTo({ type: '__proto__', data: {} }), { error_code: 'UNKNOWN_TYPE' })
  t.match(await errorTo({ type: 'subscribe', data: { events: ['no_such_event'] } }), {
    error_code: 'UNKNOWN_EVENT',
    details: { event: 'no_such_event' },
  })
  t.match(await errorTo({ type: 'subscribe', data: { events: ['constructor'] } }), { error_code: 'UNKNOWN_EVENT' })
  for (const nothing of [{}, { events: [], rooms: [] }])
    t.match(await errorTo({ type: 'subscribe', data: nothing }), {
      error_code: 'INVALID_MESSAGE',
      message: /Give `events` or `rooms`/,
    })
  t.match(await errorTo({ type: 'subscribe', data: { events: ['game_added'], filters: { shoe_size: 43 } } }), {
    error_code: 'UNKNOWN_FILTER',
    details: { filter: 'shoe_size' },
  })
  for (const since of [5, '', 'abc', '-1', 'x-', 'x-1.5', {}])
    t.match(
      await errorTo({ type: 'subscribe', data: { events: ['game_added'], since } }),
      { error_code: 'INVALID_POSITION' },
      `since ${JSON.stringify(since)}`,
    )
  for (const data of [
    { events: 'game_added' },
    { events: [1] },
    { events: ['game_added'], filters: [] },
    { events: ['game_added'], filters: { library_id: { a: 1 } } },
  ]) {
    t.match(
      await errorTo({ type: 'subscribe', data }),
      { error_code: 'INVALID_MESSAGE', details: { faults: [String] } },
      JSON.stringify(data),
    )
  }
  t.match(await errorTo({ type: 'ai_chat_message', data: { message: 7 } }), { error_code: 'INVALID_MESSAGE' })
  t.match(await errorTo({ type: 'authenticate', data: {} }), { error_code: 'INVALID_MESSAGE' })
  const refused = await client.subscribe(['game_updated', 'no_such_event'])
  t.equal(refused.type, 'error')
  await broker.publish('game-djinn', 'game_updated', { data: { n: 'x' } })
  await client.settle()
  t.same(client.events, [], 'an unknown name refused the whole command')
  await client.close()
})

t.test('truncated msgpack gets an error by name, and the connection stays', async (t) => {
  const client = await TestClient.connect(broker.url(), { format: 'msgpack' })
  for (const bytes of [
    [0xdf],
    [0x82, 0xa4, 0x74],
    [0xc1],
    [],
    [0x81, 0xa4, 0x74, 0x79, 0x70, 0x65, 0xdb, 0xff, 0xff, 0xff, 0xff],
    [0xdd, 0xff, 0xff, 0xff, 0xff],
  ]) {
    const from = client.frames.length
    client.socket.send(Buffer.from(bytes), { binary: true })
    t.match((await client.type('error', from)).data, { error_code: 'INVALID_MESSAGE' })
  }
  client.socket.send('{"type":"ping"}')
  t.match(await client.next(({ data }) => /binary frames/.test(data.message)), {
    data: { error_code: 'INVALID_MESSAGE' },
  })
  await client.settle()
  await client.close()
})

t.test('a message over the limit closes with 1009; one far over it is cut', async (t) => {
  const client = await TestClient.connect(broker.url())
  client.send(JSON.stringify({ type: 'ping', data: { pad: 'x'.repeat(2_000_000) } }))
  t.equal(await client.closed(), 1009)
  const far = await TestClient.connect(broker.url())
  far.send('x'.repeat(6_000_000))
  t.ok([1009, 1006].includes(await far.closed()))
  const just = await TestClient.connect(broker.url())
  just.send(JSON.stringify({ type: 'ping', data: { pad: 'x'.repeat(1_000_000) }, id: 'big' }))
  t.equal((await just.type('pong')).data.client_id, 'big')
  await just.close()
})

t.test(
  '100,000 commands in a burst: 600 are carried out, a warning at 20 left, the rest refused by name',
  async (t) => {
    const client = await TestClient.connect(broker.url(), { token: token('burst') })
    for (let i = 0; i < 100_000; i++) client.socket.send('{"type":"ping","data":{}}')
    await client.type('error')
    t.match((await client.type('rate_limit_warning')).data, {
      requests_remaining: 20,
      window_reset_seconds: Number,
      warning_threshold: 20,
    })
    t.match((await client.type('error')).data, { error_code: 'RATE_LIMITED', details: { limit_per_minute: 600 } })
    await eventually(async () =>
      /roomcast_errors_total\{code="RATE_LIMITED"\} 99400/.test(await (await broker.ops('/metrics')).text()),
    )
    t.equal(client.frames.filter(({ type }) => type === 'pong').length, 600)
    const warned = client.frames.findIndex(({ type }) => type === 'rate_limit_warning')
    t.equal(client.frames.slice(0, warned).filter(({ type }) => type === 'pong').length, 579, 'warned with the 580th')
    t.equal(client.closeCode, undefined)
    await client.close()
  },
)

t.test('tokens: missing, expired, unsigned, wrong algorithm, wrong key, nonsense', async (t) => {
  const nowS = Math.floor(Date.now() / 1000)
  const rsa = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    publicKeyEncoding: { type: 'spki', format: 'pem' },
  })
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const cases: [string, string | null, string][] = [
    ['no token', null, 'AUTH_MISSING'],
    ['an empty token', '', 'AUTH_MISSING'],
    ['an expired token', token('u', { exp: nowS - 10 }), 'AUTH_EXPIRED'],
    ['an unsigned token', `${part({ alg: 'none', typ: 'JWT' })}.${part({ sub: 'u', exp: nowS + 60 })}.`, 'AUTH_FAILED'],
    [
      'a token of another algorithm',
      createSigner({ key: rsa.privateKey, algorithm: 'RS256' })({ sub: 'u', exp: nowS + 60 }),
      'AUTH_FAILED',
    ],
    ['a token of another key', token('u', {}, 'another-secret-of-good-length-here'), 'AUTH_FAILED'],
    [
      'HS512 with the right key',
      createSigner({ key: 'a-secret-for-tests-that-is-long-enough', algorithm: 'HS512' })({ sub: 'u', exp: nowS + 60 }),
      'AUTH_FAILED',
    ],
    ['no token at all', 'nonsense', 'AUTH_FAILED'],
    ['a token without sub', token('u', { sub: undefined }), 'AUTH_FAILED'],
    ['a token whose roles are no list', token('u', { roles: 'admin' }), 'AUTH_FAILED'],
  ]
  for (const [name, bad, code] of cases) {
    for (const format of ['json', 'msgpack'] as const) {
      const client = await TestClient.connect(broker.url(), { token: bad, format })
      t.match(
        await client.type('connection_error'),
        { data: { error_code: code, message: String, reconnect_required: true, action_required: String } },
        `${name}, ${format}`,
      )
      t.equal(await client.closed(), 4401)
      t.equal(client.frames.length, 1, 'nothing else is said')
    }
  }
  const bearer = await TestClient.connect(broker.url(), {
    token: null,
    headers: { Authorization: `Bearer ${token('by-header')}` },
  })
  t.equal((await bearer.type('connection_established')).data.user_id, 'by-header')
  await bearer.close()
  t.notMatch(broker.log, /eyJ/, 'no token in the log')
})

t.test('bodies that are no events are counted, logged once per subject, and stop nothing', async (t) => {
  const before = await broker.metric('bad_events_total')
  const bad = [
    '',
    'nonsense',
    '[]',
    'null',
    '{}',
    '{"data":5}',
    '{"data":{},"rooms":"x"}',
    '{"data":{},"user_id":5}',
    '{"data":{},"type":7}',
    '{"data":{},"timestamp":7}',
    Buffer.from([0xff, 0x00, 0x80]),
  ]
  for (const body of bad)
    await js.publish('events.game-djinn.game_updated', typeof body === 'string' ? Buffer.from(body) : body)
  const deep = `{"data":{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}}`
  await js.publish('events.game-djinn.game_added', Buffer.from(deep))
  await eventually(async () => (await broker.metric('bad_events_total')) === before + bad.length + 1)
  const unknown = await broker.metric('unknown_events_total')
  for (const subject of [
    'events.no-app.x',
    'events.game-djinn.no_event',
    'events.game-djinn',
    'events.game-djinn.toString',
  ])
    await js.publish(subject, Buffer.from('{"data":{}}'))
  await eventually(async () => (await broker.metric('unknown_events_total')) === unknown + 4)
  t.equal(
    broker.log
      .split('\n')
      .filter((line) => line.includes('an event was left out') && line.includes('events.game-djinn.game_updated'))
      .length,
    1,
  )
})

t.test('what is no WebSocket costs only itself', async (t) => {
  for (const bytes of [
    'GET / HTTP/1.1\r\n\r\n',
    '\x00\x01\x02\x03',
    `GET /ws HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(30_000)}\r\n\r\n`,
    'GET /ws HTTP/1.1\r\nHost: x\r\n\r\n',
  ]) {
    const socket = net.connect(broker.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(bytes)
    await Promise.race([
      new Promise((resolve) => socket.once('data', resolve)),
      new Promise((resolve) => socket.once('close', resolve)),
      new Promise((resolve) => setTimeout(resolve, 500)),
    ])
    socket.destroy()
  }
  const garbage = await TestClient.connect(broker.url())
  ;(garbage.socket as unknown as { _socket: net.Socket })._socket.write(Buffer.alloc(64, 0xff))
  await garbage.closed()
  t.equal((await broker.ops('/healthz')).status, 200)
})

t.test('connections over the limit are refused by name', async (t) => {
  const small = await TestBroker.start({ MAX_CONNECTIONS: 3 })
  t.teardown(() => small.stop())
  const clients = await Promise.all([1, 2, 3].map(() => TestClient.connect(small.url())))
  const over = await TestClient.connect(small.url())
  t.match((await over.type('connection_error')).data, {
    error_code: 'TOO_MANY_CONNECTIONS',
    action_required: 'retry_later',
  })
  t.equal(await over.closed(), 1013)
  await clients[0]?.close()
  await eventually(async () => (await small.metric('connections')) === 2)
  const next = await TestClient.connect(small.url())
  await next.type('connection_established')
})

t.test(
  'what another program says on roomcast.say or writes into a bucket stalled reading, and cut Socket.IO clients off: it is left out and counted',
  async (t) => {
    const client = await SocketIoClient.connect(`http://127.0.0.1:${broker.port}/ws`)
    t.teardown(() => client.close())
    const nc = await nats.client()
    const room = 'global'
    const bad = [
      'not json',
      'null',
      '[]',
      '7',
      '{}',
      { room, message: {} },
      { room, message: null },
      { room, message: { type: 5 } },
      { room, message: { type: 'disconnect', data: {} } },
      { room: 5, message: { type: 'x' } },
      { room: [null], message: { type: 'x' } },
      { room, message: { type: 'x', args: {} } },
    ]
    const before = await broker.metric('bad_records_total')
    for (const said of bad) nc.publish('roomcast.say.swe-agent', typeof said === 'string' ? said : JSON.stringify(said))
    nc.publish('roomcast.say.swe-agent', JSON.stringify({ room, message: { type: 'told', data: { n: 1 } } }))
    await client.until(() => client.of('told').length === 1)
    t.same(client.disconnects, [])
    for (const key of ['roomcast_bans.a.b', 'roomcast_locks.a.b', 'roomcast_presence.a', 'roomcast_participants.a'])
      await js.publish(`$KV.${key}`, Buffer.from('{'))
    await eventually(async () => (await broker.metric('bad_records_total')) - before === bad.length + 4)
    t.equal(await broker.metric('faults_total'), 0, 'none of it is a fault of the broker')
  },
)

t.test('a client that sends commands but reads no answers does not grow the broker', async (t) => {
  const small = await TestBroker.start({ MAX_BACKPRESSURE_BYTES: 16_384, COMMANDS_PER_MINUTE: 1_000_000 })
  t.teardown(() => small.stop())
  const client = await TestClient.connect(small.url())
  client.pause()
  const pad = 'p'.repeat(2_000)
  for (let i = 0; i < 20_000 && client.socket.readyState === 1; i++) {
    client.socket.send(JSON.stringify({ type: 'ping', data: {}, id: `${pad}${i}` }))
    if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await eventually(async () => (await small.metric('connections')) === 0)
  const other = await TestClient.connect(small.url())
  await other.settle()
  await other.close()
  client.resume()
  await client.closed()
})
