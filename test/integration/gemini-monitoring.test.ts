import t, { type Test } from 'tap'
import { Balancer } from '../support/balancer.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import {
  addressOf,
  ask,
  connect as open,
  join,
  nth,
  type Options,
  publish as publishTo,
  serve,
  someone,
} from '../support/gemini.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, TRANSPORTS } from '../support/socketio-client.ts'

const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url, MAX_BACKPRESSURE_BYTES: 65_536 })
const other = await TestBroker.start({ NATS_URL: nats.url, LOG_RING_EVENTS: 16 })
t.teardown(async () => {
  await broker.stop()
  await other.stop()
  await nats.stop()
})
const publish = (type: string, data: object, rest: object = {}) => publishTo(nats, type, data, rest)
const PAD = 'x'.repeat(1_000)
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

async function connect(t: Test, at: { geminiSessionsPort: number }, options: Options = {}): Promise<SocketIoClient> {
  const client = await open(at, options)
  t.teardown(() => client.close())
  return client
}

async function admin(t: Test, at: { geminiSessionsPort: number }, options: Options = {}): Promise<SocketIoClient> {
  return connect(t, at, { user: someone('admin'), claims: { roles: ['admin'] }, ...options })
}

async function monitor(t: Test, at: { geminiSessionsPort: number }, options: Options = {}): Promise<SocketIoClient> {
  const client = await admin(t, at, options)
  t.same(await client.ask('monitoring:subscribe'), { status: 'success' })
  return client
}

/** What a monitor saw of one session. */
const seen = (client: SocketIoClient, sessionId: string) =>
  client
    .of('monitoring:event')
    .map(([activity]) => activity)
    .filter((activity) => activity.sessionId === sessionId)

