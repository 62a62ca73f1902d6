import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { JSONCodec } from 'nats'
import t, { type Test } from 'tap'
import { Balancer } from '../support/balancer.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, type SocketIoOptions, TRANSPORTS } from '../support/socketio-client.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-ask-'))
const CONTRACT = join(folder, 'survey.mjs')
writeFileSync(
  CONTRACT,
  `import { defineContract, Type } from 'roomcast'
export default defineContract({
  app: 'survey',
  endpoints: [{ transport: 'socketio', namespace: '/survey' }, { transport: 'socketio', namespace: '/second' }, { transport: 'websocket', path: '/survey' }],
  events: { noted: {} },
  commands: { start: { action: { use: 'forward', failed: ({ code }) => ({ type: 'failed', data: code }) } } },
  clientRequests: { confirm: { schema: Type.Object({ text: Type.String() }) }, anything: {} },
})`,
)

const codec = JSONCodec()
const nats = await TestNats.start()
const env = { NATS_URL: nats.url, CONTRACTS: CONTRACT, COMMAND_TIMEOUT_MS: 10_000 }
const [one, two] = [await TestBroker.start(env), await TestBroker.start(env)]
const nc = await nats.client()
t.teardown(async () => {
  await one.stop()
  await two.stop()
  await nats.stop()
  rmSync(folder, { recursive: true })
})

interface Reply {
  readonly ok: boolean
  // biome-ignore lint/suspicious/noExplicitAny: what clients answer.
  readonly data?: any[]
  readonly error?: { readonly code: string; readonly message: string }
}

async function request(body: unknown, timeout = 30_000): Promise<Reply> {
  return codec.decode((await nc.request('ask.survey', codec.encode(body), { timeout })).data) as Reply
}

const ask = (client: SocketIoClient, type: string, data?: unknown, timeout_ms?: number) =>
  request({ connection_id: client.socket.id, type, data, timeout_ms })

async function connect(
  t: Test,
  at: { port: number },
  options: SocketIoOptions = {},
  namespace = '/survey',
): Promise<SocketIoClient> {
  const client = await SocketIoClient.connect(`http://127.0.0.1:${at.port}${namespace}`, {
    token: token('ann'),
    ...options,
  })
  t.teardown(() => client.close())
  return client
}

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  t.test(`a service asks the client whose command it got, and gets what it acknowledges (${name})`, async (t) => {
    const service = nc.subscribe('commands.survey.start', {
      callback: (_, message) => {
        const { connection_id, data } = message.json<{ connection_id: string; data: { n: number } }>()
        message.respond(codec.encode({ ok: true }))
        void request({ connection_id, type: 'confirm', data: { text: `Sure of ${data.n}?` } }).then((reply) =>
          replies.push([data.n, reply]),
        )
      },
    })
    const replies: [n: number, reply: Reply][] = []
    t.teardown(() => service.unsubscribe())
    await nc.flush()
    const clients = await Promise.all([one, two].map((at) => connect(t, at, { transports })))
    for (const [i, { socket }] of clients.entries()) {
      socket.on('confirm', (question: { text: string }, answer: (...values: unknown[]) => void) =>
        setTimeout(() => answer('yes', { i, question }), (i * 7) % 5),
      )
    }
    // Whichever broker takes a question, the one that has the client asks it; many at once are not mixed up.
    for (let n = 0; n < 20; n++) clients[n % 2]?.socket.emit('start', { n })
    await eventually(() => replies.length === 20)
    replies.sort(([a], [b]) => a - b)
    t.same(
      replies,
      Array.from({ length: 20 }, (_, n) => [
        n,
        { ok: true, data: ['yes', { i: n % 2, question: { text: `Sure of ${n}?` } }] },
      ]),
    )
  })

  t.test(`no values, binary ones, and no data (${name})`, async (t) => {
    const client = await connect(t, two, { transports })
    const answers: unknown[][] = [[], [null, 0, ''], [Buffer.from([1, 2]), { deep: [Buffer.from([3])] }]]
    const asked: unknown[] = []
    client.socket.on('anything', (...args: unknown[]) => {
      const answer = args.pop() as (...values: unknown[]) => void
      asked.push(args)
      answer(...(answers[asked.length - 1] as unknown[]))
    })
    for (let i = 0; i < 3; i++)
      t.same((await ask(client, 'anything', i === 0 ? undefined : i)).data, JSON.parse(JSON.stringify(answers[i])))
    t.same(asked, [[], [1], [2]])
  })

  t.test(`no answer in time is TIMEOUT, a late or double or unasked one is nothing (${name})`, async (t) => {
    const client = await connect(t, one, { transports })
    const late: ((value: string) => void)[] = []
    client.socket.on('anything', (_: unknown, answer: (value: string) => void) => late.push(answer))
    t.match(await ask(client, 'anything', 1, 50), { ok: false, error: { code: 'TIMEOUT', message: String } })
    await eventually(() => late.length === 1)
    late[0]?.('too late')
    const second = ask(client, 'anything', 2)
    await eventually(() => late.length === 2)
    const { engine } = client.socket.io as unknown as { engine: { write(packet: string): void } }
    for (const packet of ['43/survey,0["again"]', '43/survey,77["unasked"]', '43/survey,["without an id"]'])
      engine.write(packet.slice(1))
    late[1]?.('in time')
    t.same(await second, { ok: true, data: ['in time'] })
    engine.write('3/survey,1["again"]')
    client.socket.off('anything').on('anything', (_: unknown, answer: (value: string) => void) => answer('still here'))
    t.same(await ask(client, 'anything', 3), { ok: true, data: ['still here'] })
    t.equal(client.connects.length, 1)
  })

  t.test(`who leaves while asked, or was never there, is NOT_CONNECTED (${name})`, async (t) => {
    const client = await connect(t, one, { transports })
    const id = client.socket.id
    let asked = 0
    client.socket.on('anything', () => asked++)
    const open = [ask(client, 'anything'), ask(client, 'anything'), ask(client, 'anything')]
    await eventually(() => asked === 3)
    client.close()
    for (const reply of await Promise.all(open))
      t.match(reply, { ok: false, error: { code: 'NOT_CONNECTED', message: /ended/ } })
    for (const reply of await Promise.all(
      [id, 'nobody', '', 'x'.repeat(5_000)].map((connection_id) => request({ connection_id, type: 'anything' })),
    ))
      t.match(reply, { ok: false, error: { code: 'NOT_CONNECTED' } })
  })
}

