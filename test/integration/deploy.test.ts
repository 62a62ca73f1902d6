import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type NatsConnection, StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { Crowd, eventOf } from '../support/crowd.ts'
import { Publisher } from '../support/load.ts'
import { freePort, TestNats } from '../support/nats.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

const DEPLOY = new URL('../../deploy/', import.meta.url).pathname
const PASSWORDS = {
  NATS_BROKER_PASSWORD: 'b',
  NATS_PRODUCER_PASSWORD: 'p',
  NATS_SERVICE_PASSWORD: 's',
  NATS_LOGIN_PASSWORD: 'l',
}
const HAPROXY = spawnSync('haproxy', ['-v']).status === 0
const codec = StringCodec()
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

const folder = mkdtempSync(join(tmpdir(), 'roomcast-deploy-'))
const SURVEY = join(folder, 'survey.mjs')
writeFileSync(
  SURVEY,
  `import { defineContract } from 'roomcast'
export default defineContract({ app: 'survey', endpoints: [{ transport: 'socketio', namespace: '/survey' }], events: { noted: {} }, clientRequests: { sure: {} } })`,
)
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

/** The nats-server of deploy/nats.conf, on other ports and in a folder of its own. */
async function guardedNats(t: Test): Promise<{ nats: TestNats; as: (user: string) => Promise<NatsConnection> }> {
  Object.assign(process.env, PASSWORDS)
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-nats-conf-'))
  const config = join(folder, 'nats.conf')
  writeFileSync(
    config,
    readFileSync(join(DEPLOY, 'nats.conf'), 'utf8')
      .replace('store_dir: /data', `store_dir: "${folder}"`)
      .replace('127.0.0.1:8222', `127.0.0.1:${await freePort()}`),
  )
  const nats = await TestNats.start(['-c', config])
  t.teardown(async () => {
    await nats.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  const as = async (user: string) => {
    const nc = await connect({
      servers: nats.url,
      user,
      pass: user[0] as string,
      inboxPrefix: `_INBOX.${user === 'broker' ? 'roomcast' : user}`,
    })
    t.teardown(() => nc.close())
    return nc
  }
  return { nats, as }
}

/** What the server says against a connection's doings, as subjects. */
function refusals(nc: NatsConnection): string[] {
  const refused: string[] = []
  void (async () => {
    for await (const status of nc.status()) refused.push(JSON.stringify(status))
  })()
  return refused
}

t.test(
  "nats.conf: with the broker's user everything works, and producers, services and logins may do what they need",
  async (t) => {
    const { nats, as } = await guardedNats(t)
    const env = { NATS_URL: nats.url.replace('//', '//broker:b@'), CONTRACTS: SURVEY }
    const [broker, other] = [await TestBroker.start(env), await TestBroker.start(env)]
    t.teardown(async () => {
      await broker.stop()
      await other.stop()
    })
    const [producer, service] = [await as('producer'), await as('service')]

    const raw = await TestClient.connect(broker.url())
    t.teardown(() => raw.close())
    await raw.subscribe(['game_added', 'ai_chat'])
    const ack = await producer.jetstream().publish('events.game-djinn.game_added', codec.encode('{"data":{"n":1}}'))
    t.equal(ack.seq, 1)
    t.equal((await raw.type('game_added')).data.n, 1)
    t.equal((await broker.publish('game-djinn', 'game_added', { data: { n: 2 } })).status, 202)
    await raw.until(() => raw.events.length === 2)

    let commands = 0
    service.subscribe('commands.game-djinn.ai_chat_message', {
      callback: (_, message) => {
        commands++
        message.respond(codec.encode('{"ok":true}'))
      },
    })
    await service.flush()
    raw.send({ type: 'ai_chat_message', id: 'c', data: { message: 'hello', context: { conversation_id: 'k' } } })
    await eventually(() => commands === 1)
    await service
      .jetstream()
      .publish(
        'events.game-djinn.ai_chat_response_chunk',
        codec.encode('{"data":{"conversation_id":"k","message_id":"c","chunk":"hi"}}'),
      )
    await raw.type('ai_chat_response_chunk')
    t.notOk(
      raw.frames.some(({ type }) => type === 'ai_error'),
      "the service's answer came",
    )

    const asked = await SocketIoClient.connect(`http://127.0.0.1:${broker.port}/survey`, { token: token() })
    t.teardown(() => asked.close())
    asked.socket.on('sure', (answer: (text: string) => void) => answer('yes'))
    // Often enough that either broker gets the question, and has to find the client.
    for (let n = 0; n < 10; n++) {
      const reply = await service.request(
        'ask.survey',
        codec.encode(JSON.stringify({ connection_id: asked.socket.id, type: 'sure' })),
        { timeout: 10_000 },
      )
      t.same(JSON.parse(codec.decode(reply.data)), { ok: true, data: ['yes'] })
    }

    // History older than the ring, presence, recovery, bans' watch.
    const late = await TestClient.connect(broker.url())
    t.teardown(() => late.close())
    await late.subscribe(['game_added'], {}, raw.events[0]?.id)
    await late.until(() => late.events.length === 1)
    const portal = await SocketIoClient.connect(`http://127.0.0.1:${broker.port}/portal`, {
      token: token('zoe', { project_access: ['p'] }),
    })
    t.teardown(() => portal.close())
    portal.socket.emit('join_project', { project_name: 'p' })
    await eventually(() => portal.of('joined_project').length === 1)
    t.equal(portal.of('joined_project')[0]?.[0].active_users, 1)
    await broker.kill()
    await broker.run()
    await portal.connected(2)
    t.ok(portal.connects[1]?.recovered)
    for (const { log } of [broker, other]) {
      t.notMatch(log, /Permissions Violation/i)
      t.notMatch(log, /"level":[45]0/)
    }
  },
)

t.test('nats.conf: nobody may do more than that', async (t) => {
  const { nats, as } = await guardedNats(t)
  const broker = await TestBroker.start({ NATS_URL: nats.url.replace('//', '//broker:b@') })
  t.teardown(() => broker.stop())
  const forbidden = {
    producer: [
      'commands.game-djinn.ai_chat_message',
      'roomcast.say.game-djinn',
      'ask.survey',
      '$KV.roomcast_bans.x',
      '$KV.roomcast_sessions.x',
      '$JS.API.STREAM.DELETE.ROOMCAST_EVENTS',
      '$JS.API.STREAM.PURGE.ROOMCAST_EVENTS',
      '$JS.API.CONSUMER.CREATE.ROOMCAST_EVENTS',
      'other',
    ],
    service: [
      'commands.game-djinn.ai_chat_message',
      'roomcast.say.game-djinn',
      '$KV.roomcast_bans.x',
      '$JS.API.STREAM.DELETE.ROOMCAST_EVENTS',
      '$JS.API.CONSUMER.CREATE.ROOMCAST_EVENTS',
    ],
    login: ['events.game-djinn.game_added', '$KV.roomcast_bans.x', '$JS.API.STREAM.DELETE.KV_roomcast_sessions'],
    broker: [
      'other',
      '$JS.API.STREAM.DELETE.ROOMCAST_EVENTS',
      '$JS.API.STREAM.PURGE.ROOMCAST_EVENTS',
      '$JS.API.STREAM.UPDATE.ROOMCAST_EVENTS',
      '$KV.roomcast_sessions.x',
      '$JS.API.STREAM.CREATE.OTHER',
    ],
  }
  for (const [user, subjects] of Object.entries(forbidden)) {
    const nc = await as(user)
    const refused = refusals(nc)
    for (const subject of subjects) nc.publish(subject, codec.encode('{}'))
    await nc.flush()
    await eventually(() => refused.length >= subjects.length)
    for (const subject of subjects)
      t.ok(
        refused.some((text) => text.includes(subject)),
        `${user} may not publish to ${subject}`,
      )
  }
  const sessions = ['$KV.roomcast_sessions.>', '$JS.API.>', '$SRV.>']
  const unheard = {
    producer: [
      'events.>',
      'commands.>',
      'ask.>',
      'roomcast.>',
      '_INBOX.>',
      '_INBOX.*.>',
      '_INBOX.roomcast.>',
      '_INBOX.service.>',
      '_INBOX.login.>',
      '>',
      ...sessions,
    ],
    service: [
      'events.>',
      'ask.>',
      'roomcast.>',
      '_INBOX.>',
      '_INBOX.*',
      '_INBOX.roomcast.>',
      '_INBOX.producer.>',
      '_INBOX.login.>',
      '>',
      ...sessions,
    ],
    login: [
      'events.>',
      'commands.>',
      'ask.>',
      'roomcast.>',
      '_INBOX.>',
      '_INBOX.roomcast.>',
      '_INBOX.producer.>',
      '_INBOX.service.>',
      '>',
      ...sessions,
    ],
    broker: [
      'events.>',
      'commands.>',
      '_INBOX.>',
      '_INBOX.login.>',
      '_INBOX.service.>',
      '_INBOX.producer.>',
      ...sessions,
    ],
  }
  const spied: string[] = []
  for (const [user, subjects] of Object.entries(unheard)) {
    const nc = await as(user)
    const refused = refusals(nc)
    for (const subject of subjects) {
      nc.subscribe(subject, {
        callback: (error, message) => void (error ?? spied.push(`${user} heard ${message.subject} by ${subject}`)),
      })
      // With a queue group too: its permission is another.
      nc.subscribe(subject, {
        queue: 'spies',
        callback: (error, message) => void (error ?? spied.push(`${user} heard ${message.subject} by ${subject}`)),
      })
    }
    await nc.flush()
    await eventually(
      () => subjects.every((subject) => refused.some((text) => text.includes(`"subject":"${subject}"`))),
      10_000,
    )
    t.pass(`${user} may not listen to ${subjects.join(' ')}`)
  }
  // What was overheard: an acknowledgement, a session record as its login service reads it, an answer to the broker.
  const login = await as('login')
  const records = await login.jetstream().views.kv('roomcast_sessions', { bindOnly: true })
  await records.put('s-4711', codec.encode(JSON.stringify({ sub: 'alice', exp: Math.floor(Date.now() / 1000) + 60 })))
  t.match(
    codec.decode((await records.get('s-4711'))?.value ?? new Uint8Array()),
    'alice',
    'the login service reads what it wrote',
  )
  const coding = await SocketIoClient.connect(`http://127.0.0.1:${broker.codingAssistantPort}`, {})
  t.teardown(() => coding.close())
  t.same(await coding.socket.emitWithAck('auth:session', { sessionId: 's-4711' }), { status: 'success' })
  const raw = await TestClient.connect(broker.url())
  t.teardown(() => raw.close())
  await raw.subscribe(['game_added'])
  await (await as('producer')).jetstream().publish('events.game-djinn.game_added', codec.encode('{"data":{}}'))
  await raw.type('game_added')
  const producer = await as('producer')
  await t.rejects(
    producer.request(
      '$JS.API.STREAM.MSG.GET.KV_roomcast_sessions',
      codec.encode('{"last_by_subj":"$KV.roomcast_sessions.s-4711"}'),
      { timeout: 500 },
    ),
    'a producer reads no sessions',
  )
  t.same(spied, [], "nobody heard what is another's")
  const stranger = await connect({ servers: nats.url, user: 'broker', pass: 'wrong' }).catch((error: Error) => error)
  t.ok(stranger instanceof Error)
})

/** haproxy.cfg with the addresses of here. */
class HAProxy {
  readonly port: number
  readonly config: string
  private readonly folder = mkdtempSync(join(tmpdir(), 'roomcast-haproxy-'))
  private process: ChildProcess | undefined

  constructor(port: number, brokers: readonly TestBroker[], free: readonly number[]) {
    this.port = port
    const others = [...free]
    const text = readFileSync(join(DEPLOY, 'haproxy.cfg'), 'utf8')
      .replace(
        /^ {2}bind :(\d+)$/gm,
        (_, listed: string) => `  bind 127.0.0.1:${listed === '8000' ? port : others.pop()}`,
      )
      .replace(/"\$\{ROOMCAST_(\d)\}:(\d+)"/g, (_, which: string, listed: string) => {
        const broker = brokers[Number(which) - 1] as TestBroker
        const target = { 8000: broker.port, 3001: broker.codingAssistantPort, 3000: broker.geminiSessionsPort }[listed]
        return `127.0.0.1:${target} port ${broker.opsPort}`
      })
    this.config = join(this.folder, 'haproxy.cfg')
    writeFileSync(this.config, text)
  }

  async run(): Promise<void> {
    this.process = spawn('haproxy', ['-db', '-f', this.config], { stdio: ['ignore', 'ignore', 'ignore'] })
    await eventually(async () => {
      const answer = await fetch(`http://127.0.0.1:${this.port}/nothing`).catch(() => undefined)
      return answer?.status === 404
    })
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.process?.once('exit', resolve))
    this.process?.kill('SIGKILL')
    await gone
    rmSync(this.folder, { recursive: true, force: true })
  }
}

t.test(
  'two brokers behind HAProxy: each is drained and replaced under load, and nobody misses anything',
  {
    skip:
      HAPROXY && process.platform === 'linux' ? false : "haproxy is not on PATH (Debian's package haproxy, on Linux)",
  },
  async (t) => {
    const nats = await TestNats.start()
    t.teardown(() => nats.stop())
    // One has workers: the balancer cannot tell.
    const brokers = [
      await TestBroker.start({ NATS_URL: nats.url, DRAIN_MS: 1_000, WORKERS: 2 }),
      await TestBroker.start({ NATS_URL: nats.url, DRAIN_MS: 1_000 }),
    ] as const
    const haproxy = new HAProxy(await freePort(), brokers, [await freePort(), await freePort()])
    t.teardown(async () => {
      await haproxy.stop()
      for (const broker of brokers) await broker.stop()
    })
    await haproxy.run()
    const clients = await Crowd.gather(t, haproxy.port, { raw: 20, ofEachTransport: 6, addresses: true })
    const publisher = new Publisher(nats, 100, eventOf)
    await clients.getMore(20)
    const connections = await Promise.all(brokers.map((broker) => broker.metric('connections')))
    t.ok(
      connections.every((count) => count > 0),
      `both have clients: ${connections}`,
    )
    await eventually(() => clients.socketIo.slice(-6).every(({ transport }) => transport === 'websocket'))
    for (const broker of brokers) {
      t.equal(await broker.kill('SIGTERM'), 0)
      await clients.getMore(20)
      await broker.run()
      await eventually(async () => (await broker.ops('/readyz')).status === 200)
      await clients.getMore(20)
    }
    await clients.hasAll(t, await publisher.stop())
    t.same(
      upTo(2).map((i) => brokers[i]?.log.includes('"level":50')),
      [false, false],
    )
  },
)