t.test('monitoring is for admins', async (t) => {
  const client = await connect(t, broker, { claims: { roles: ['engineer'], session_access: ['*'] } })
  for (const [command, data] of [
    ['monitoring:subscribe'],
    ['monitoring:unsubscribe'],
    ['monitoring:get-events', {}],
    ['monitoring:get-stats', {}],
    ['monitoring:broadcast', { message: 'hello' }],
  ] as const) {
    t.match(await ask(client, 'error', command, data), { message: 'Access denied', event: command })
    t.match(await client.ask(command, data), { status: 'error', error_message: 'Access denied' })
  }
  await join(client, 'watched')
  await publish('gemini:content', { text: 'x', sessionId: 'watched' })
  await nth(client, 'gemini:content')
  t.same(client.of('monitoring:event'), [])
})

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  t.test(`by ${name}: a monitor sees every command and event of the application, on all nodes, in order`, async (t) => {
    const [session, user] = [someone('session'), someone('user')]
    const services = [
      await serve(nats, 'chat:message', () => ({ ok: true })),
      await serve(nats, 'tool:*', () => ({ ok: true })),
      await serve(nats, 'tool:>', () => ({ ok: true })),
    ]
    t.teardown(() =>
      services.forEach((service) => {
        service.stop()
      }),
    )
    const monitors = await Promise.all([broker, other].map((at) => monitor(t, at, { transports })))
    const client = await connect(t, other, { user, transports })
    // Commands are stored without anybody waiting for it: what others publish next may come before.
    const stored = (event: string) =>
      Promise.all(
        monitors.map((watcher) => watcher.until(() => seen(watcher, session).some(({ data }) => data.event === event))),
      )
    await join(client, session)
    t.same(await client.ask('chat:message', { content: 'What is there?' }), { status: 'success' })
    t.same(await client.ask('chat:typing', { typing: true }), { status: 'success' })
    await stored('chat:typing')
    await publish('gemini:content', { text: 'A file.', accumulated: 'A file.' }, { rooms: [`session:${session}`] })
    await publish('gemini:tool-request', { callId: 'c', tool: 'readFile', args: {}, sessionId: session })
    await client.ask('tool:approve', { callId: 'c' })
    await stored('tool:approve')
    await publish('gemini:done', { fullResponse: 'A file.', sessionId: session, userId: user }, { user_id: user })
    await publish('system:broadcast', { message: session, from: 'ops' })
    await client.ask('chat:clear')
    for (const watcher of monitors) {
      await watcher.until(() => seen(watcher, session).some(({ data }) => data.event === 'chat:clear'))
      const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
      const expected: [string, string | null, Record<string, unknown>][] = [
        ['session', user, { event: 'join-session', sessionId: session }],
        ['chat', user, { event: 'chat:message', userMessage: 'What is there?' }],
        ['chat', user, { event: 'chat:typing', typing: true }],
        ['gemini', null, { event: 'gemini:content', text: 'A file.', accumulated: 'A file.' }],
        ['gemini', null, { event: 'gemini:tool-request', callId: 'c', tool: 'readFile', args: {}, sessionId: session }],
        ['tool', user, { event: 'tool:approve', callId: 'c' }],
        ['gemini', user, { event: 'gemini:done', fullResponse: 'A file.', sessionId: session, userId: user }],
        ['chat', user, { event: 'chat:clear' }],
      ]
      t.same(
        seen(watcher, session).map(({ timestamp, ...activity }) => [iso.test(timestamp), activity]),
        expected.map(([type, userId, data]) => [true, { type, userId, sessionId: session, data }]),
      )
      const broadcast = watcher.of('monitoring:event').find(([{ data }]) => data.message === session)?.[0]
      t.match(broadcast, { type: 'system', userId: 'ops', sessionId: null, data: { event: 'system:broadcast' } })
      t.equal(watcher.of('gemini:content').length, 0, 'a monitor is in no session')
    }
    const [first] = monitors
    t.same(await first?.ask('monitoring:unsubscribe'), { status: 'success' })
    const before = first?.of('monitoring:event').length
    await publish('gemini:content', { text: 'unseen', sessionId: session })
    await publish('system:broadcast', { message: `${session} ends` })
    await first?.until(() => first.of('system:broadcast').some(([{ message }]) => message === `${session} ends`))
    t.equal(first?.of('monitoring:event').length, before, 'no more after unsubscribing')
    t.same(await first?.ask('monitoring:subscribe'), { status: 'success' })
    await publish('gemini:content', { text: 'seen again', sessionId: session })
    await first?.until(() => first.of('monitoring:event').length === (before ?? 0) + 1)
  })

  t.test(`by ${name}: a monitor that is in the session too gets each event in both forms, in one order`, async (t) => {
    const session = someone('session')
    const client = await monitor(t, broker, { transports })
    await join(client, session)
    for (const n of upTo(300)) await publish('gemini:content', { text: `${n}`, sessionId: session })
    await client.until(() => client.of('gemini:content').length === 300 && seen(client, session).length === 301)
    t.same(
      client.of('gemini:content').map(([{ text }]) => Number(text)),
      upTo(300),
    )
    t.same(
      seen(client, session)
        .slice(1)
        .map(({ data }) => Number(data.text)),
      upTo(300),
    )
    const positions = client.arrivals
      .filter(({ args }) => typeof args[args.length - 1] === 'string')
      .map(({ args }) => Number(args[args.length - 1].split('-').pop()))
    t.same(
      positions,
      [...positions].sort((a, b) => a - b),
    )
  })
}

t.test('a monitor that stalls gets everything later, in both forms, once and in order', async (t) => {
  const session = someone('session')
  const client = await monitor(t, broker, { transports: ['websocket'] })
  const healthy = await monitor(t, broker, { transports: ['websocket'] })
  await join(client, session)
  client.pause()
  let count = 0
  while (!(await broker.areBehind(1))) {
    if (count > 60_000) throw new Error('it never fell behind')
    const js = await nats.jetstream()
    const acks: Promise<unknown>[] = []
    for (let i = 0; i < 3_000; i++)
      acks.push(
        js.publish(
          'events.gemini-sessions.gemini:content',
          Buffer.from(JSON.stringify({ data: { text: `${count++}`, accumulated: PAD, sessionId: session } })),
        ),
      )
    await Promise.all(acks)
  }
  await healthy.until(() => seen(healthy, session).length === count + 1)
  client.resume()
  await client.until(() => client.of('gemini:content').length >= count && seen(client, session).length >= count + 1)
  t.same(
    client.of('gemini:content').map(([{ text }]) => Number(text)),
    upTo(count),
  )
  t.same(
    seen(client, session)
      .slice(1)
      .map(({ data }) => Number(data.text)),
    upTo(count),
  )
  t.equal(client.connects.length, 1)
})