t.test('each namespace of a connection is asked by its own id', async (t) => {
  const client = await connect(t, one)
  const second = client.socket.io.socket('/second', { auth: { token: token('ann') } })
  t.teardown(() => second.disconnect())
  await eventually(() => second.connected)
  client.socket.on('anything', (_: unknown, answer: (value: string) => void) => answer('survey'))
  second.on('anything', (_: unknown, answer: (value: string) => void) => answer('second'))
  t.same(
    await Promise.all(
      [client.socket.id, second.id].map((connection_id) => request({ connection_id, type: 'anything', data: 1 })),
    ),
    [
      { ok: true, data: ['survey'] },
      { ok: true, data: ['second'] },
    ],
  )
})

t.test('a question that the contract does not have, or that is none, is refused by name', async (t) => {
  const client = await connect(t, one)
  const connection_id = client.socket.id
  for (const [code, body] of [
    ['UNKNOWN_TYPE', { connection_id, type: 'noted' }],
    ['UNKNOWN_TYPE', { connection_id, type: 'toString' }],
    ['INVALID_MESSAGE', { connection_id, type: 'confirm' }],
    ['INVALID_MESSAGE', { connection_id, type: 'confirm', data: { text: 5 } }],
    ['INVALID_MESSAGE', { connection_id, type: 5 }],
    ['INVALID_MESSAGE', { type: 'anything' }],
    ['INVALID_MESSAGE', ['anything']],
    ...[0, -1, 60_001, '5', null].map(
      (timeout_ms) => ['INVALID_MESSAGE', { connection_id, type: 'anything', timeout_ms }] as const,
    ),
  ] as const)
    t.match(await request(body), { ok: false, error: { code, message: String } }, JSON.stringify(body))
  const reply = await nc.request('ask.survey', Buffer.from('no JSON'), { timeout: 30_000 })
  t.match(codec.decode(reply.data), { ok: false, error: { code: 'INVALID_MESSAGE' } })
  t.equal(client.arrivals.length, 0)
  await t.rejects(
    nc.request('ask.swe-agent', codec.encode({}), { timeout: 5_000 }),
    { code: '503' },
    'nobody answers for a contract without client requests',
  )
})

