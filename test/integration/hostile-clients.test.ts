import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Packr } from 'msgpackr'
import t, { type Test } from 'tap'
import WebSocket from 'ws'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { startWorkers, workersOf } from '../support/workers.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-hostile-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** A private id of a session that there was, as far as anybody can tell from it: its recovery is looked up. */
const PID = `${'a'.repeat(32)}811c9dc5.abc-0`

/** A broker with a client that must notice nothing. */
async function start(
  t: Test,
  env: Record<string, string | number> = {},
): Promise<{ broker: TestBroker; unharmed: () => Promise<void> }> {
  const broker = await TestBroker.start(env)
  t.teardown(() => broker.stop())
  const witness = await TestClient.connect(broker.url(), { token: token('witness') })
  await witness.subscribe(['game_added'])
  let n = 0
  const unharmed = async () => {
    n++
    await broker.publish('game-djinn', 'game_added', { data: { n } })
    await witness.next(({ data }) => data?.n === n)
    t.equal(witness.closeCode, undefined)
    t.equal(await broker.metric('faults_total'), 0, 'the guard had nothing to catch')
  }
  return { broker, unharmed }
}

/** A Socket.IO connection that writes packets itself. */
async function engineSocket(port: number, query = ''): Promise<{ socket: WebSocket; packets: string[] }> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket${query}`)
  const packets: string[] = []
  socket.on('message', (frame) => packets.push(frame.toString()))
  socket.on('error', () => {})
  await eventually(() => packets[0]?.startsWith('0') === true)
  return { socket, packets }
}

const closed = (socket: WebSocket) => eventually(() => socket.readyState === WebSocket.CLOSED)

t.test(
  'an event that is no event, right behind a CONNECT that recovers, ended the process: it ends its connection',
  async (t) => {
    const { broker, unharmed } = await start(t)
    const cases: [port: number, namespace: string, claims: Record<string, unknown> | undefined][] = [
      [broker.port, '/portal', undefined],
      [broker.port, '/ws', {}],
      [broker.geminiSessionsPort, '/', {}],
    ]
    for (const [port, namespace, claims] of cases) {
      const prefix = namespace === '/' ? '' : `${namespace},`
      const { socket } = await engineSocket(port)
      socket.send(`40${prefix}${JSON.stringify({ pid: PID, ...(claims && { token: token('mallory', claims) }) })}`)
      socket.send(`42${prefix}[1]`)
      await closed(socket)
      t.pass(`${namespace} on ${port}`)
      await unharmed()
    }
  },
)

t.test(
  'an event or an acknowledgement without its list was a fault of the broker: it ends its connection',
  async (t) => {
    const { broker, unharmed } = await start(t)
    for (const packet of ['42', '42/ws,', '42/ws,7', '43/ws,1', '43/ws,']) {
      const { socket, packets } = await engineSocket(broker.port)
      socket.send(`40/ws,${JSON.stringify({ token: token('mallory') })}`)
      await eventually(() => packets.some((each) => each.startsWith('40/ws,')))
      socket.send(packet)
      await closed(socket)
      await unharmed()
    }
  },
)

t.test(
  'a client that leaves while its commands wait for NATS ended the process: its socket is asked for nothing more',
  async (t) => {
    const nats = await TestNats.start()
    t.teardown(() => nats.stop())
    const broker = await TestBroker.start({ NATS_URL: nats.url })
    t.teardown(() => broker.stop())
    const first = await broker.publish('game-djinn', 'game_added', { data: {} })
    const { id } = (await first.json()) as { id: string }
    const clients = await Promise.all(Array.from({ length: 3 }, () => TestClient.connect(broker.url())))
    // The bounds that the broker knows are a moment old by then: it has to ask.
    await new Promise((resolve) => setTimeout(resolve, 100))
    nats.signal('SIGSTOP')
    for (const client of clients) {
      client.send({ type: 'subscribe', data: { events: ['game_added'], since: id } })
      client.send({ type: 'ping', data: {} })
      client.send({ type: 'subscribe', data: { events: ['game_added'], since: id } })
      client.send({ type: 'ping', data: {} })
    }
    await eventually(async () => (await broker.ops('/readyz')).status === 503)
    for (const client of clients) await client.close()
    nats.signal('SIGCONT')
    await eventually(async () => (await broker.ops('/readyz')).status === 200)
    const after = await TestClient.connect(broker.url())
    t.match(await after.subscribe(['game_added'], {}, id), { type: 'subscribed' })
    t.equal(await broker.metric('faults_total'), 0)
  },
)

t.test('a polling request for another worker, with bytes that Node refuses in a request, is answered', async (t) => {
  const { broker } = await startWorkers(t)
  const before = workersOf(broker).sort()
  const ask = (path: string, origin: string) =>
    new Promise<string>((resolve, reject) => {
      const socket = net.connect(broker.port, '127.0.0.1')
      let said = ''
      socket.on('data', (chunk) => {
        said += chunk.toString()
        socket.end()
      })
      socket.on('close', () => resolve(said))
      socket.on('error', reject)
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nOrigin: ${origin}\r\n\r\n`)
    })
  for (let i = 0; i < 4; i++) {
    for (const worker of [1, 2, 3]) {
      t.match(
        await ask(`/socket.io/?EIO=4&transport=polling&sid=${worker}.\u20ac\u{1f600}`, 'http://x'),
        /^HTTP\/1\.1 400/,
      )
      t.match(
        await ask(`/socket.io/?EIO=4&transport=polling&sid=${worker}.00`, 'http://\u20ac\u{1f600}'),
        /^HTTP\/1\.1 400/,
      )
    }
  }
  t.same(workersOf(broker).sort(), before, 'no worker died')
})