t.test('a monitor whose broker is killed goes on where it was, on another one', async (t) => {
  const doomed = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(() => doomed.stop())
  const balancer = await Balancer.start(doomed.geminiSessionsPort)
  t.teardown(() => balancer.stop())
  const session = someone('session')
  const client = await monitor(t, { geminiSessionsPort: balancer.port }, { transports: ['websocket'] })
  await publish('gemini:content', { text: '0', sessionId: session })
  await client.until(() => seen(client, session).length === 1)
  balancer.direct(other.geminiSessionsPort)
  await doomed.kill()
  for (const n of [1, 2, 3]) await publish('gemini:content', { text: `${n}`, sessionId: session })
  await client.connected(2)
  await publish('gemini:content', { text: '4', sessionId: session })
  await client.until(() => seen(client, session).length >= 5)
  t.equal(client.connects[1]?.recovered, true)
  t.same(
    seen(client, session).map(({ data }) => Number(data.text)),
    upTo(5),
  )
})

t.test('what happened, from the stored log: the newest, oldest first, of a user or a session', async (t) => {
  const [session, elsewhere, ann, bob] = [someone('session'), someone('session'), someone('ann'), someone('bob')]
  const [one, two] = [await connect(t, broker, { user: ann }), await connect(t, other, { user: bob })]
  await join(one, session)
  await join(two, elsewhere)
  for (const n of upTo(130)) {
    await one.ask('chat:typing', { typing: n % 2 === 0 })
    if (n % 10 === 0) await two.ask('chat:typing', { typing: false })
    await publish('gemini:content', { text: `${n}`, sessionId: n % 2 === 0 ? session : elsewhere })
  }
  // Commands are stored without anybody waiting for it.
  const watcher = await admin(t, broker)
  await eventually(
    async () =>
      (await ask(watcher, 'monitoring:events', 'monitoring:get-events', { limit: 10_000 })).events.filter(
        ({ userId }: { userId: string }) => userId === ann || userId === bob,
      ).length === 145,
  )
  await publish('gemini:content', { text: '130', sessionId: elsewhere })
  for (const at of [broker, other]) {
    const client = await admin(t, at)
    const events = async (query?: object) =>
      (await ask(client, 'monitoring:events', 'monitoring:get-events', ...(query ? [query] : []))).events
    const all = await events()
    t.equal(all.length, 100)
    t.same(all[99].data, { event: 'gemini:content', text: '130', sessionId: elsewhere })
    const texts = all
      .filter(({ type }: { type: string }) => type === 'gemini')
      .map(({ data }: { data: { text: string } }) => Number(data.text))
    t.same(
      texts,
      [...texts].sort((a, b) => a - b),
      'oldest first',
    )
    t.same(await events({ limit: 3 }), all.slice(-3))
    t.same((await events({ userId: bob })).length, 14)
    t.equal((await events({ userId: ann, limit: 1_000 })).length, 131)
    const ofSession = await events({ sessionId: session, limit: 1_000 })
    t.equal(ofSession.length, 1 + 130 + 65)
    t.same([ofSession[0].type, ofSession[0].data], ['session', { event: 'join-session', sessionId: session }])
    t.same(await events({ userId: bob, sessionId: session }), [])
    t.same(await events({ userId: 'nobody' }), [])
    for (const query of [{ limit: 0 }, { limit: 'many' }, { limit: 1.5 }, { userId: 5 }])
      t.match(await ask(client, 'error', 'monitoring:get-events', query), { message: 'Invalid message format' })
  }
})