t.test(
  'while a new contract is rolled out, a broker that has the old one refused what the client could answer',
  async (t) => {
    const older = join(folder, 'older.mjs')
    writeFileSync(older, readFileSync(CONTRACT, 'utf8').replace(/confirm: .* anything/, 'anything'))
    const old = await TestBroker.start({ ...env, CONTRACTS: older })
    t.teardown(() => old.stop())
    const client = await connect(t, one)
    client.socket.on('confirm', (_: unknown, answer: (value: string) => void) => answer('yes'))
    for (let n = 0; n < 30; n++) t.match(await ask(client, 'confirm', { text: `${n}` }), { ok: true, data: ['yes'] })
    const other = await connect(t, old)
    for (let n = 0; n < 5; n++)
      t.match(await ask(other, 'confirm', { text: `${n}` }), { ok: false, error: { code: 'UNKNOWN_TYPE' } })
  },
)

t.test('what a client has to answer is bounded, and so is its answer', async (t) => {
  const client = await connect(t, two)
  const waiting: (() => void)[] = []
  client.socket.on('anything', (_: unknown, answer: () => void) => waiting.push(answer))
  const open = Array.from({ length: 64 }, (_, n) => ask(client, 'anything', n))
  await eventually(() => waiting.length === 64)
  t.match(await ask(client, 'anything', 64), { ok: false, error: { code: 'RATE_LIMITED' } })
  for (const answer of waiting) answer()
  for (const reply of await Promise.all(open)) t.same(reply, { ok: true, data: [] })
  client.socket
    .off('anything')
    .on('anything', (_: unknown, answer: (value: string) => void) => answer('x'.repeat(1_000_000)))
  t.match(await ask(client, 'anything', 0), { ok: false, error: { code: 'PAYLOAD_TOO_LARGE' } })
})

t.test('a connection keeps its id where it recovers on another broker, and is asked there', async (t) => {
  const balancer = await Balancer.start(one.port)
  t.teardown(() => balancer.stop())
  const client = await connect(t, balancer)
  client.socket.on('anything', (_: unknown, answer: (value: string) => void) => answer('here'))
  const { id } = client.socket
  t.same(await ask(client, 'anything', 1), { ok: true, data: ['here'] })
  balancer.direct(two.port)
  ;(client.socket.io.engine as unknown as { close(): void }).close()
  await client.connected(2)
  t.equal(client.socket.id, id)
  for (let n = 0; n < 10; n++) t.same(await ask(client, 'anything', n), { ok: true, data: ['here'] })
})

t.test(
  "a client that made up a private id took another's connection id, and answered its questions: nobody can choose an id",
  async (t) => {
    const victim = await connect(t, one)
    victim.socket.on('anything', (_: unknown, answer: (value: string) => void) => answer('victim'))
    const id = victim.socket.id as string
    const { _pid: own } = (await connect(t, one, { token: token('eve') })).socket as unknown as { _pid: string }
    const { _pid: theirs } = victim.socket as unknown as { _pid: string }
    t.notOk(theirs.includes(id), 'a connection id, which others may know, tells nothing of the private one')
    for (const pid of [
      Buffer.from(id).toString('hex').slice(0, 32).padEnd(32, '0') + own.slice(32),
      theirs.slice(0, 32) + own.slice(32),
      id.slice(0, 20).padEnd(32, 'f') + own.slice(32),
    ]) {
      const eve = await connect(t, one, { token: token('eve'), auth: { pid } })
      eve.socket.on('anything', (_: unknown, answer: (value: string) => void) => answer('eve'))
      t.not(eve.socket.id, id)
      t.same(await ask(victim, 'anything', 1), { ok: true, data: ['victim'] })
    }
  },
)

t.test('a broker that is killed leaves no question without an end', async (t) => {
  const client = await connect(t, two, { options: { reconnection: false } })
  let asked = 0
  client.socket.on('anything', () => asked++)
  // Some were taken by the other broker, which tells; those that this one took itself end by the service's own timeout.
  const ends = Promise.all(
    [1, 2, 3, 4].map((n) =>
      request({ connection_id: client.socket.id, type: 'anything', data: n, timeout_ms: 1_000 }, 4_000).catch(
        (error: { code: string }) => error.code,
      ),
    ),
  )
  await eventually(() => asked === 4)
  await two.kill()
  for (const end of await ends)
    t.ok(
      end === 'TIMEOUT' || (typeof end === 'object' && (end as Reply).error?.code === 'NOT_CONNECTED'),
      JSON.stringify(end),
    )
  await two.run()
})
