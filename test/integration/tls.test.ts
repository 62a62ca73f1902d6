import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { request } from 'node:https'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t from 'tap'
import WebSocket from 'ws'
import { checkTlsFiles } from '../../src/config/tls-files.ts'
import { PUBLISH_KEY, TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-tls-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string) => join(folder, name)

function certificate(name: string): void {
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      at(`${name}.key`),
      '-out',
      at(`${name}.crt`),
      '-subj',
      `/CN=${name}`,
      '-days',
      '2',
    ],
    { stdio: 'ignore' },
  )
}
certificate('first')
certificate('second')
writeFileSync(at('nonsense'), '-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----')

function install(name: string): void {
  copyFileSync(at(`${name}.crt`), at('live.crt'))
  copyFileSync(at(`${name}.key`), at('live.key'))
}

/** Whose certificate a new connection is shown, with a server name or without. */
function shownTo(port: number, servername?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        host: '127.0.0.1',
        port,
        rejectUnauthorized: false,
        ...(servername === undefined ? undefined : { servername }),
      },
      () => {
        resolve(String(socket.getPeerCertificate().subject.CN))
        socket.destroy()
      },
    ).once('error', reject)
  })
}

/** A client by TLS that keeps what it got. */
async function client(t: { teardown(end: () => void): void }, port: number) {
  const socket = new WebSocket(`wss://127.0.0.1:${port}/ws`, {
    headers: { Authorization: `Bearer ${token()}` },
    rejectUnauthorized: false,
  })
  t.teardown(() => socket.terminate())
  const frames: { type: string; data: { n?: number } }[] = []
  socket.on('message', (frame) => frames.push(JSON.parse(frame.toString())))
  socket.on('error', () => {})
  await eventually(() => frames.length === 1)
  socket.send(JSON.stringify({ type: 'subscribe', data: { events: ['game_added'] } }))
  await eventually(() => frames.some(({ type }) => type === 'subscribed'))
  return { socket, numbers: () => frames.flatMap(({ data }) => data.n ?? []) }
}

async function publish(port: number, n: number): Promise<void> {
  const options = {
    host: '127.0.0.1',
    port,
    path: '/api/v1/events/game-djinn/game_added',
    method: 'POST',
    agent: false,
    rejectUnauthorized: false,
    headers: { Authorization: `Bearer ${PUBLISH_KEY}` },
  }
  const status = await new Promise((resolve, reject) =>
    request(options, (response) => resolve(response.resume().statusCode))
      .once('error', reject)
      .end(JSON.stringify({ data: { n } })),
  )
  if (status !== 202) throw new Error(`publishing was answered with ${status}`)
}

