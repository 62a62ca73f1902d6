import { JSONCodec } from 'nats'
import t, { type Test } from 'tap'
import { TestBroker } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { ask, connect as open, join, nth, publish, someone } from '../support/gemini.ts'
import { TestNats } from '../support/nats.ts'
import type { SocketIoClient } from '../support/socketio-client.ts'

const codec = JSONCodec()
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

async function setUp(t: Test, env: Record<string, string | number> = {}) {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const start = async (more: Record<string, string | number> = {}) => {
    const broker = await TestBroker.start({ NATS_URL: nats.url, LOG_RING_EVENTS: 16, ...env, ...more })
    t.teardown(() => broker.stop())
    return broker
  }
  return { nats, start, broker: await start() }
}

async function member(t: Test, broker: TestBroker, session: string): Promise<SocketIoClient> {
  const client = await open(broker)
  t.teardown(() => client.close())
  await join(client, session)
  return client
}

const historyOf = (client: SocketIoClient) => ask(client, 'chat:history', 'chat:get-history')
const texts = ({ history }: { history: { content: string }[] }) => history.map(({ content }) => content)

/** Events of all kinds around and between what was said in a session. */
async function fill(nats: TestNats, sessions: readonly string[], turns: number, noise = 5): Promise<void> {
  const js = await nats.jetstream()
  const acks: Promise<unknown>[] = []
  const send = (subject: string, data: object) => acks.push(js.publish(`events.${subject}`, codec.encode({ data })))
  for (const n of upTo(turns)) {
    for (const sessionId of sessions) {
      send('gemini-sessions.chat:message', { content: `question ${n}`, sessionId })
      for (const i of upTo(noise)) send('gemini-sessions.gemini:content', { text: `${i}`, sessionId })
      send('gemini-sessions.gemini:done', { fullResponse: `answer ${n}`, sessionId })
      send('game-djinn.game_added', { n })
    }
    if (acks.length > 2_000) await Promise.all(acks.splice(0))
  }
  await Promise.all(acks)
}

const said = (turns: number, from = 0) =>
  upTo(turns)
    .slice(from)
    .flatMap((n) => [`question ${n}`, `answer ${n}`])

t.test('history is right with what is far older than the ring, on a broker that was not there', async (t) => {
  const { nats, start, broker } = await setUp(t)
  const sessions = upTo(5).map((n) => `s${n}`)
  await fill(nats, sessions, 250)
  const late = await start()
  for (const at of [broker, late]) {
    for (const session of sessions) {
      const client = await member(t, at, session)
      const answer = await historyOf(client)
      t.same(texts(answer), said(250))
      t.equal(answer.truncated, undefined)
    }
  }
  const client = await member(t, late, 's0')
  await client.ask('chat:clear')
  t.same(texts(await historyOf(client)), [])
  t.same(texts(await historyOf(await member(t, broker, 's0'))), [], 'cleared on all nodes')
  t.same(texts(await historyOf(await member(t, broker, 's1'))), said(250), 'and only there')
  await publish(nats, 'chat:message', { content: 'anew', sessionId: 's0' })
  await fill(nats, ['s1'], 100)
  for (const at of [broker, late]) t.same(texts(await historyOf(await member(t, at, 's0'))), ['anew'])
  t.same(texts(await historyOf(await member(t, broker, 's1'))), [...said(250), ...said(100)])
})

t.test('many who ask at once get it all', async (t) => {
  const { nats, broker } = await setUp(t)
  await fill(nats, ['s0', 's1'], 500)
  const clients = await Promise.all(upTo(60).map((i) => member(t, broker, `s${i % 2}`)))
  for (const answer of await Promise.all(clients.map(historyOf))) t.same(texts(answer), said(500))
})

t.test('it looks back so far, and says when that was not all', async (t) => {
  const { nats, broker } = await setUp(t, { LOOK_BACK_EVENTS: 1_000 })
  await fill(nats, ['s0'], 150, 150)
  const client = await member(t, broker, 's0')
  const answer = await historyOf(client)
  t.equal(answer.truncated, true)
  const found = texts(answer)
  t.ok(found.length > 2 && found.length < 300, `${found.length}`)
  t.same(found, said(150).slice(-found.length))
  await client.ask('chat:clear')
  await publish(nats, 'chat:message', { content: 'anew', sessionId: 's0' })
  t.same([texts(await historyOf(client)), (await historyOf(client)).truncated], [['anew'], undefined])
})

