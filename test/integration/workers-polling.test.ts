import { StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { type TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { Publisher } from '../support/load.ts'
import { SocketIoClient, type SocketIoOptions } from '../support/socketio-client.ts'
import { startWorkers } from '../support/workers.ts'

const WORKERS = 3
const codec = StringCodec()
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

async function connect(
  t: Test,
  { port }: TestBroker,
  namespace: string,
  options: SocketIoOptions,
): Promise<SocketIoClient> {
  const client = await SocketIoClient.connect(`http://127.0.0.1:${port}${namespace}`, options)
  t.teardown(() => client.close())
  return client
}

const eventOf = (n: number) => ({
  subject: 'events.swe-agent.workflow.progress',
  body: { data: { workflow_id: 'w', n } },
})

t.test(
  'long-polling works whichever worker gets which request, and so does the change to WebSocket, under load',
  async (t) => {
    const { nats, broker } = await startWorkers(t, { WORKERS })
    const publisher = new Publisher(nats, 200, eventOf)
    await eventually(() => publisher.stored > 10)
    const polling = await Promise.all(
      upTo(10).map((i) => connect(t, broker, '/ws', { token: token(`polling-${i}`), transports: ['polling'] })),
    )
    const changing = await Promise.all(
      upTo(40).map((i) => connect(t, broker, '/ws', { token: token(`changing-${i}`, { project_access: ['p'] }) })),
    )
    const answers = await Promise.all(changing.map((client) => client.ask('subscribe', { room: 'project:p' })))
    t.same(new Set(answers.map(({ status }) => status)), new Set(['success']))
    await eventually(() => changing.every(({ transport }) => transport === 'websocket'))
    await eventually(() => [...polling, ...changing].every(({ numbers }) => numbers.length > 200))
    const count = await publisher.stop()
    const everyone = [...polling, ...changing]
    await eventually(() => everyone.every(({ numbers }) => numbers.at(-1) === count - 1))
    for (const client of everyone) {
      const first = client.numbers[0] as number
      t.same(client.numbers, upTo(count).slice(first), 'every event once, in order, from the first on')
      t.same(client.disconnects, [], 'on one connection')
    }
    await (await nats.jetstream()).publish(
      'events.swe-agent.pr.updated',
      codec.encode(JSON.stringify({ data: { pr_id: 'x', project_id: 'p' } })),
    )
    await eventually(() => changing.every((client) => client.of('pr.updated').length === 1))
    t.equal(await broker.metric('connections'), 50)
    t.equal(await broker.metric('connections_opened_total'), 50, 'a session that moves is no further connection')
  },
)

t.test(
  'a session that moves to another worker keeps its rooms, its places and its identity, and nobody sees it leave',
  async (t) => {
    const { nats, broker } = await startWorkers(t, { WORKERS })
    const project_access = ['p']
    const watcher = await connect(t, broker, '/portal', {
      token: token('watcher', { project_access }),
      transports: ['websocket'],
    })
    watcher.socket.emit('join_project', { project_name: 'p' })
    await eventually(() => watcher.of('joined_project').length === 1)
    const clients = await Promise.all(
      upTo(24).map(async (i) => {
        const client = new SocketIoClient(`http://127.0.0.1:${broker.port}/portal`, {
          token: token(`user-${i}`, { project_access }),
        })
        t.teardown(() => client.close())
        // As early as can be: while it polls.
        client.socket.emit('join_project', { project_name: 'p' })
        return client
      }),
    )
    await eventually(() =>
      clients.every((client) => client.of('joined_project').length === 1 && client.transport === 'websocket'),
    )
    await eventually(() => new Set(watcher.of('user_joined').map(([{ user_id }]) => user_id)).size === clients.length)
    await (await nats.jetstream()).publish(
      'events.orchestrator-portal.state_change',
      codec.encode(JSON.stringify({ data: { project_name: 'p', old_state: 'a', new_state: 'b' } })),
    )
    await eventually(() => clients.every((client) => client.of('state_change').length === 1))
    for (const client of clients) t.same([client.connects.length, client.disconnects], [1, []])
    t.equal(watcher.of('user_joined').length, clients.length)
    t.same(watcher.of('user_left'), [])
    for (const client of clients) client.close()
    await eventually(() => watcher.of('user_left').length === clients.length)
  },
)

t.test('a client that has yet to say who it is may move, too', async (t) => {
  const { broker } = await startWorkers(t, { WORKERS })
  const clients = await Promise.all(upTo(12).map(() => connect(t, broker, '/portal', { token: null })))
  await eventually(() => clients.every(({ transport }) => transport === 'websocket'))
  for (const [i, client] of clients.entries())
    client.socket.emit('authenticate', { token: token(`late-${i}`), user_id: `late-${i}` })
  await eventually(() => clients.every((client) => client.of('authenticated').length === 1))
})

t.test('a session that no worker has is unknown to all', async (t) => {
  const { broker } = await startWorkers(t, { WORKERS })
  for (const sid of ['1.nobody', '2.nobody', '3.nobody', '77.nobody', 'nobody', '../../1.nobody']) {
    const query = `EIO=4&transport=polling&sid=${encodeURIComponent(sid)}`
    for (const method of ['GET', 'POST']) {
      const answer = await fetch(`http://127.0.0.1:${broker.port}/socket.io/?${query}`, {
        method,
        ...(method === 'POST' ? { body: '2' } : undefined),
      })
      t.equal(answer.status, 400)
      t.same(await answer.json(), { code: 1, message: 'Session ID unknown' })
    }
  }
})

t.test('the answer to a forwarded command arrives, though its client changes over meanwhile', async (t) => {
  const { nats, broker } = await startWorkers(t, { WORKERS })
  const nc = await nats.client()
  nc.subscribe('commands.orchestrator-portal.command', {
    callback: (_, message) =>
      void setTimeout(
        () => message.respond(codec.encode(JSON.stringify({ ok: false, error: { code: 'NOPE', message: 'no' } }))),
        500,
      ),
  })
  const clients = upTo(12).map((i) => {
    const client = new SocketIoClient(`http://127.0.0.1:${broker.port}/chat/p`, {
      token: token(`user-${i}`, { project_access: ['p'] }),
    })
    t.teardown(() => client.close())
    client.socket.emit('send_message', { content: '/status', type: 'command' })
    return client
  })
  await eventually(() => clients.every((client) => client.transport === 'websocket'))
  await eventually(() => clients.every((client) => client.of('command_result').length === 1))
  for (const client of clients) t.match(client.of('command_result')[0]?.[0], { success: false, error: 'no' })
})
