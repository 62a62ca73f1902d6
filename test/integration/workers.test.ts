import { spawn } from 'node:child_process'
import { type IncomingMessage, request } from 'node:http'
import t from 'tap'
import { SECRET, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { Publisher } from '../support/load.ts'
import { freePort, TestNats } from '../support/nats.ts'
import { SocketIoClient } from '../support/socketio-client.ts'
import { readyz, runs, startWorkers as start, WORKERS, workersOf } from '../support/workers.ts'

const ENTRY = new URL('../../dist/main.js', import.meta.url).pathname
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

t.test('statistics, metrics and the page speak for all workers', async (t) => {
  const { nats, broker } = await start(t, { WORKERS: 3 })
  const clients = await Promise.all(upTo(30).map(() => TestClient.connect(broker.url())))
  t.teardown(async () => {
    for (const client of clients) await client.close()
  })
  for (const client of clients) await client.subscribe(['game_added'])
  const sockets = await Promise.all(
    upTo(30).map((i) =>
      SocketIoClient.connect(`http://127.0.0.1:${broker.port}/ws`, {
        token: token(`user-${i}`),
        transports: ['websocket'],
      }),
    ),
  )
  t.teardown(() => {
    for (const client of sockets) client.close()
  })
  await eventually(async () => (await broker.metric('connections')) === 60)
  for (let i = 0; i < 12; i++) {
    // Each on a connection of its own: whichever worker answers.
    const stats = await get(broker.port, '/api/v1/websocket/stats', token('root', { roles: ['admin'] }))
    t.match(stats, { connections: 60, rooms: { global: 30 } })
  }
  const figures = await fetch(`http://127.0.0.1:${broker.opsPort}/figures`, {
    headers: { Authorization: `Bearer ${token('root', { roles: ['admin'] })}` },
  })
  t.match(await figures.json(), { connections: 60, workers: 3, state: 'serving', rooms: { global: 30 } })
  const publisher = new Publisher(nats, 200)
  await eventually(() => clients.every(({ events }) => events.length > 10))
  const count = await publisher.stop()
  await eventually(() => clients.every(({ events }) => events.length === count))
  await eventually(async () => (await broker.metric('deliveries_total')) === count * clients.length)
  const text = await (await broker.ops('/metrics')).text()
  for (const name of [
    'roomcast_workers 3',
    'roomcast_workers_ready 3',
    'roomcast_source_connected 1',
    'roomcast_publish_to_socket_seconds_bucket{le="+Inf"} ',
  ])
    t.match(text, name)
  const names = text
    .split('\n')
    .filter((line) => line.startsWith('# TYPE'))
    .map((line) => line.split(' ')[2])
  t.equal(new Set(names).size, names.length, 'each metric once')
  t.match(await (await broker.ops('/settings')).json(), { apps: [{ app: 'game-djinn', port: broker.port }] })
})

t.test('/readyz names the workers that are not ready, and says yes while one is', async (t) => {
  const { nats, broker } = await start(t)
  for (const pid of workersOf(broker).slice(1)) process.kill(pid, 'SIGSTOP')
  await eventually(async () => {
    const { status, reasons } = await readyz(broker)
    return status === 200 && reasons.length === 1 && /^worker \d+: /.test(reasons[0] as string)
  })
  for (const pid of workersOf(broker)) process.kill(pid, 'SIGCONT')
  await eventually(async () => (await readyz(broker)).reasons.length === 0)
  await nats.kill()
  await eventually(async () => {
    const { status, reasons } = await readyz(broker)
    return status === 503 && reasons.length === WORKERS
  })
  t.equal((await broker.ops('/healthz')).status, 200)
})

t.test('SIGTERM and SIGINT drain all workers and exit 0', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const { broker } = await start(t, { DRAIN_MS: 500 })
    const workers = workersOf(broker)
    const clients = await Promise.all(upTo(10).map(() => TestClient.connect(broker.url())))
    const code = broker.kill(signal)
    for (const client of clients) await client.type('reconnect')
    t.same(
      await Promise.all(clients.map((client) => client.closed())),
      upTo(10).map(() => 1012),
    )
    t.equal(await code, 0)
    t.notOk(workers.some(runs))
  }
})

t.test('a supervisor that is killed leaves no worker behind: they send their clients away and go', async (t) => {
  const { broker } = await start(t)
  const workers = workersOf(broker)
  t.equal(workers.length, WORKERS)
  const client = await TestClient.connect(broker.url())
  await broker.kill('SIGKILL')
  t.equal(await client.closed(), 1012)
  await eventually(() => !workers.some(runs))
  await broker.run()
  t.equal(workersOf(broker).length, WORKERS, 'and the next one has the ports')
})