t.test('statistics, of everybody and of one user', async (t) => {
  const statsNats = await TestNats.start()
  const [first, second] = [
    await TestBroker.start({ NATS_URL: statsNats.url }),
    await TestBroker.start({ NATS_URL: statsNats.url, LOG_RING_EVENTS: 16 }),
  ]
  t.teardown(async () => {
    await first.stop()
    await second.stop()
    await statsNats.stop()
  })
  const [ann, bob] = [await connect(t, first, { user: 'ann' }), await connect(t, second, { user: 'bob' })]
  const watchers = [await admin(t, first), await admin(t, second)]
  const stats = (client: SocketIoClient, query?: object) =>
    ask(client, 'monitoring:stats', 'monitoring:get-stats', ...(query ? [query] : []))
  for (const client of watchers) t.same(await stats(client), { totalEvents: 0, byType: {}, byUser: {}, toolUsage: {} })
  const services = [await serve(statsNats, '>', () => ({ ok: true, data: {} }))]
  t.teardown(() =>
    services.forEach((service) => {
      service.stop()
    }),
  )
  await join(ann, 's')
  await join(bob, 's')
  const execute = (name: string, more = {}) =>
    publishTo(statsNats, 'tool:execution-start', { name, callId: 'c', sessionId: 's', ...more })
  for (const name of ['readFile', 'readFile', '__proto__']) {
    await ann.ask('tool:execute', { name })
    await execute(name)
  }
  await bob.ask('chat:message', { content: 'hello' })
  await publishTo(statsNats, 'gemini:tool-request', {
    callId: 'c',
    tool: 'writeFile',
    args: {},
    sessionId: 's',
    userId: 'bob',
  })
  await bob.ask('tool:approve', { callId: 'c' })
  await execute('writeFile', { userId: 'bob' })
  await publishTo(statsNats, 'tool:execution-complete', { name: 'writeFile', callId: 'c', sessionId: 's' })
  await publishTo(statsNats, 'gemini:done', { fullResponse: 'x', sessionId: 's' })
  // Of another application, and of nobody's contract.
  await (await statsNats.jetstream()).publish('events.game-djinn.game_added', Buffer.from('{"data":{}}'))
  for (const client of watchers) {
    await eventually(async () => (await stats(client)).totalEvents >= 14)
    const all = await stats(client)
    t.same(all, {
      totalEvents: 14,
      byType: { session: 2, tool: 9, chat: 1, gemini: 2 },
      byUser: { ann: 4, bob: 5 },
      toolUsage: { readFile: 2, ['__proto__']: 1, writeFile: 1 },
    })
    t.same(await stats(client, { userId: 'bob' }), {
      totalEvents: 5,
      byType: { session: 1, chat: 1, gemini: 1, tool: 2 },
      byUser: { bob: 5 },
      toolUsage: { writeFile: 1 },
    })
    t.same(await stats(client, { userId: 'nobody' }), { totalEvents: 0, byType: {}, byUser: {}, toolUsage: {} })
  }
  await execute('readFile')
  // What is new is counted, on all nodes.
  for (const client of watchers) await eventually(async () => (await stats(client)).toolUsage.readFile === 3)
})

t.test('statistics with more names of tools than an answer holds are cut, and say so', async (t) => {
  const sessionId = someone('session')
  for (const n of upTo(60))
    await publish('tool:execution-start', { callId: 'c', name: `${n}${'n'.repeat(100_000)}`, sessionId })
  await publish('tool:execution-start', { callId: 'c', name: 'short', sessionId })
  const stats = await ask(await admin(t, broker), 'monitoring:stats', 'monitoring:get-stats')
  t.equal(stats.truncated, true)
  t.ok(stats.totalEvents >= 61 && stats.byType.tool >= 61, 'but everything is counted')
  t.equal(stats.toolUsage.short, 1)
  t.ok(JSON.stringify(stats).length < 4_200_000)
})

t.test("a client without a token of an admin's cannot see more than its sessions by asking for the room", async (t) => {
  const client = await connect(t, broker, { claims: { session_access: ['*'] } })
  t.match(await ask(client, 'error', 'join-session', { sessionId: 'x:monitoring' }), { message: 'Session not found' })
  const refused = new SocketIoClient(addressOf(broker), { token: token('x', { roles: 'admin' }) })
  t.teardown(() => refused.close())
  await eventually(() => refused.refusals.length > 0)
  t.equal(refused.refusals[0]?.message, 'Authentication failed')
})