t.test(
  'a WebSocket that is to take over from polling and says nothing is closed in time, and another may try',
  async (t) => {
    const { broker, unharmed } = await start(t, { SOCKETIO_UPGRADE_TIMEOUT_MS: 300 })
    const opened = await (await fetch(`http://127.0.0.1:${broker.port}/socket.io/?EIO=4&transport=polling`)).text()
    const { sid } = JSON.parse(opened.slice(1)) as { sid: string }
    const url = `ws://127.0.0.1:${broker.port}/socket.io/?EIO=4&transport=websocket&sid=${sid}`
    const silent = new WebSocket(url)
    silent.on('error', () => {})
    await closed(silent)
    const next = new WebSocket(url)
    const said: string[] = []
    next.on('message', (frame) => said.push(frame.toString()))
    await new Promise((resolve) => next.once('open', resolve))
    next.send('2probe')
    await eventually(() => said.includes('3probe'))
    // Again and again: each had a timer and a loop of its own.
    for (let i = 0; i < 10; i++) next.send('2probe')
    await closed(next)
    t.same(said, ['3probe'])
    await unharmed()
  },
)

/** An application whose raw clients come to places, join rooms with presence, and can be made to break the broker. */
const CONTRACT = `import { defineContract } from 'roomcast'
const text = (data) => ({ type: 'said', data })
export default defineContract({
  app: 'hostile',
  endpoints: [{ transport: 'websocket', path: '/hostile' }, { transport: 'socketio', namespace: '/hostile' }],
  events: { e: {}, inRoom: { rooms: ({ data }) => [data.room] } },
  rooms: { 'team:{id}': { allows: ({ project_access = [] }, id) => project_access.includes(id), presence: true }, 'present:{id}': { allows: ({ project_access = [] }, id) => project_access.includes(id) } },
  presence: { joined: ({ id }, place) => ({ type: 'came', data: { id, place } }), left: ({ id }, place) => ({ type: 'went', data: { id, place } }), room: (place) => (place.startsWith('team:') ? place : 'present:' + place) },
  commands: {
    enter: { action: { use: 'joinPresence', channel: ({ place }) => place, allows: ({ project_access = [] }, place) => project_access.includes(place), room: () => undefined, events: [], reply: (place, users) => text({ place, users }) } },
    later: { action: { use: 'echo', reply: () => { setTimeout(() => { throw new Error('thrown by a timer of the contract') }, 10); return text({}) } } },
    rejected: { action: { use: 'echo', reply: () => { void Promise.reject(new Error('rejected by the contract')); return text({}) } } },
  },
})
`

function contractFile(): string {
  const file = join(folder, 'hostile.mjs')
  writeFileSync(file, CONTRACT)
  return file
}

t.test(
  'what a client nests deeper than a stack goes, or JSON has no word for, was a fault of the broker, without a token too: it is refused',
  async (t) => {
    const { broker, unharmed } = await start(t)
    const lists = '['.repeat(100_000) + ']'.repeat(100_000)
    const { socket } = await engineSocket(broker.codingAssistantPort)
    socket.send('40')
    socket.send(`421["test:event",${lists}]`)
    await closed(socket)
    const json = await TestClient.connect(broker.url())
    for (const message of [
      `{"type":"ai_chat_message","data":{"message":"a","more":${lists}}}`,
      `{"type":"subscribe","data":{"events":["game_added"],"since":${lists}}}`,
    ])
      json.send(message)
    await eventually(() => json.frames.filter(({ data }) => data?.error_code === 'INVALID_MESSAGE').length === 2)
    json.send('{"type":"subscribe","data":{"events":["game_added"],"since":{"toString":1}}}')
    await json.next(({ data }) => data?.error_code === 'INVALID_POSITION')
    const packed = await TestClient.connect(broker.url(), { format: 'msgpack' })
    packed.socket.send(
      new Packr({ useRecords: false, useBigIntExtension: true }).pack({
        type: 'ai_chat_message',
        data: { message: 'a', n: 2n ** 80n },
      }),
    )
    await packed.next(({ data }) => data?.error_code === 'INVALID_MESSAGE')
    await unharmed()
    for (const client of [json, packed]) await client.close()
  },
)

