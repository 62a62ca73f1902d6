import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import net from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { startWorkers } from '../support/workers.ts'

const ENTRY = new URL('../../dist/main.js', import.meta.url).pathname
const admin = token('boss', { roles: ['admin'] })
const user = token('alice')
/** An address of this machine that is not 127.0.0.1: any of 127.0.0.0/8 on Linux. */
const ELSEWHERE =
  Object.values(networkInterfaces())
    .flat()
    .find((one) => one !== undefined && !one.internal && one.family === 'IPv4')?.address ?? '127.0.0.2'

interface Answer {
  readonly status: number | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  // biome-ignore lint/suspicious/noExplicitAny: whatever was answered
  readonly body: any
}

/** Asks by a name of the test's choice, as a browser or a scraper does. */
function ask(
  port: number,
  path: string,
  { host = `127.0.0.1:${port}`, ...headers }: Record<string, string> = {},
  address = '127.0.0.1',
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    request({ host: address, port, path, agent: false, headers: { Host: host, ...headers } }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve({
        status: response.statusCode,
        headers: response.headers,
        body: response.headers['content-type'] === 'application/json' ? JSON.parse(text) : text,
      })
    })
      .once('error', reject)
      .end()
  })
}

async function withMember(t: Test, broker: TestBroker): Promise<void> {
  const client = await TestClient.connect(broker.url())
  t.teardown(() => client.close())
  await client.subscribe(['game_added'])
}

for (const [name, start] of [
  [
    'one process',
    async (t: Test) => {
      const broker = await TestBroker.start({ HOST: '0.0.0.0' })
      t.teardown(() => broker.stop())
      return broker
    },
  ],
  ['workers', async (t: Test) => (await startWorkers(t, { HOST: '0.0.0.0' })).broker],
] as const) {
  t.test(`${name}: names of rooms were told to anybody on OPS_PORT: they are for admins, counts for all`, async (t) => {
    const broker = await start(t)
    t.equal((await ask(broker.port, '/nothing', {}, ELSEWHERE)).status, 404, 'clients come from everywhere')
    await t.rejects(
      ask(broker.opsPort, '/healthz', {}, ELSEWHERE),
      { code: 'ECONNREFUSED' },
      'OPS_PORT listened where HOST says',
    )
    await withMember(t, broker)
    const open = await ask(broker.opsPort, '/figures')
    t.match(open, { status: 200, body: { connections: 1, room_count: 1 } })
    t.notOk('rooms' in open.body)
    const mine = await ask(broker.opsPort, '/figures', { Authorization: `Bearer ${user}` })
    t.match(mine, { status: 200, body: { room_count: 1 } })
    t.notOk('rooms' in mine.body)
    t.match(await ask(broker.opsPort, '/figures', { Authorization: `Bearer ${admin}` }), {
      status: 200,
      body: { room_count: 1, rooms: { game_added: 1 } },
    })
    for (const bad of ['x', `${admin}x`, token('boss', { roles: ['admin'] }, 'another-secret-that-is-long-enough')])
      t.match(await ask(broker.opsPort, '/figures', { Authorization: `Bearer ${bad}` }), {
        status: 401,
        body: { error_code: 'AUTH_FAILED' },
      })
    t.notMatch((await ask(broker.opsPort, '/metrics')).body, 'game_added')
    const settings = await ask(broker.opsPort, '/settings')
    t.match(settings.body, { apps: [{ app: 'game-djinn', port: broker.port, path: '/ws' }] })
    t.notMatch(JSON.stringify(settings.body), /names|token/)
    t.match((await ask(broker.opsPort, '/settings', { Authorization: `Bearer ${user}` })).body.apps[0].names, [
      'sync_progress',
    ])
  })
}

