import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { PUBLISH_KEY, SECRET, TestBroker } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { freePort, TestNats } from '../support/nats.ts'
import { runProgram, startProgram } from '../support/program.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-cli-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const start = (args: string[], env: Record<string, string> = {}) => startProgram(folder, args, env)
const roomcast = (args: string[], env: Record<string, string> = {}) => runProgram(folder, args, env)

t.test('--help names every verb, and each verb has its own', async (t) => {
  const { code, out } = await roomcast(['--help'])
  t.equal(code, 0)
  for (const verb of ['serve', 'token', 'publish', 'tail', 'check-config', 'default-config']) {
    t.match(out, verb)
    const help = await roomcast([verb, '--help'])
    t.equal(help.code, 0)
    t.match(help.out, `Usage: roomcast ${verb}`)
  }
  t.equal((await roomcast(['no-such-verb'])).code, 2)
  t.equal((await roomcast(['serve', '--no-such-flag'])).code, 2)
})

t.test('default-config is a file that check-config and serve take', async (t) => {
  const { out } = await roomcast(['default-config'])
  t.match(out, '#PORT=8000')
  const file = join(folder, 'roomcast.env')
  writeFileSync(file, out.replace('#PORT=8000', 'PORT=8123').replace('#JWT_SECRET=', 'JWT_SECRET=very-secret-value'))
  const checked = await roomcast(['check-config', '--config', file])
  t.equal(checked.code, 0)
  t.match(checked.out, 'PORT=8123')
  t.match(checked.out, 'JWT_SECRET=(set)')
  t.notMatch(checked.out, 'very-secret-value')
  const flagged = await roomcast(['check-config', '--config', file, '--port', '9'], { PORT: '8' })
  t.match(flagged.out, 'PORT=9', 'a flag comes before the environment, that before the file')
})

