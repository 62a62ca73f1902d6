import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { after } from '../../src/guarded.ts'
import { TestBroker } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { Authority } from '../support/nats-identities.ts'

const ENTRY = new URL('../../dist/main.js', import.meta.url).pathname

const folder = mkdtempSync(join(tmpdir(), 'roomcast-login-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
mkdirSync(join(folder, 'nats', 'context'), { recursive: true })

const context = (text: string) => writeFileSync(join(folder, 'nats', 'context', 'live.json'), text)
const serverTakes = (token: string) => writeFileSync(join(folder, 'nats.conf'), `authorization { token: "${token}" }`)

t.test('workers log in by a context; SIGHUP reads it again, and one that is bad changes nothing', async (t) => {
  serverTakes('s3cret-before')
  const nats = await TestNats.start(['-js', '-c', join(folder, 'nats.conf')])
  t.teardown(() => nats.stop())
  const env = { NATS_CONTEXT: 'live', XDG_CONFIG_HOME: folder, WORKERS: 2 }
  context(JSON.stringify({ url: nats.url, token: 's3cret-before' }))
  const broker = await TestBroker.start(env)
  t.teardown(() => broker.stop())
  const stored = async () => (await broker.publish('game-djinn', 'sync_progress', { data: { operation_id: '1' } })).ok
  t.equal(await stored(), true)

  context('nonsense')
  process.kill(broker.pid, 'SIGHUP')
  await eventually(() => /reloading failed/.test(broker.log))
  t.match(broker.log, /NATS_CONTEXT=live: .* is no context of the `nats` command/)
  t.notMatch(broker.log, 'WORKERS=')
  t.equal(await stored(), true)

  context(JSON.stringify({ url: nats.url, token: 's3cret-after' }))
  serverTakes('s3cret-after')
  await nats.kill()
  await nats.run()
  await eventually(() => /NATS refuses the login/.test(broker.log))
  process.kill(broker.pid, 'SIGHUP')
  await eventually(() => /"msg":"reloaded"/.test(broker.log), 20_000)
  // The connection that was kept may be one of a worker that leaves.
  await eventually(() => stored().catch(() => false))
  t.notMatch(broker.log, 's3cret')
})

t.test('a server that resets the connection just as TLS begins is told as that, and ends no process', async (t) => {
  new Authority(folder)
  const info = JSON.stringify({ server_id: 'X', version: '2.10.0', max_payload: 1, tls_required: true })
  let connects = 0
  const server = createServer((socket) => {
    const delayMs = connects++ % 8
    socket.on('error', () => {})
    socket.write(`INFO ${info}\r\n`, () => after('test', delayMs, () => socket.resetAndDestroy()))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => void server.close())
  const url = `nats://127.0.0.1:${(server.address() as AddressInfo).port}`
  const ends = Array.from({ length: 5 }, async () => {
    const broker = new TestBroker({ NATS_URL: url, NATS_CA_FILE: join(folder, 'ca.crt') })
    t.teardown(() => broker.stop())
    await broker.run().catch(() => {})
    t.match(broker.log, /^roomcast: The NATS server at .* broke off the TLS handshake/)
  })
  await Promise.all(ends)
})

t.test(
  '--help tells the options of NATS, and check-config shows no token and names a file that is missing',
  async (t) => {
    const env = { PATH: process.env.PATH, HOME: folder }
    const run = (...args: string[]) =>
      execFileSync(process.execPath, [ENTRY, ...args], { cwd: folder, env, encoding: 'utf8', stdio: 'pipe' })
    const help = run('serve', '--help')
    for (const name of [
      'ca-file',
      'cert-file',
      'key-file',
      'nkey-seed-file',
      'token',
      'js-domain',
      'js-api-prefix',
      'context',
    ])
      t.match(help, `--nats-${name} <value>`)
    const nats = ['--nats-url', 'nats://127.0.0.1:1', '--nats-token', 's3cret-token']
    const shown = run('check-config', ...nats)
    t.match(shown, /NATS_TOKEN=\(set\)/)
    t.notMatch(shown, 's3cret')
    t.throws(() => run('check-config', ...nats, '--nats-ca-file', '/nowhere/ca.pem'), {
      message: /NATS_CA_FILE=\/nowhere\/ca\.pem: cannot be read/,
    })
  },
)
