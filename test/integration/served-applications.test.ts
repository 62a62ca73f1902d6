import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect as connectTo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { SECRET, TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { freePort, TestNats } from '../support/nats.ts'
import { runProgram } from '../support/program.ts'
import { SocketIoClient } from '../support/socketio-client.ts'
import { readyz, runs, startWorkers, WORKERS, workersOf } from '../support/workers.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-applications-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** A shop on a port of its own, raw and over Socket.IO. */
const shop = (
  port = "{ option: 'SHOP_PORT', default: 3005 }",
  top = '',
) => `import { claimNames, defineContract } from 'roomcast'
${top}
export default defineContract({
  app: 'shop',
  port: ${port},
  endpoints: [{ transport: 'websocket', path: '/shop' }, { transport: 'socketio', namespace: '/shop' }],
  claims: ['store_access'],
  access: [{ claim: 'store_access', absent: 'all', read: (data) => data.store }],
  events: { sale: {}, order: { rooms: ({ data }) => ['store:' + data.store] } },
  commands: { enter: { action: { use: 'join', room: ({ room }) => room, acknowledgement: () => ['in'] } } },
  rooms: { sale: {}, 'store:{id}': { allows: (claims, id) => claimNames(claims, 'store_access', id) } },
})`

function write(text: string, name = `contract-${Math.random()}.mjs`): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

const roomcast = (args: string[], env: Record<string, string> = {}) => runProgram(folder, args, env)

const accepts = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = connectTo(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })

const statusOf = async (port: number, path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status

t.test("a contract of one's own has a port of its own, raw and over Socket.IO", async (t) => {
  const broker = await TestBroker.start({ CONTRACTS: write(shop()), SHOP_PORT: 0 })
  t.teardown(() => broker.stop())
  t.same(Object.keys(broker.ports), ['port', 'coding_assistant_port', 'gemini_sessions_port', 'shop_port', 'ops_port'])
  const { shop_port: port = 0 } = broker.ports
  const raw = await TestClient.connect(`ws://127.0.0.1:${port}/shop`)
  await raw.subscribe(['sale'])
  const socket = await SocketIoClient.connect(`http://127.0.0.1:${port}/shop`)
  t.teardown(() => socket.close())
  t.equal(await socket.ask('enter', { room: 'sale' }), 'in')
  await broker.publish('shop', 'sale', { data: { n: 1 } })
  t.equal((await raw.type('sale')).data.n, 1)
  await socket.until(() => socket.of('sale').length === 1)
  await raw.close()
  t.equal(await statusOf(broker.port, '/shop'), 404, 'it is not on PORT')
  const lost = new SocketIoClient(`http://127.0.0.1:${broker.port}/shop`)
  t.teardown(() => lost.close())
  await eventually(() => lost.refusals.length > 0)
  const settings = (await (await broker.ops('/settings')).json()) as { apps: { app: string; port: number }[] }
  t.match(settings.apps, [
    { app: 'game-djinn', port: broker.port },
    { app: 'shop', port },
  ])
})

t.test("a contract of one's own has claims of its own, raw and over Socket.IO", async (t) => {
  const broker = await TestBroker.start({ CONTRACTS: write(shop()), SHOP_PORT: 0, APPLICATIONS: 'shop' })
  t.teardown(() => broker.stop())
  const { shop_port: port } = broker.ports
  const seven = { token: token('ann', { store_access: ['7'] }) }
  const raw = await TestClient.connect(`ws://127.0.0.1:${port}/shop`, seven)
  raw.send({ type: 'subscribe', data: { rooms: ['store:7'], events: ['sale'] } })
  await raw.type('subscribed')
  raw.send({ type: 'subscribe', data: { rooms: ['store:8'] } })
  t.equal((await raw.type('error')).data.error_code, 'ROOM_ACCESS_DENIED')
  const socket = await SocketIoClient.connect(`http://127.0.0.1:${port}/shop`, seven)
  t.teardown(() => socket.close())
  for (const room of ['store:7', 'sale']) t.equal(await socket.ask('enter', { room }), 'in')
  socket.socket.emit('enter', { room: 'store:8' })
  await socket.until(() => JSON.stringify(socket.arrivals).includes('ROOM_ACCESS_DENIED'))
  const events = [
    ['order', { store: '8', n: 1 }],
    ['order', { store: '7', n: 2 }],
    ['sale', { store: '8', n: 3 }],
    ['sale', { store: '7', n: 4 }],
  ] as const
  for (const [type, data] of events) t.equal((await broker.publish('shop', type, { data })).status, 202)
  await raw.next(({ data }) => data.n === 4)
  t.same(
    raw.events.map(({ data }) => data.n),
    [2, 4],
  )
  await socket.until(() => socket.of('sale').length > 0)
  t.same(
    [...socket.of('order'), ...socket.of('sale')].map(([data]) => data.n),
    [2, 4],
  )
  await raw.close()

  // A text that holds the id would let its user in.
  const wrong = { token: token('ben', { store_access: 'store-7' }) }
  const refused = new TestClient(`ws://127.0.0.1:${port}/shop`, wrong)
  t.equal(await refused.closed(), 4401)
  const refusedSocket = new SocketIoClient(`http://127.0.0.1:${port}/shop`, wrong)
  t.teardown(() => refusedSocket.close())
  await eventually(() => refusedSocket.refusals.length > 0)
  const other = await TestClient.connect(`ws://127.0.0.1:${port}/shop`, {
    token: token('cy', { project_access: 'a claim that nobody declares' }),
  })
  await other.close()
})

t.test('roomcast token mints claims of contracts by --claim', async (t) => {
  const env = { JWT_SECRET: SECRET }
  const { out } = await roomcast(
    ['token', 'zoe', '--claim', 'store_access=7, 8', '--claim', 'a=b=c', '--agent-access', 'x'],
    env,
  )
  t.match(JSON.parse(Buffer.from(out.split('.')[1] as string, 'base64url').toString()), {
    sub: 'zoe',
    store_access: ['7', '8'],
    a: ['b=c'],
    agent_access: ['x'],
  })
  const wrong = await roomcast(['token', '--claim', 'store_access'], env)
  t.equal(wrong.code, 2)
  t.match(wrong.err, 'wants name=value')
  t.match((await roomcast(['token', '--help'])).out, /--project-access <list>.*--claim <name=list>/s)
})

t.test('APPLICATIONS with one: the ports of the others are closed, their paths are 404', async (t) => {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const [codingAssistant, gemini] = [await freePort(), await freePort()]
  const broker = await TestBroker.start({
    NATS_URL: nats.url,
    APPLICATIONS: 'game-djinn',
    CODING_ASSISTANT_PORT: codingAssistant,
    GEMINI_SESSIONS_PORT: gemini,
  })
  t.teardown(() => broker.stop())
  t.same(Object.keys(broker.ports), ['port', 'ops_port'])
  t.notMatch(broker.log, /coding_assistant|gemini_sessions/)
  t.same(await Promise.all([codingAssistant, gemini].map(accepts)), [false, false])
  t.same(
    await Promise.all(['/socket.io/?EIO=4&transport=polling', '/shop'].map((path) => statusOf(broker.port, path))),
    [404, 404],
  )
  const settings = (await (await broker.ops('/settings')).json()) as { apps: { app: string }[] }
  t.same(
    settings.apps.map(({ app }) => app),
    ['game-djinn'],
  )
  // What brokers with the other applications keep and store is none of its business.
  const js = await nats.jetstream()
  const held = { app: 'coding-assistant', resource: { file: 'a' }, holders: [{ userId: 'ann', mode: 'exclusive' }] }
  const records: readonly (readonly [string, string, unknown])[] = [
    ['roomcast_locks', 'coding-assistant.x', held],
    ['roomcast_presence', 'coding-assistant.p.ann', { app: 'coding-assistant', channel: 'p', id: 'ann', name: 'Ann' }],
    ['roomcast_participants', 'gemini-sessions.c.ann', { app: 'gemini-sessions', conversation: 'c', userId: 'ann' }],
    ['roomcast_sessions', 's-1', { sub: 'ann', exp: 9_999_999_999, project_access: ['p'] }],
  ]
  for (const [bucket, key, value] of records)
    await (await js.views.kv(bucket)).put(key, Buffer.from(JSON.stringify(value)))
  await js.publish('events.coding-assistant.file:updated', Buffer.from('{"data":{}}'))
  const client = await TestClient.connect(broker.url())
  await client.subscribe(['game_added'])
  await broker.publish('game-djinn', 'game_added', { data: { n: 1 } })
  t.equal((await client.type('game_added')).data.n, 1)
  t.equal((await broker.publish('swe-agent', 'agent.connected', { data: {} })).status, 400)
  t.equal(await broker.metric('unknown_events_total'), 1)
  t.match(broker.log, /coding-assistant/, 'and it is said')
  t.equal(await broker.metric('faults_total'), 0)
  await client.close()
})

t.test(
  'APPLICATIONS chooses among contracts of others too, and a path is free whose application is not served',
  async (t) => {
    const file = write(shop('undefined').replace("path: '/shop'", "path: '/ws'"))
    const broker = await TestBroker.start({ CONTRACTS: file, APPLICATIONS: 'shop, gemini-sessions' })
    t.teardown(() => broker.stop())
    t.same(Object.keys(broker.ports), ['port', 'gemini_sessions_port', 'ops_port'])
    const client = await TestClient.connect(broker.url('/ws'))
    await client.subscribe(['sale'])
    await broker.publish('shop', 'sale', { data: { n: 1 } })
    await client.type('sale')
    await client.close()
    const socket = await SocketIoClient.connect(`http://127.0.0.1:${broker.geminiSessionsPort}/`)
    socket.close()
  },
)

t.test('what is wrong with applications, ports and their options is said before anything starts', async (t) => {
  const env = { JWT_SECRET: SECRET, CONTRACTS: write(shop()) }
  for (const verb of ['check-config', 'serve']) {
    const { code, err } = await roomcast([verb, '--applications', 'game-djinn,shpo'], env)
    t.equal(code, 1)
    t.match(err, 'APPLICATIONS=shpo: there is no such application; did you mean shop? there are game-djinn, ')
  }
  const wrong: readonly (readonly [string, RegExp])[] = [
    ["'CODING_ASSISTANT_PORT'", /`port` wants an object such as \{ option: 'SHOP_PORT', default: 3005 \}/],
    ["{ option: 'CODING_ASSISTANT_PORT', default: 3005 }", /has the default 3005 here, and 3001 in coding-assistant/],
    ["{ option: 'OPS_PORT', default: 3005 }", /`port.option` is OPS_PORT, which is another option/],
    ["{ option: 'SHOP', default: 3005 }", /`port.option` wants capitals/],
  ]
  for (const [port, reason] of wrong) {
    const { code, err } = await roomcast(['check-config', '--contracts', write(shop(port))])
    t.equal(code, 1)
    t.match(err, reason)
  }
  const flag = await roomcast(['check-config', '--shop-prt', '0'], env)
  t.equal(flag.code, 2)
  t.match(flag.err, 'Did you mean --shop-port?')
  const value = await roomcast(['check-config', '--shop-port', 'x', '--port', 'y'], env)
  t.match(value.err, 'PORT=y: wants a whole number from 0 to 65535 (port)\nSHOP_PORT=x: wants')
})

t.test('a port of a contract is an option as the others are: flags, files, --help, default-config', async (t) => {
  const file = write(shop())
  const config = write(`CONTRACTS=${file}\nSHOP_PORT=3100\n`, 'roomcast.env')
  const env = { JWT_SECRET: SECRET }
  t.match((await roomcast(['check-config', '--config', config], env)).out, 'SHOP_PORT=3100\n')
  t.match((await roomcast(['check-config', '--config', config, '--shop-port', '3200'], env)).out, 'SHOP_PORT=3200\n')
  const one = await roomcast(['check-config', '--config', config, '--applications', 'swe-agent'], env)
  t.notMatch(one.out, /SHOP_PORT/)
  t.match(one.out, '# not in APPLICATIONS, so not served: game-djinn, ')
  t.match((await roomcast(['serve', '--help', '--contracts', file])).out, /--shop-port <value> .*shop\. 0: a free one/)
  t.match((await roomcast(['default-config'], { CONTRACTS: file })).out, '#SHOP_PORT=3005\n\n# /healthz')
  t.equal((await roomcast(['serve', '--help', '--contracts', join(folder, 'missing.mjs')])).code, 0)
})

t.test('a contract that prints, exits or throws later costs the supervisor nothing', async (t) => {
  const exits = await roomcast(['check-config', '--contracts', write(shop(undefined, 'process.exit(0)'))])
  t.equal(exits.code, 1)
  t.match(exits.err, /CONTRACTS=.*: ended the program while it was loaded/)
  const nameless = await roomcast(['check-config', '--contracts', write(shop(undefined, 'throw Object.create(null)'))])
  t.match(nameless.err, /roomcast: .*: something without a text/)
  const own = `const { parentPort } = await import('node:worker_threads')
parentPort?.postMessage('its own')
setInterval(() => {}, 1_000)`
  const ends = await roomcast(['check-config', '--contracts', write(shop(undefined, own))], { JWT_SECRET: SECRET })
  t.equal(ends.code, 0, 'neither a message nor a timer of its own keeps the program')
  // Only a worker has a channel.
  const top = `console.log('a contract prints')\nsetTimeout(() => { if (!process.send) process.exit(9) }, 10)`
  const { broker } = await startWorkers(t, { CONTRACTS: write(shop(undefined, top)), SHOP_PORT: 0 })
  t.match(broker.log, 'a contract prints')
  t.ok(broker.runs)
})

t.test('workers share the port of a contract; a reload that changes the set of ports is refused', async (t) => {
  const file = write(shop(), 'reloaded.mjs')
  const { broker } = await startWorkers(t, { CONTRACTS: file, SHOP_PORT: 0, APPLICATIONS: 'game-djinn,shop' })
  t.same(Object.keys(broker.ports), ['port', 'shop_port', 'ops_port'])
  const address = `ws://127.0.0.1:${broker.ports.shop_port}/shop`
  const works = async () => {
    const client = await TestClient.connect(address, { token: token() })
    await client.subscribe(['sale'])
    await client.close()
  }
  await works()
  const before = workersOf(broker)
  write(shop("{ option: 'OTHER_PORT', default: 3006 }"), 'reloaded.mjs')
  process.kill(broker.pid, 'SIGHUP')
  await eventually(() => broker.log.includes('reloading failed'))
  t.match(broker.log, 'now name OTHER_PORT, and the program began with SHOP_PORT; it needs a restart')
  t.same(workersOf(broker).sort(), before.sort(), 'the workers stay')
  await works()
  write(shop(), 'reloaded.mjs')
  process.kill(broker.pid, 'SIGHUP')
  await eventually(() => !before.some(runs), 60_000)
  await eventually(async () => (await readyz(broker)).reasons.length === 0)
  t.equal(workersOf(broker).length, WORKERS)
  await works()
})
