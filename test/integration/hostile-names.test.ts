import t from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

/** Names that an object literal has, too, without anybody having put them there. */
const NAMES = [
  '__proto__',
  '__defineGetter__',
  '__lookupSetter__',
  'constructor',
  'hasOwnProperty',
  'toString',
  'valueOf',
]

const broker = await TestBroker.start({ COMMAND_TIMEOUT_MS: 500 })
const clients: SocketIoClient[] = []
t.teardown(async () => {
  for (const client of clients) client.close()
  await broker.stop()
})

async function connect(
  port: number,
  options: ConstructorParameters<typeof SocketIoClient>[1],
): Promise<SocketIoClient> {
  const client = new SocketIoClient(`http://127.0.0.1:${port}`, options)
  clients.push(client)
  return client.connected()
}

t.afterEach(async () => {
  if ((await broker.ops('/healthz')).status !== 200 || broker.log.includes('TypeError'))
    throw new Error(`the broker noticed: ${broker.log}`)
})

t.test('port 3001 without a token: a command named __proto__ ended the process half a second later', async (t) => {
  for (const name of NAMES) {
    const client = await connect(broker.codingAssistantPort, { token: null })
    client.socket.emit(name, { x: 1 })
    await client.until(() => client.of('auth:error').length === 1)
    t.match(client.of('auth:error')[0]?.[0], { code: 'UNAUTHORIZED' }, name)
    client.close()
  }
})

t.test('logged in: a command named __proto__, alone, in a batch, with any data, is an unknown one', async (t) => {
  const client = await connect(broker.codingAssistantPort, { token: token('u', { project_access: ['*'] }) })
  client.socket.emit('project:join', { projectId: 'p' })
  for (const name of NAMES) {
    for (const data of [undefined, null, {}, [name], JSON.parse(`{"${name}": 1}`)])
      t.match(await client.ask(name, data), { status: 'error', code: 'UNKNOWN_TYPE' }, name)
    const { results } = await client.ask('batch:update', { updates: [{ event: name, data: {} }] })
    t.match(results, [{ code: 'UNKNOWN_TYPE' }], name)
  }
})

t.test('rooms named __proto__ are rooms, counted as any other', async (t) => {
  const client = await connect(broker.codingAssistantPort, { token: token('u', { project_access: ['*'] }) })
  for (const room of NAMES) t.match(await client.ask('room:join', { room }), { status: 'success', room })
  const answer = await fetch(
    `http://127.0.0.1:${broker.port}/api/v1/websocket/stats?token=${token('a', { roles: ['admin'] })}`,
  )
  const { rooms } = (await answer.json()) as { rooms: object }
  for (const room of NAMES) t.equal(Object.getOwnPropertyDescriptor(rooms, room)?.value, 1, room)
})

t.test('in every application a command, a room, an event of such a name is refused by name', async (t) => {
  const admin = token('a', { roles: ['admin'], session_access: ['*'] })
  const [swe, gemini, portal] = await Promise.all([
    SocketIoClient.connect(`http://127.0.0.1:${broker.port}/ws`, { token: admin }),
    SocketIoClient.connect(`http://127.0.0.1:${broker.geminiSessionsPort}`, { token: admin }),
    SocketIoClient.connect(`http://127.0.0.1:${broker.port}/portal`, { token: admin }),
  ])
  clients.push(swe, gemini, portal)
  for (const name of NAMES.slice(0, 4)) {
    t.match(await swe.ask(name, {}), { error_code: 'UNKNOWN_TYPE' })
    t.match(await swe.ask('subscribe', { room: name }), { error_code: 'INVALID_ROOM' })
    t.match(await gemini.ask(name, {}), { error_code: 'UNKNOWN_TYPE' })
    t.match(await portal.ask('subscribe_to_events', { events: [name] }), { error_code: 'UNKNOWN_EVENT' })
  }
})