t.test('TLS files that are missing or do not fit each other: one line that names the option', async (t) => {
  const [crt, key] = [at('first.crt'), at('first.key')]
  for (const [tlsCertFile, tlsKeyFile, said] of [
    [at('none'), key, /^TLS_CERT_FILE=\S+none: cannot be read \(ENOENT[^\n]*$/],
    [crt, at('none'), /^TLS_KEY_FILE=\S+none: cannot be read \(ENOENT[^\n]*$/],
    [at('nonsense'), key, /^TLS_CERT_FILE=\S+nonsense: is no certificate in PEM [^\n]*$/],
    [key, key, /^TLS_CERT_FILE=\S+first.key: is no certificate in PEM [^\n]*$/],
    [crt, crt, /^TLS_KEY_FILE=\S+first.crt: is no private key in PEM[^\n]*$/],
    [
      crt,
      at('second.key'),
      /^TLS_KEY_FILE=\S+second.key: is not the key of the certificate in TLS_CERT_FILE=\S+first.crt$/,
    ],
  ] as const)
    t.throws(() => checkTlsFiles({ tlsCertFile, tlsKeyFile }), { code: 'CONFIG_INVALID', message: said })
  checkTlsFiles({ tlsCertFile: crt, tlsKeyFile: key })
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  for (const workers of [1, 2]) {
    const message = await TestBroker.start({
      NATS_URL: nats.url,
      WORKERS: workers,
      TLS_CERT_FILE: crt,
      TLS_KEY_FILE: at('second.key'),
    }).then(
      () => 'it started',
      (error: Error) => error.message,
    )
    t.match(
      message,
      /ended with 1: roomcast: TLS_KEY_FILE=\S+second.key: is not the key of the certificate[^\n]*\n$/,
      `${workers} workers`,
    )
  }
})

t.test(
  'SIGHUP stopped a broker with one worker: it reads certificates again, connections stay, new ones get the new certificate',
  async (t) => {
    install('first')
    const broker = await TestBroker.start({ TLS_CERT_FILE: at('live.crt'), TLS_KEY_FILE: at('live.key') })
    t.teardown(() => broker.stop())
    const ports = [broker.port, broker.codingAssistantPort, broker.geminiSessionsPort]
    for (const port of ports) t.equal(await shownTo(port), 'first')
    const before = await client(t, broker.port)
    await publish(broker.port, 1)
    await eventually(() => before.numbers().length === 1)

    install('second')
    process.kill(broker.pid, 'SIGHUP')
    await eventually(() => broker.log.includes('certificates reloaded'))
    for (const port of ports)
      t.same([await shownTo(port), await shownTo(port, 'roomcast.example.com')], ['second', 'second'])
    const after = await client(t, broker.port)
    await publish(broker.port, 2)
    await eventually(() => before.numbers().length === 2 && after.numbers().length === 1)
    t.same([before.numbers(), after.numbers()], [[1, 2], [2]], 'an event reaches those of both certificates, once')

    copyFileSync(at('first.key'), at('live.key'))
    process.kill(broker.pid, 'SIGHUP')
    await eventually(() => broker.log.includes('certificates could not be read again'))
    t.match(broker.log, /TLS_KEY_FILE=\S+: is not the key of the certificate/)
    t.equal(await shownTo(broker.port), 'second', 'files that do not fit change nothing')

    // Clients of the oldest certificates are sent away at last; nobody else is.
    install('first')
    for (let n = 0; n < 8; n++) {
      process.kill(broker.pid, 'SIGHUP')
      await eventually(() => broker.log.split('certificates reloaded').length === n + 3)
    }
    await eventually(() => before.socket.readyState === WebSocket.CLOSED)
    const newest = await client(t, broker.port)
    await publish(broker.port, 3)
    await eventually(() => newest.numbers().length === 1)
    t.equal(await broker.metric('connections'), after.socket.readyState === WebSocket.OPEN ? 2 : 1)
    t.equal(await broker.kill('SIGTERM'), 0)
  },
)

t.test('SIGHUP while workers start ended the process: it reads everything now', async (t) => {
  const silent = createServer(() => {}).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const sockets: Socket[] = []
  silent.on('connection', (socket) => sockets.push(socket))
  const broker = new TestBroker({ NATS_URL: `nats://127.0.0.1:${(silent.address() as AddressInfo).port}`, WORKERS: 2 })
  t.teardown(() => broker.stop())
  const ended = broker.run().then(
    () => 'it started',
    (error: Error) => error.message,
  )
  await eventually(() => sockets.length > 0)
  process.kill(broker.pid, 'SIGHUP')
  await new Promise((resolve) => setTimeout(resolve, 100))
  silent.close()
  for (const socket of sockets) socket.destroy()
  t.match(await ended, /ended with 1: .*No NATS server answers/s)
})

t.test(
  'with workers SIGHUP replaces them: new ones have the new certificate; where it is bad, the old ones stay',
  async (t) => {
    install('first')
    const nats = await TestNats.start()
    t.teardown(() => nats.stop())
    const broker = await TestBroker.start({
      NATS_URL: nats.url,
      WORKERS: 2,
      TLS_CERT_FILE: at('live.crt'),
      TLS_KEY_FILE: at('live.key'),
    })
    t.teardown(() => broker.kill('SIGTERM').then(() => broker.stop()))
    t.equal(await shownTo(broker.port), 'first')
    copyFileSync(at('second.crt'), at('live.crt'))
    process.kill(broker.pid, 'SIGHUP')
    await eventually(() => broker.log.includes('reloading failed'))
    t.match(broker.log, /TLS_KEY_FILE=\S+: is not the key of the certificate/)
    t.equal(await shownTo(broker.port), 'first')
    install('second')
    process.kill(broker.pid, 'SIGHUP')
    await eventually(() => broker.log.includes('"msg":"reloaded"'), 30_000)
    t.equal(await shownTo(broker.port), 'second')
  },
)