t.test(
  'a web page that points its own name here (DNS rebinding) read everything: a Host that is none of ours is refused',
  async (t) => {
    const broker = await TestBroker.start({ OPS_ALLOWED_HOSTS: 'roomcast-1,metrics.internal' })
    t.teardown(() => broker.stop())
    const port = broker.opsPort
    for (const path of ['/', '/metrics', '/figures', '/settings']) {
      for (const host of path !== '/figures'
        ? ['evil.example']
        : [
            'evil.example',
            `evil.example:${port}`,
            'localhost.evil.example',
            '127.0.0.1.evil.example',
            'roomcast-1.evil.example',
            'localhost@evil.example',
            'evil.example#127.0.0.1',
            '[::1].evil.example',
          ]) {
        const { status, body } = await ask(port, path, { host, Authorization: `Bearer ${admin}` })
        t.ok(status === 403 || status === 400, `${path} by ${host}: ${status}`)
        t.notMatch(JSON.stringify(body), /position|game-djinn|roomcast_/)
      }
      for (const host of path !== '/figures'
        ? ['localhost']
        : [
            `127.0.0.1:${port}`,
            'LOCALHOST',
            'localhost.',
            'roomcast.localhost',
            '[::1]',
            `[::1]:${port}`,
            '10.1.2.3:9464',
            '[fd00::1]:9464',
            'roomcast-1:9464',
            'Metrics.Internal',
          ])
        t.equal((await ask(port, path, { host })).status, 200, `${path} by ${host}`)
    }
    for (const path of ['/healthz', '/readyz'])
      t.equal((await ask(port, path, { host: 'any.name' })).status, 200, 'a probe may ask by any name')
  },
)

t.test('no other origin may read what OPS_PORT answers', async (t) => {
  const broker = await TestBroker.start()
  t.teardown(() => broker.stop())
  for (const path of ['/', '/healthz', '/readyz', '/metrics', '/figures', '/settings', '/nothing']) {
    const { headers } = await ask(broker.opsPort, path, { Origin: 'https://evil.example' })
    t.equal(headers['access-control-allow-origin'], undefined, path)
    t.equal(headers['cross-origin-resource-policy'], 'same-origin', path)
    t.equal(headers['x-content-type-options'], 'nosniff', path)
  }
  t.match(
    (await ask(broker.opsPort, '/')).headers['content-security-policy'],
    /script-src 'sha256-.*frame-ancestors 'none'/,
  )
})

t.test('OPS_HOST says where OPS_PORT listens', async (t) => {
  const open = await TestBroker.start({ OPS_HOST: '0.0.0.0' })
  t.teardown(() => open.stop())
  t.equal((await ask(open.opsPort, '/healthz', {}, ELSEWHERE)).status, 200)
})

t.test('the development token is given to a page on this machine alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-ops-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const env = {
    PATH: process.env.PATH,
    HOME: folder,
    PORT: '0',
    CODING_ASSISTANT_PORT: '0',
    GEMINI_SESSIONS_PORT: '0',
    OPS_PORT: '0',
    OPS_ALLOWED_HOSTS: 'dev.example',
  }
  const child = spawn(process.execPath, [ENTRY, 'serve', '--print-ports'], {
    cwd: folder,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await gone
  })
  const { ops_port: port } = JSON.parse(
    await new Promise<string>((resolve) => child.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString()))),
  )
  for (const host of [`127.0.0.1:${port}`, `localhost:${port}`, `[::1]:${port}`])
    t.match((await ask(port, '/settings', { host })).body, { token: /^eyJ/, apps: [{ names: Array }] })
  for (const host of ['dev.example', '10.1.2.3', 'evil.example'])
    t.notOk('token' in (await ask(port, '/settings', { host })).body, host)
  const refused = spawn(process.execPath, [ENTRY, 'serve'], {
    cwd: folder,
    env: { ...env, OPS_HOST: '0.0.0.0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  refused.stderr.on('data', (chunk: Buffer) => {
    said += chunk
  })
  t.equal(await new Promise((resolve) => refused.once('close', resolve)), 1)
  t.match(said, /OPS_HOST=0.0.0.0: without a key/)
})

t.test(
  'hundreds of requests in one piece were all answered in one turn, which held the broker: their connection ends',
  async (t) => {
    const broker = await TestBroker.start()
    t.teardown(() => broker.stop())
    const socket = net.connect(broker.opsPort, '127.0.0.1')
    t.teardown(() => socket.destroy())
    let said = ''
    let closed = false
    socket.on('data', (chunk) => {
      said += chunk.toString()
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      closed = true
    })
    socket.write('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(300))
    await eventually(() => closed || said.split('HTTP/1.1 200').length > 100)
    t.ok(closed)
    t.ok(said.split('HTTP/1.1 200').length <= 2)
    t.equal((await broker.ops('/metrics')).status, 200)
  },
)