t.test(
  'check-config called a contract with `allow` for `allows` valid, and a room for everybody went without a word',
  async (t) => {
    const contract = (room: string, path = '/shop') => {
      const file = join(folder, `contract-${Math.random()}.mjs`)
      writeFileSync(
        file,
        `export default { app: 'shop', endpoints: [{ transport: 'websocket', path: '${path}' }], events: { thing: {} }, rooms: { lobby: {}, 'store:{id}': ${room} } }`,
      )
      return file
    }
    const guarded = await roomcast(['check-config', '--contracts', contract('{ allows: () => false }')])
    t.equal(guarded.code, 0)
    t.match(guarded.out, '#   room lobby: anybody with a token may join it')
    t.notMatch(guarded.out, 'room store:{id}')
    for (const file of [contract('{ allow: () => false }')]) {
      const { code, err } = await roomcast(['check-config', '--contracts', file])
      t.equal(code, 1)
      t.match(err, /store:\{id\}"\]\.allow` .*did you mean `allows`/)
      t.equal((await roomcast(['serve', '--contracts', file], { PORT: '0' })).code, 1, 'nor does it start')
    }
    const taken = await roomcast(['check-config', '--contracts', contract('{}', '/ws')])
    t.equal(taken.code, 1)
    t.match(taken.err, 'the path /ws on PORT is taken by the contract game-djinn')
  },
)

t.test('what is wrong is said, all of it, before anything starts', async (t) => {
  const { code, err } = await roomcast(['serve'], {
    PORT: 'eighty',
    IDLE_TIMEOUT_S: '5',
    TLS_CERT_FILE: 'x',
    LOG_LEVEL: 'loud',
  })
  t.equal(code, 1)
  for (const part of ['PORT=eighty', 'IDLE_TIMEOUT_S=5', 'TLS_CERT_FILE', 'LOG_LEVEL=loud']) t.match(err, part)
  const keyless = await roomcast(['serve'], { NODE_ENV: 'production' })
  t.equal(keyless.code, 1)
  t.match(keyless.err, 'JWT_SECRET')
})

t.test('a start without NATS in reach, with wrong credentials, or without JetStream fails clearly', async (t) => {
  const ports = { PORT: '0', CODING_ASSISTANT_PORT: '0', GEMINI_SESSIONS_PORT: '0', OPS_PORT: '0', JWT_SECRET: SECRET }
  const gone = await roomcast(['serve'], { ...ports, NATS_URL: `nats://127.0.0.1:${await freePort()}` })
  t.equal(gone.code, 1)
  t.match(gone.err, /No NATS server answers at .*NATS_URL/s)
  const guarded = await TestNats.start(['-js', '--user', 'u', '--pass', 'right'])
  t.teardown(() => guarded.stop())
  const wrong = await roomcast(['serve'], { ...ports, NATS_URL: guarded.url.replace('//', '//u:wrongpassword@') })
  t.equal(wrong.code, 1)
  t.match(wrong.err, 'refused the credentials')
  t.notMatch(wrong.err, 'wrongpassword')
  const plain = await TestNats.start([])
  t.teardown(() => plain.stop())
  const without = await roomcast(['serve'], { ...ports, NATS_URL: plain.url })
  t.equal(without.code, 1)
  t.match(without.err, '-js')
})

t.test('a second broker on the same port fails loudly', async (t) => {
  const broker = await TestBroker.start()
  t.teardown(() => broker.stop())
  const { code, err } = await roomcast(['serve'], {
    JWT_SECRET: SECRET,
    HOST: '127.0.0.1',
    PORT: String(broker.port),
    OPS_PORT: '0',
  })
  t.equal(code, 1)
  t.match(err, 'another program uses it')
})

t.test('without a key: development mode, and token, publish and tail just work in the same folder', async (t) => {
  const [port, opsPort] = [await freePort(), await freePort()]
  const server = start([
    'serve',
    '--port',
    String(port),
    '--coding-assistant-port',
    '0',
    '--gemini-sessions-port',
    '0',
    '--ops-port',
    String(opsPort),
  ])
  t.teardown(async () => {
    server.child.kill('SIGKILL')
    await server.ended
  })
  await eventually(() => server.said.out.includes('Ctrl-C'))
  t.match(server.said.out, `http://127.0.0.1:${opsPort}/`)
  const { out } = await roomcast(['token', 'zoe', '--roles', 'admin,engineer', '--library-access', 'L1'])
  const claims = JSON.parse(Buffer.from(out.split('.')[1] as string, 'base64url').toString())
  t.match(claims, { sub: 'zoe', roles: ['admin', 'engineer'], library_access: ['L1'] })
  const client = await TestClient.connect(`ws://127.0.0.1:${port}/ws`, { token: out.trim() })
  t.equal((await client.type('connection_established')).data.user_id, 'zoe')
  await client.close()

  const tail = start(['tail', 'game-djinn', '--port', String(port)])
  t.teardown(async () => {
    tail.child.kill('SIGKILL')
    await tail.ended
  })
  await eventually(() => tail.said.out.includes('subscribed'))
  const published = await roomcast([
    'publish',
    'game-djinn',
    'sync_progress',
    '{"operation_id":"op-1","progress_percentage":45}',
    '--url',
    `http://127.0.0.1:${port}`,
  ])
  t.equal(published.code, 0)
  t.match(JSON.parse(published.out), { id: String })
  await eventually(() => tail.said.out.includes('"progress_percentage":45'))

  // The very command that was printed.
  const command = /curl [\s\S]*?\}\}'/.exec(server.said.out)?.[0] as string
  const shell = spawn('bash', ['-c', command], { stdio: 'ignore' })
  t.equal(await new Promise((resolve) => shell.once('close', resolve)), 0)
  await eventually(() => tail.said.out.includes('The Witcher 3: Wild Hunt'))
})

t.test('publish says what is wrong', async (t) => {
  const port = await freePort()
  const nobody = await roomcast(['publish', 'game-djinn', 'game_added', '{}', '--url', `http://127.0.0.1:${port}`])
  t.equal(nobody.code, 1)
  t.match(nobody.err, 'No broker answers')
  t.match((await roomcast(['publish', 'a', 'b', '{nope'])).err, 'not JSON')
  const broker = await TestBroker.start()
  t.teardown(() => broker.stop())
  const refused = await roomcast([
    'publish',
    'game-djinn',
    'nope',
    '{}',
    '--url',
    `http://127.0.0.1:${broker.port}`,
    '--key',
    PUBLISH_KEY,
  ])
  t.equal(refused.code, 1)
  t.match(refused.err, 'UNKNOWN_EVENT')
})