t.test('an answer is bounded: the newest of a very long conversation', async (t) => {
  const { nats, broker } = await setUp(t)
  for (const n of upTo(60))
    await publish(nats, 'chat:message', { content: `${n}${'x'.repeat(100_000)}`, sessionId: 's0' })
  const answer = await historyOf(await member(t, broker, 's0'))
  t.equal(answer.truncated, true)
  t.same(
    texts(answer).map((content) => Number.parseInt(content, 10)),
    upTo(60).slice(-answer.history.length),
  )
  t.ok(answer.history.length > 30 && answer.history.length < 45, `${answer.history.length}`)
})

t.test('what the stream no longer has is in no history', async (t) => {
  const { nats, broker } = await setUp(t)
  await fill(nats, ['s0'], 10)
  const client = await member(t, broker, 's0')
  t.same(texts(await historyOf(client)), said(10))
  await (await (await nats.client()).jetstreamManager()).streams.purge('ROOMCAST_EVENTS')
  t.same(texts(await historyOf(client)), [])
  await publish(nats, 'chat:message', { content: 'anew', sessionId: 's0' })
  await eventually(async () => texts(await historyOf(client)).length === 1)
})

t.test('while NATS is away, asking says so; afterwards it answers', async (t) => {
  const { nats, broker } = await setUp(t)
  await fill(nats, ['s0'], 3)
  const client = await member(t, broker, 's0')
  await nats.kill()
  await eventually(async () => (await broker.ops('/readyz')).status === 503)
  t.match(await ask(client, 'error', 'chat:get-history'), { code: 'SERVICE_UNAVAILABLE', event: 'chat:get-history' })
  await nats.run()
  await eventually(async () => (await broker.ops('/readyz')).status === 200)
  await eventually(async () => {
    const from = client.arrivals.length
    client.socket.emit('chat:get-history')
    await client.until(() => client.arrivals.length > from)
    return client.of('chat:history').length > 0
  })
  t.same(texts(client.of('chat:history')[0]?.[0]), said(3))
})

t.test('on the embedded source: sessions, chat, history, monitoring', async (t) => {
  const broker = await TestBroker.start()
  t.teardown(() => broker.stop())
  const session = someone('session')
  const client = await member(t, broker, session)
  const admin = await open(broker, { claims: { roles: ['admin'] } })
  t.teardown(() => admin.close())
  const stranger = await open(broker, { claims: {} })
  t.teardown(() => stranger.close())
  t.match(await ask(stranger, 'error', 'join-session', { sessionId: session }), { message: 'Session not found' })
  await admin.ask('monitoring:subscribe')
  t.match(await ask(client, 'gemini:error', 'chat:message', { content: 'hello' }), { code: 'SERVICE_UNAVAILABLE' })
  await broker.publish('gemini-sessions', 'gemini:content', {
    data: { text: 'hi', accumulated: 'hi', sessionId: session },
  })
  await broker.publish('gemini-sessions', 'gemini:done', { data: { fullResponse: 'hi', sessionId: session } })
  t.match(await nth(client, 'gemini:done'), { fullResponse: 'hi' })
  t.same(texts(await historyOf(client)), ['hello', 'hi'])
  await admin.until(() => admin.of('monitoring:event').some(([{ data }]) => data.event === 'chat:get-history'))
  t.equal((await ask(admin, 'monitoring:stats', 'monitoring:get-stats')).byType.gemini, 2)
  const { events } = await ask(admin, 'monitoring:events', 'monitoring:get-events', { sessionId: session })
  t.same(
    events.map(({ data }: { data: { event: string } }) => data.event),
    ['join-session', 'join-session', 'chat:message', 'gemini:content', 'gemini:done', 'chat:get-history'],
  )
  await client.ask('chat:clear')
  t.same(texts(await historyOf(client)), [])
})