t.test(
  'an attachment that a packet names thousands of times held the broker for minutes: the command is too large',
  async (t) => {
    const { broker, unharmed } = await start(t)
    const { socket, packets } = await engineSocket(broker.codingAssistantPort)
    const claims = { project_access: ['p'] }
    socket.send('40')
    socket.send(`42["auth:session",{"sessionId":"${token('alice', claims)}"}]`)
    socket.send('42["project:join",{"projectId":"p"}]')
    await eventually(() => packets.some((packet) => packet.includes('room:joined')))
    const named = Array(10_000).fill('{"_placeholder":true,"num":0}').join(',')
    socket.send(`451-1["project:update",{"projectId":"p","update":[${named}]}]`)
    socket.send(Buffer.alloc(500_000, 200))
    await eventually(() => packets.some((packet) => packet.startsWith('431[') && packet.includes('PAYLOAD_TOO_LARGE')))
    await unharmed()
    socket.close()
  },
)

t.test('raw clients that leave were present for ever: the others hear that they went', async (t) => {
  const { broker } = await start(t, { CONTRACTS: contractFile() })
  const connect = (user: string) =>
    TestClient.connect(broker.url('/hostile'), { token: token(user, { project_access: ['a', 'b'] }) })
  const [ann, ben] = await Promise.all([connect('ann'), connect('ben')])
  for (const client of [ann, ben]) {
    client.send({ type: 'enter', data: { place: 'a' } })
    client.send({ type: 'subscribe', data: { rooms: ['team:b'] } })
    await client.type('subscribed')
  }
  await ann.next(({ type, data }) => type === 'came' && data.id === 'ben' && data.place === 'team:b')
  await ben.close()
  for (const place of ['a', 'team:b'])
    await ann.next(({ type, data }) => type === 'went' && data.id === 'ben' && data.place === place)
  const again = await connect('ben')
  again.send({ type: 'enter', data: { place: 'a' } })
  t.match(await again.type('said'), { data: { place: 'a', users: 2 } })
})

t.test(
  'a raw client that authenticates again with fewer claims stayed in its rooms: it leaves them and is told',
  async (t) => {
    const { broker } = await start(t, { CONTRACTS: contractFile() })
    const client = await TestClient.connect(broker.url('/hostile'), {
      token: token('ann', { project_access: ['a', 'b'] }),
    })
    client.send({ type: 'subscribe', data: { rooms: ['team:a', 'team:b'], events: ['e'] } })
    await client.type('subscribed')
    client.send({ type: 'enter', data: { place: 'b' } })
    client.send({ type: 'authenticate', data: { token: token('ann', { project_access: ['a'] }) } })
    await client.type('authenticated')
    t.match(await client.type('unsubscribed'), { data: { rooms: ['team:b', 'present:b'] } })
    await broker.publish('hostile', 'inRoom', { data: { room: 'team:b', secret: true } })
    await broker.publish('hostile', 'inRoom', { data: { room: 'team:a' } })
    await broker.publish('hostile', 'e', { data: { last: true } })
    await client.next(({ data }) => data.last === true)
    t.same(
      client.events.map(({ type, data }) => [type, data.room]),
      [
        ['inRoom', 'team:a'],
        ['e', undefined],
      ],
    )
    const other = await TestClient.connect(broker.url('/hostile'), { token: token('ben', { project_access: ['b'] }) })
    other.send({ type: 'enter', data: { place: 'b' } })
    t.match(await other.type('said'), { data: { users: 1 } }, 'and it is not present there any more')
  },
)

for (const command of ['later', 'rejected']) {
  t.test(
    `what gets past every guard (${command}) is logged with its stack, and the process drains and ends with 1`,
    async (t) => {
      const { broker } = await start(t, { CONTRACTS: contractFile(), DRAIN_MS: 300 })
      const client = await TestClient.connect(broker.url('/hostile'))
      client.send({ type: command, data: {} })
      await client.type('reconnect')
      t.equal(await client.closed(), 1012, 'its clients are sent away, as by SIGTERM')
      t.equal(await broker.ended(), 1)
      t.match(broker.log, /"level":60.*by (a timer of )?the contract.*\\n +at /)
    },
  )
}

t.test('a worker that a fault got past every guard of is replaced', async (t) => {
  const { broker } = await startWorkers(t, { CONTRACTS: contractFile(), DRAIN_MS: 200 })
  const before = workersOf(broker)
  const client = await TestClient.connect(broker.url('/hostile'))
  client.send({ type: 'later', data: {} })
  t.equal(await client.closed(), 1012)
  await eventually(() => workersOf(broker).length === 2 && workersOf(broker).some((pid) => !before.includes(pid)))
  await eventually(async () => (await broker.ops('/readyz')).status === 200)
  t.match(broker.log, /"code":1/)
})
