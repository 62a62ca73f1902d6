import net from 'node:net'
import t, { type Test } from 'tap'
import WebSocket from 'ws'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

async function start(t: Test, env: Record<string, string | number>): Promise<TestBroker> {
  const broker = await TestBroker.start(env)
  t.teardown(() => broker.stop())
  return broker
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)
const http = (port: number, path = '') => `http://127.0.0.1:${port}${path}`

/** Begins a long-polling session and says nothing more. */
async function handshake(port: number, headers: Record<string, string> = {}): Promise<{ status: number; sid: string }> {
  const answer = await fetch(http(port, '/socket.io/?EIO=4&transport=polling'), { headers })
  const text = await answer.text()
  return { status: answer.status, sid: answer.status === 200 ? JSON.parse(text.slice(1)).sid : '' }
}

/** A Socket.IO connection that writes packets itself. */
async function engineSocket(port: number): Promise<{ socket: WebSocket; packets: string[] }> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`)
  const packets: string[] = []
  socket.on('message', (frame) => packets.push(frame.toString()))
  socket.on('error', () => {})
  await eventually(() => packets[0]?.startsWith('0') === true)
  return { socket, packets }
}

/** A Socket.IO client that does not come back by itself. */
async function connect(
  t: Test,
  address: string,
  options: ConstructorParameters<typeof SocketIoClient>[1] = {},
): Promise<SocketIoClient> {
  const client = new SocketIoClient(address, {
    transports: ['websocket'],
    ...options,
    options: { reconnection: false, ...options.options },
  })
  t.teardown(() => client.close())
  await eventually(() => client.connects.length + client.refusals.length > 0)
  for (const refusal of client.refusals) t.comment(refusal.message)
  return client
}

t.test(
  'polling GETs without a token took all of MAX_CONNECTIONS: they give way to one another, and to clients that say who they are',
  async (t) => {
    const broker = await start(t, { MAX_CONNECTIONS: 20, MAX_UNAUTHENTICATED_CONNECTIONS: 5 })
    const witness = await connect(t, http(broker.port, '/ws'))
    const sids: string[] = []
    for (const _ of upTo(60)) sids.push((await handshake(broker.port)).sid)
    t.equal(await broker.metric('connections'), 6)
    const poll = await fetch(http(broker.port, `/socket.io/?EIO=4&transport=polling&sid=${sids[0]}`))
    t.equal(poll.status, 400, 'the first is over')
    const clients: SocketIoClient[] = []
    for (const _ of upTo(14)) clients.push(await connect(t, http(broker.port, '/ws'), { token: token('ann') }))
    const raw = await Promise.all(upTo(5).map(() => TestClient.connect(broker.url(), { token: token('ben') })))
    for (const client of raw) await client.type('connection_established')
    t.equal(await broker.metric('connections'), 20, 'the last five took the places of those that say nothing')
    t.same(
      [witness, ...clients].filter(({ socket }) => !socket.connected),
      [],
    )
    const late = await TestClient.connect(broker.url())
    t.match(await late.type('connection_error'), { data: { error_code: 'TOO_MANY_CONNECTIONS' } })
    t.equal(await late.closed(), 1013)
    t.equal((await handshake(broker.port)).status, 400, 'nobody here would give way to it')
    for (const client of raw) await client.close()
  },
)

t.test('connections that never say who they are end in time, in a namespace or none', async (t) => {
  const broker = await start(t, { UNAUTHENTICATED_TIMEOUT_MS: 1_000 })
  await handshake(broker.port)
  const known = await connect(t, http(broker.port, '/portal'), { token: null, auth: {} })
  known.socket.emit('authenticate', { token: token('ann') })
  const nobody = await connect(t, http(broker.port, '/portal'), { token: null })
  await eventually(() => known.of('authenticated').length === 1)
  await eventually(async () => (await broker.metric('connections')) === 1)
  await eventually(() => nobody.disconnects.length > 0)
  t.same(nobody.disconnects, ['transport close'])
  t.ok(known.socket.connected)
})

t.test('a user has so many connections, of all kinds together; one in several namespaces is one', async (t) => {
  const broker = await start(t, { MAX_CONNECTIONS_PER_USER: 3 })
  const raw = await TestClient.connect(broker.url())
  await raw.type('connection_established')
  const first = await connect(t, http(broker.port, '/portal'))
  const chat = first.socket.io.socket('/ws', { auth: { token: token() } })
  await eventually(() => chat.connected)
  const second = await connect(t, http(broker.port, '/ws'))
  t.ok(second.socket.connected)
  const refused = await connect(t, http(broker.port, '/ws'))
  t.match(refused.refusals[0]?.message, /A user may have 3 connections/)
  const late = await connect(t, http(broker.port, '/portal'), { token: null })
  late.socket.emit('authenticate', { token: token() })
  await eventually(() => late.disconnects.length > 0)
  t.match(
    late.of('error'),
    [[{ message: /A user may have 3 connections/ }]],
    'as the document says of who may not be here',
  )
  const rawRefused = await TestClient.connect(broker.url())
  t.match(await rawRefused.type('connection_error'), {
    data: { error_code: 'TOO_MANY_CONNECTIONS', message: /A user may have 3 connections/ },
  })
  t.equal(await rawRefused.closed(), 1013)
  t.ok(
    (await connect(t, http(broker.port, '/ws'), { token: token('ben') })).socket.connected,
    'another user is not meant',
  )
  chat.disconnect()
  await raw.close()
  await eventually(async () => {
    const again = await TestClient.connect(broker.url())
    t.teardown(() => again.close())
    return (await again.next(({ type }) => type.startsWith('connection_'))).type === 'connection_established'
  })
})

t.test('an address has so many connections, as a trusted proxy says it, and only such a one', async (t) => {
  const broker = await start(t, { MAX_CONNECTIONS_PER_ADDRESS: 2, TRUSTED_PROXIES: '127.0.0.1' })
  const from = (address: string) => ({ 'x-forwarded-for': address })
  const raw = await TestClient.connect(broker.url(), { headers: from('192.0.2.1') })
  t.equal((await handshake(broker.port, from('192.0.2.1'))).status, 200)
  t.equal((await handshake(broker.port, from('192.0.2.1'))).status, 400)
  const refused = await TestClient.connect(broker.url(), { headers: from('192.0.2.1') })
  t.match(await refused.type('connection_error'), { data: { error_code: 'TOO_MANY_CONNECTIONS' } })
  t.equal((await handshake(broker.port, from('192.0.2.2'))).status, 200)
  await raw.close()
  await eventually(async () => (await handshake(broker.port, from('192.0.2.1'))).status === 200)

  const direct = await start(t, { MAX_CONNECTIONS_PER_ADDRESS: 1 })
  t.equal((await handshake(direct.port, from('192.0.2.1'))).status, 200)
  t.equal(
    (await handshake(direct.port, from('192.0.2.2'))).status,
    400,
    'what just anybody says of that does not count',
  )
})

t.test(
  '19,950 failed authentications on one connection were answered: it ends after a handful, raw or by a command',
  async (t) => {
    const broker = await start(t, { MAX_FAILED_AUTHENTICATIONS: 3 })
    const raw = await TestClient.connect(broker.url())
    await raw.type('connection_established')
    for (const _ of upTo(10)) raw.send({ type: 'authenticate', data: { token: 'no' } })
    t.equal(await raw.closed(), 4401)
    t.same(
      raw.frames.map(({ type }) => type),
      ['connection_established', 'error', 'error', 'error', 'connection_error'],
    )
    t.match(raw.frames.at(-1), { data: { error_code: 'AUTH_FAILED', action_required: 'login' } })

    const late = await connect(t, http(broker.port, '/portal'), { token: null })
    for (const _ of upTo(10)) late.socket.emit('authenticate', { token: 'no' })
    await eventually(() => late.disconnects.length > 0)
    t.equal(late.of('authentication_failed').length, 3)
    t.same(late.disconnects, ['io server disconnect'], 'it does not come back by itself')
  },
)

t.test('a connection whose CONNECTs are refused for their token ends after a handful', async (t) => {
  const broker = await start(t, { MAX_FAILED_AUTHENTICATIONS: 3 })
  const { socket, packets } = await engineSocket(broker.port)
  for (const _ of upTo(10)) socket.send('40/ws,{"token":"no"}')
  await eventually(() => socket.readyState === WebSocket.CLOSED)
  t.equal(packets.filter((packet) => packet.startsWith('44/ws,')).length, 3)
})

t.test('2,000 namespaces could be joined: a connection is in so many, and those on the way in count', async (t) => {
  const broker = await start(t, { MAX_NAMESPACES_PER_CONNECTION: 3 })
  const { socket, packets } = await engineSocket(broker.port)
  const auth = (extra: object = {}) => JSON.stringify({ token: token('admin', { roles: ['admin'] }), ...extra })
  // Recovering, it is looked up in the store.
  for (const n of upTo(5)) socket.send(`40/chat/${n},${auth({ pid: `${'a'.repeat(32)}811c9dc5.abc-0` })}`)
  const answers = () => packets.filter((packet) => packet.startsWith('40/') || packet.startsWith('44/'))
  await eventually(() => answers().length === 5)
  t.same(
    answers()
      .map((packet) => packet.slice(0, 9))
      .sort(),
    ['40/chat/0', '40/chat/1', '40/chat/2', '44/chat/3', '44/chat/4'],
  )
  t.match(
    answers().find((packet) => packet.startsWith('44')),
    /A connection may be in 3 namespaces/,
  )
  socket.send('41/chat/0,')
  socket.send(`40/chat/9,${auth()}`)
  await eventually(() => answers().length === 6)
  t.match(answers()[5], /^40\/chat\/9/)
  socket.terminate()
})

t.test(
  'commands a minute are limited where the contract says nothing; CONNECTs after the first are commands',
  async (t) => {
    const broker = await start(t, { DEFAULT_COMMANDS_PER_MINUTE: 5 })
    const client = await connect(t, http(broker.port, '/ws'))
    const answers = await Promise.all(upTo(6).map(() => client.ask('ping')))
    t.same(
      answers.map(({ status, error_code }) => error_code ?? status),
      ['pong', 'pong', 'pong', 'pong', 'pong', 'RATE_LIMITED'],
    )
    const { socket, packets } = await engineSocket(broker.port)
    for (const _ of upTo(8)) {
      socket.send(`40/ws,${JSON.stringify({ token: token() })}`)
      socket.send('41/ws,')
    }
    await eventually(() => packets.some((packet) => packet.startsWith('44/ws,')))
    t.equal(packets.filter((packet) => packet.startsWith('40/ws,')).length, 6, 'the first is part of the handshake')
    socket.terminate()
  },
)

t.test('packets that are no commands were free of any bound: a flood of them ends its connection', async (t) => {
  const broker = await start(t, { MAX_PACKETS_PER_MINUTE: 50 })
  for (const packet of ['3', '43/ws,7[1]', '42/ws,["nothing"]']) {
    const { socket, packets } = await engineSocket(broker.port)
    socket.send(`40/ws,${JSON.stringify({ token: token() })}`)
    await eventually(() => packets.some((one) => one.startsWith('40/ws,')))
    for (const _ of upTo(60)) socket.send(packet)
    await eventually(() => socket.readyState === WebSocket.CLOSED)
    t.pass(packet)
  }
  const { sid } = await handshake(broker.port)
  const post = await fetch(http(broker.port, `/socket.io/?EIO=4&transport=polling&sid=${sid}`), {
    method: 'POST',
    body: upTo(60)
      .map(() => '3')
      .join('\x1e'),
  })
  t.equal(post.status, 200)
  t.equal(
    (await fetch(http(broker.port, `/socket.io/?EIO=4&transport=polling&sid=${sid}`))).status,
    400,
    'and so by long-polling',
  )
  const raw = await TestClient.connect(broker.url())
  for (const _ of upTo(60)) raw.send('nothing')
  t.match(await raw.type('connection_error'), { data: { error_code: 'RATE_LIMITED', action_required: 'retry_later' } })
  t.equal(await raw.closed(), 4029)
})

t.test(
  'one user stored 41 MB in 6.5 s: past their bytes a minute commands are refused, on all their connections',
  async (t) => {
    const broker = await start(t, { STORED_BYTES_PER_MINUTE_PER_USER: 8_000 })
    const send = async (client: SocketIoClient) =>
      client.socket.emit('send_message', { content: 'x'.repeat(1_900), type: 'message' })
    const connectAs = (user: string) =>
      connect(t, http(broker.port, '/chat/a'), { token: token(user, { project_access: ['a'] }) })
    const [ann, again, ben] = (await Promise.all(['ann', 'ann', 'ben'].map(connectAs))) as [
      SocketIoClient,
      SocketIoClient,
      SocketIoClient,
    ]
    for (const client of [ann, again]) for (const _ of upTo(3)) await send(client)
    await eventually(() => ann.of('error').length + again.of('error').length > 0)
    t.match([...ann.of('error'), ...again.of('error')][0], [{ message: /STORED_BYTES_PER_MINUTE_PER_USER/ }])
    await send(ben)
    await eventually(() => ben.of('message_received').some(([message]) => message.user_id === 'ben'))
    t.same(ben.of('error'), [])
  },
)

t.test('a megabyte of tiny packets is read as far as the limit of packets goes, and no further', async (t) => {
  const broker = await start(t, { MAX_PACKETS_PER_MINUTE: 50 })
  const { sid } = await handshake(broker.port)
  const url = http(broker.port, `/socket.io/?EIO=4&transport=polling&sid=${sid}`)
  // What stands behind the limit would be a fault of its own, were it read.
  const body = `${'3\x1e'.repeat(500_000)}no packet`
  t.equal((await fetch(url, { method: 'POST', body })).status, 200)
  t.equal((await fetch(url)).status, 400, 'its session is over')
  t.equal(await broker.metric('faults_total'), 0)
})

t.test(
  'attachments that nobody would take are not waited for, and all of a message together are bounded',
  async (t) => {
    const broker = await start(t, { MAX_WAITING_BYTES: 10_000 })
    const nowhere = await engineSocket(broker.port)
    nowhere.socket.send('459-/ws,["e",{"_placeholder":true,"num":0}]')
    await eventually(() => nowhere.socket.readyState === WebSocket.CLOSED)
    const { socket, packets } = await engineSocket(broker.port)
    socket.send(`40/ws,${JSON.stringify({ token: token() })}`)
    await eventually(() => packets.some((one) => one.startsWith('40/ws,')))
    socket.send('459-/ws,["e",{"_placeholder":true,"num":0}]')
    for (const _ of upTo(8)) socket.send(Buffer.alloc(2_000))
    await eventually(() => socket.readyState === WebSocket.CLOSED)
    t.equal(await broker.metric('faults_total'), 0)
  },
)

t.test('places were free of the limit of rooms: they are rooms too', async (t) => {
  const broker = await start(t, { MAX_ROOMS_PER_CONNECTION: 10 })
  const client = await connect(t, http(broker.port, '/portal'), { token: token('ann', { project_access: ['*'] }) })
  const answers: { status: string; error_code?: string }[] = []
  for (const n of upTo(9)) answers.push(await client.ask('join_project', { project_name: `p${n}` }))
  const refused = answers.filter(({ error_code }) => error_code === 'TOO_MANY_SUBSCRIPTIONS')
  t.ok(refused.length > 0)
  t.ok(answers.length > refused.length)
})

/** A new session's POST, of which the last byte never comes. @param connects what the session sends first */
async function postWithoutEnd(
  t: Test,
  port: number,
  bytes: number,
  connects?: string,
): Promise<{ socket: net.Socket; said: () => string }> {
  const { sid } = await handshake(port)
  const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`
  if (connects !== undefined)
    t.equal((await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', body: connects })).status, 200)
  const socket = net.connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  let said = ''
  socket.on('data', (chunk) => {
    said += chunk.toString()
  })
  socket.on('error', () => {})
  await new Promise((resolve) =>
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${bytes + 1}\r\n\r\n${'4'.repeat(bytes)}`,
      resolve,
    ),
  )
  return { socket, said: () => said }
}

t.test(
  'bodies on their way in are bounded all together, and what was held of one that ended is free again',
  async (t) => {
    const broker = await start(t, { MAX_BODIES_BYTES: 65_536 })
    const post = (bytes: number, connects?: string) => postWithoutEnd(t, broker.port, bytes, connects)
    // Of somebody: those that are nobody's give way.
    const held = await post(60_000, `40/ws,${JSON.stringify({ token: token('ann') })}`)
    let refused = await post(60_000)
    await eventually(async () => {
      if (refused.said() === '') refused = await post(60_000)
      return refused.said().startsWith('HTTP/1.1 503')
    })
    t.equal(held.said(), '')
    held.socket.destroy()
    await eventually(async () => {
      const next = await post(60_000)
      await new Promise((resolve) => setTimeout(resolve, 100))
      const fits = next.said() === ''
      next.socket.destroy()
      return fits
    })
  },
)

t.test(
  'bodies without a token that never end took the room of all, so that clients by long-polling lost their sessions: they give way',
  async (t) => {
    const broker = await start(t, { MAX_BODIES_BYTES: 65_536 })
    const client = await connect(t, http(broker.codingAssistantPort), { transports: ['polling'] })
    const bodies: (() => string)[] = []
    for (const _ of upTo(7)) {
      for (const bytes of [30_000, 30_000, 5_500, 30])
        bodies.push((await postWithoutEnd(t, broker.codingAssistantPort, bytes)).said)
      t.equal((await client.ask('test:ping')).status, 'success')
    }
    await eventually(() => bodies.filter((said) => said().startsWith('HTTP/1.1 503')).length >= 20)
    t.same(client.disconnects, [])
  },
)

t.test(
  'rooms with long names, each join of which wrote them all, held the broker for seconds: their names are bounded all together',
  async (t) => {
    const broker = await start(t, {})
    const client = await connect(t, http(broker.codingAssistantPort))
    const answers = await Promise.all(upTo(300).map((n) => client.ask('room:join', { room: `${n}-`.padEnd(256, 'x') })))
    t.equal(answers.filter(({ status }) => status === 'success').length, 256)
    t.match(answers.at(-1), { status: 'error', code: 'TOO_MANY_SUBSCRIPTIONS' })
    await client.ask('room:leave', { room: '0-'.padEnd(256, 'x') })
    t.equal((await client.ask('room:join', { room: 'short' })).status, 'success')
  },
)

t.test(
  'a connection that chose large filters again and again held 85 MB: their values are bounded all together',
  async (t) => {
    const broker = await start(t, {})
    const client = await TestClient.connect(broker.url())
    await client.type('connection_established')
    client.send({
      type: 'subscribe',
      data: { events: ['game_added'], filters: { library_id: upTo(1_000).map((n) => `${n}`.padEnd(100, 'x')) } },
    })
    t.match(await client.type('error'), { data: { error_code: 'INVALID_MESSAGE', message: /65536 characters/ } })
    client.send({
      type: 'subscribe',
      data: { events: ['game_added'], filters: { library_id: upTo(1_000).map((n) => `${n}`.padEnd(36, 'x')) } },
    })
    await client.type('subscribed')
    await client.close()
  },
)