t.test('what keeps workers from starting is said once, and the exit code is 1', async (t) => {
  const ports = {
    PORT: '0',
    CODING_ASSISTANT_PORT: '0',
    GEMINI_SESSIONS_PORT: '0',
    OPS_PORT: '0',
    JWT_SECRET: SECRET,
    HOST: '127.0.0.1',
  }
  const guarded = await TestNats.start(['-js', '--user', 'u', '--pass', 'right'])
  t.teardown(() => guarded.stop())
  const wrong = await serve({ ...ports, WORKERS: '4', NATS_URL: guarded.url.replace('//', '//u:wrongpassword@') })
  t.equal(wrong.code, 1)
  t.equal(wrong.err.split('refused the credentials').length - 1, 1)
  const gone = await serve({ ...ports, WORKERS: '4', NATS_URL: `nats://127.0.0.1:${await freePort()}` })
  t.equal(gone.code, 1)
  t.equal(gone.err.split('No NATS server answers').length - 1, 1)
  const embedded = await serve({ ...ports, WORKERS: '2' })
  t.equal(embedded.code, 1)
  t.match(embedded.err, /WORKERS=2: more than one process needs NATS/)
  const nonsense = await serve({ ...ports, WORKERS: 'many' })
  t.equal(nonsense.code, 1)
  t.match(nonsense.err, 'WORKERS=many')
  const { broker } = await start(t)
  const second = await serve({
    ...ports,
    WORKERS: '2',
    NATS_URL: guarded.url.replace('//', '//u:right@'),
    PORT: String(broker.port),
  })
  t.equal(second.code, 1)
  t.match(second.err, `PORT=${broker.port}: cannot listen on 127.0.0.1:${broker.port} (another program uses it)`)
})

t.test('a worker that cannot come back is tried again until it can', async (t) => {
  const { nats, broker } = await start(t)
  await nats.kill()
  const [victim, other] = workersOf(broker) as [number, number]
  process.kill(victim, 'SIGKILL')
  await eventually(() => broker.log.split('a worker could not be started').length > 2)
  t.ok(runs(other))
  await nats.run()
  await eventually(async () => {
    const { status, reasons } = await readyz(broker)
    return status === 200 && reasons.length === 0
  }, 60_000)
  t.equal(workersOf(broker).length, WORKERS)
})

async function serve(env: Record<string, string>): Promise<{ code: number | null; err: string }> {
  const child = spawn(process.execPath, [ENTRY, 'serve'], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let err = ''
  child.stderr.on('data', (chunk: Buffer) => {
    err += chunk
  })
  return { code: await new Promise((resolve) => child.once('close', resolve)), err }
}

/** JSON of an address, over a connection of its own. */
async function get(port: number, path: string, bearer: string): Promise<unknown> {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    request({ host: '127.0.0.1', port, path, agent: false, headers: { Authorization: `Bearer ${bearer}` } }, resolve)
      .once('error', reject)
      .end(),
  )
  let text = ''
  for await (const chunk of response) text += chunk
  return JSON.parse(text)
}

t.test('a worker that hangs is killed and replaced; its clients come back, and miss nothing', async (t) => {
  const { nats, broker } = await start(t, { WORKER_TIMEOUT_MS: 1_000 })
  const clients = await Promise.all(
    upTo(20).map((i) =>
      SocketIoClient.connect(`http://127.0.0.1:${broker.port}/ws`, {
        token: token(`user-${i}`),
        transports: ['websocket'],
      }),
    ),
  )
  t.teardown(() => {
    for (const client of clients) client.close()
  })
  const publisher = new Publisher(nats, 50, (n) => ({
    subject: 'events.swe-agent.agent.connected',
    body: { data: { agent_id: 'a', n }, rooms: ['global'] },
  }))
  await eventually(() => clients.every(({ events }) => events.length > 5))
  const [hung, ...others] = workersOf(broker) as [number, ...number[]]
  process.kill(hung, 'SIGSTOP')
  await eventually(() => !runs(hung))
  await eventually(async () => (await readyz(broker)).reasons.length === 0)
  t.equal(await broker.metric('worker_restarts_total'), 1)
  t.same(
    others.filter((pid) => !runs(pid)),
    [],
    'nobody else',
  )
  await new Promise((resolve) => setTimeout(resolve, 3_000))
  t.equal(await broker.metric('worker_restarts_total'), 1, 'those that answer stay')
  for (const client of clients) await client.connected()
  const count = await publisher.stop()
  await eventually(() => clients.every(({ events }) => events.length === count))
  for (const { events } of clients)
    t.same(
      events.map(({ data }) => data.n),
      upTo(count),
    )
  t.ok(clients.every(({ connects }) => connects.slice(1).every(({ recovered }) => recovered)))
  t.match(broker.log, /a worker hangs/)
})

t.test('a worker that hung before it served held up a reload, and each one after it, for ever', async (t) => {
  const { broker } = await start(t, { WORKER_TIMEOUT_MS: 1_000 })
  const before = workersOf(broker)
  process.kill(broker.pid, 'SIGHUP')
  let next: number | undefined
  await eventually(() => {
    next = workersOf(broker).find((pid) => !before.includes(pid))
    return next !== undefined
  })
  process.kill(next as number, 'SIGSTOP')
  await eventually(() => broker.log.includes('reloading failed'), 60_000)
  t.notOk(runs(next as number))
  t.same(
    before.filter((pid) => !runs(pid)),
    [],
    'those that ran stay',
  )
  process.kill(broker.pid, 'SIGHUP')
  await eventually(() => !before.some(runs), 60_000)
  await eventually(async () => (await readyz(broker)).reasons.length === 0)
})
