import { isDeepStrictEqual } from 'node:util'
import { StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, seqOf } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, type SocketIoOptions, TRANSPORTS } from '../support/socketio-client.ts'
import { AGENT, EXAMPLES, OF_PROJECT, OTHERS, PROJECT, USER } from './swe-agent-events.ts'

const codec = StringCodec()
const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url })
const js = await nats.jetstream()
const http = `http://127.0.0.1:${broker.port}`
const address = `${http}/ws`
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

t.teardown(async () => {
  await broker.stop()
  await nats.stop()
})

async function publish(type: string, data: Record<string, unknown>, rest: Record<string, unknown> = {}): Promise<void> {
  await js.publish(`events.swe-agent.${type}`, codec.encode(JSON.stringify({ data, ...rest })))
}

let barriers = 0
/** Everything published before has arrived: an event to everybody has. */
async function barrier(...clients: SocketIoClient[]): Promise<void> {
  const barrier = `barrier-${barriers++}`
  await publish('agent.connected', { agent_id: barrier }, { rooms: ['global'] })
  for (const client of clients) await client.until(() => client.events.some(({ data }) => data.agent_id === barrier))
}

function withoutBarriers(client: SocketIoClient) {
  return client.events.filter(({ data }) => !String(data.agent_id).startsWith('barrier-'))
}

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  const scenario = (about: string, run: (t: Test) => Promise<void>) => t.test(`by ${name}: ${about}`, run)
  const connect = async (t: Test, options: SocketIoOptions = {}) => {
    const client = await SocketIoClient.connect(address, { transports, ...options })
    t.teardown(() => client.close())
    return client
  }
  const refused = async (t: Test, options: SocketIoOptions, place = address) => {
    const client = new SocketIoClient(place, { transports, ...options })
    t.teardown(() => client.close())
    await client.until(() => client.refusals.length > 0)
    t.notOk(client.socket.connected)
    t.notOk(client.socket.active, 'it does not come back by itself')
    return client.refusals[0] as Error & { data: { timestamp: string; data: Record<string, unknown> } }
  }

  scenario('connection_established comes first; the transport is the one asked for', async (t) => {
    const client = await connect(t, { token: token('ann') })
    await client.until(() => client.arrivals.length > 0)
    const { event, args } = client.arrivals[0] as SocketIoClient['arrivals'][0]
    t.equal(event, 'connection_established')
    const { timestamp, ...rest } = args[0]
    t.same(rest, {
      type: 'connection.established',
      data: { connection_id: client.socket.id, user_id: 'ann', protocol_version: '1.0' },
    })
    t.match(timestamp, ISO)
    t.match(args.slice(1), [/^[A-Za-z0-9]+-\d+$/], 'its position, so that a client that gets nothing else recovers')
    await eventually(() => client.transport === transports[transports.length - 1])
    t.same(client.connects, [{ id: client.socket.id, recovered: false }])
  })

  scenario('a token in auth or in the query', async (t) => {
    for (const options of [
      { token: token('bo') },
      { token: null, query: `?token=${token('bo')}` },
      { token: `Bearer ${token('bo')}` },
    ]) {
      const client = await connect(t, options)
      await client.until(() => client.arrivals.length > 0)
      t.equal(client.of('connection_established')[0]?.[0].data.user_id, 'bo')
    }
  })

  scenario("failed authentication is connect_error with the document's payload", async (t) => {
    const expired = token('cy', { exp: Math.floor(Date.now() / 1000) - 10 })
    const unsigned = `${Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')}.${Buffer.from(JSON.stringify({ sub: 'cy', exp: 9_999_999_999 })).toString('base64url')}.`
    const cases: [string, SocketIoOptions][] = [
      ['AUTH_MISSING', { token: null }],
      ['AUTH_MISSING', { token: '' }],
      ['AUTH_FAILED', { token: 'nonsense' }],
      ['AUTH_FAILED', { token: token('cy', {}, 'another secret than the one of this broker') }],
      ['AUTH_FAILED', { token: unsigned }],
      ['AUTH_FAILED', { token: expired }],
      ['AUTH_FAILED', { token: null, query: `?token=${expired}` }],
      ['AUTH_MISSING', { token: null, auth: { token: 7 } }],
    ]
    for (const [code, options] of cases) {
      const { message, data } = await refused(t, options)
      const { timestamp, ...rest } = data
      t.match(rest, {
        type: 'connection.error',
        data: { error_code: code, error_message: String, connection_id: null },
      })
      t.same(Object.keys(rest.data).sort(), ['connection_id', 'error_code', 'error_message'])
      t.match(timestamp, ISO)
      t.equal(message, rest.data.error_message)
    }
  })

  scenario('a namespace that no contract declares is invalid', async (t) => {
    t.equal((await refused(t, {}, `${http}/nowhere`)).message, 'Invalid namespace')
  })

  scenario('subscribe, unsubscribe and ping answer through the acknowledgement', async (t) => {
    const client = await connect(t, { token: token('dee', { project_access: [PROJECT] }) })
    const room = `project:${PROJECT}`
    t.same(await client.ask('ping', {}), { status: 'pong' })
    t.same(await client.ask('ping'), { status: 'pong' })
    t.same(await client.ask('subscribe', { room }), { status: 'success', room })
    t.same(await client.ask('subscribe', { room }), { status: 'success', room }, 'again')
    t.same(await client.ask('unsubscribe', { room }), { status: 'success', room })
    t.same(await client.ask('unsubscribe', { room }), { status: 'success', room }, 'again')
    t.match(await client.ask('unheard-of', {}), { status: 'error', error_code: 'UNKNOWN_TYPE' })
    client.socket.emit('subscribe', { room })
    t.same(await client.ask('ping', {}), { status: 'pong' }, 'without an acknowledgement there is no answer')
    t.same(
      client.arrivals.map(({ event }) => event),
      ['connection_established'],
    )
  })

  scenario('commands sent before the connection is there wait for it', async (t) => {
    const client = new SocketIoClient(address, { transports, token: token('dan', { project_access: ['p'] }) })
    t.teardown(() => client.close())
    t.same(await Promise.all([client.ask('subscribe', { room: 'project:p' }), client.ask('ping', {})]), [
      { status: 'success', room: 'project:p' },
      { status: 'pong' },
    ])
  })

  scenario('INVALID_ROOM: anything that is no room of the document', async (t) => {
    const client = await connect(t, { token: token('eve', { roles: ['admin'] }) })
    const ids = ['', ' ', 'a b', 'a.b', 'a:b', 'ä', '*', 'x'.repeat(129), '../x', 'a\n', "a'"]
    const rooms: unknown[] = [
      '',
      'nonsense',
      'project',
      'Project:x',
      ' global',
      'global ',
      'global:x',
      'team:x',
      5,
      null,
      { id: 'x' },
      ['global'],
      ...ids.flatMap((id) => [`project:${id}`, `user:${id}`, `agent:${id}`]),
    ]
    for (const room of rooms) {
      const answer = await client.ask('subscribe', { room })
      t.match(answer, { status: 'error', error_code: 'INVALID_ROOM', error_message: String }, JSON.stringify(room))
      t.same(answer.room, room)
      t.same(Object.keys(answer).sort(), ['error_code', 'error_message', 'room', 'status'])
      t.match(await client.ask('unsubscribe', { room }), { status: 'error', error_code: 'INVALID_ROOM' })
    }
    t.match(await client.ask('subscribe', {}), { status: 'error', error_code: 'INVALID_ROOM', room: null })
    t.match(await client.ask('subscribe'), { status: 'error', error_code: 'INVALID_ROOM', room: null })
    t.match(await client.ask('subscribe', 'global'), { status: 'error', error_code: 'INVALID_ROOM', room: null })
    const room = `project:${'x'.repeat(126)}_-`
    t.same(await client.ask('subscribe', { room }), { status: 'success', room })
  })

  scenario('ROOM_ACCESS_DENIED: projects, agents and users as the token says; an admin passes', async (t) => {
    const outcome = async (claims: Record<string, unknown>) => {
      const client = await connect(t, { token: token('fay', claims) })
      const answers = await Promise.all(
        ['project:mine', 'project:theirs', 'agent:a1', 'agent:a2', 'user:fay', 'user:gus', 'global'].map((room) =>
          client.ask('subscribe', { room }),
        ),
      )
      for (const { status, error_code } of answers)
        t.ok(status === 'success' || error_code === 'ROOM_ACCESS_DENIED', JSON.stringify(answers))
      client.close()
      return answers.filter(({ status }) => status === 'success').map(({ room }) => room)
    }
    t.same(await outcome({}), ['agent:a1', 'agent:a2', 'user:fay', 'global'])
    t.same(await outcome({ project_access: ['mine'], agent_access: ['a1'] }), [
      'project:mine',
      'agent:a1',
      'user:fay',
      'global',
    ])
    t.same(await outcome({ project_access: ['*'], agent_access: ['*'] }), [
      'project:mine',
      'project:theirs',
      'agent:a1',
      'agent:a2',
      'user:fay',
      'global',
    ])
    t.same(await outcome({ project_access: [], agent_access: [] }), ['user:fay', 'global'])
    t.same(await outcome({ roles: ['engineer'], agent_access: [] }), ['user:fay', 'global'])
    t.same(await outcome({ roles: ['admin'], agent_access: [] }), [
      'project:mine',
      'project:theirs',
      'agent:a1',
      'agent:a2',
      'user:fay',
      'user:gus',
      'global',
    ])
    const client = await connect(t, { token: token('fay') })
    const { error_message, ...rest } = await client.ask('subscribe', { room: 'project:theirs' })
    t.same(rest, { status: 'error', error_code: 'ROOM_ACCESS_DENIED', room: 'project:theirs' })
    t.type(error_message, 'string')
    await publish('pr.closed', { pr_id: '1', project_id: 'theirs' })
    await barrier(client)
    t.same(withoutBarriers(client), [], 'and it is not in the room')
  })

  scenario('every event reaches exactly its rooms, whole and once', async (t) => {
    const all = { project_access: ['*'] }
    const members: [string, string[]][] = [
      ['nobody', []],
      ['of-project', [`project:${PROJECT}`]],
      [USER, []],
      ['of-agent', [`agent:${AGENT}`]],
      ['elsewhere', ['project:other', 'agent:other']],
      [USER, [`project:${PROJECT}`, `agent:${AGENT}`, 'global', `user:${USER}`]],
    ]
    const clients = await Promise.all(members.map(([sub]) => connect(t, { token: token(sub, all) })))
    for (const [i, client] of clients.entries()) for (const room of members[i]?.[1] ?? []) await client.subscribe(room)
    const examples = [...EXAMPLES, ...OF_PROJECT, ...OTHERS]
    t.equal(new Set(EXAMPLES.map(({ type }) => type)).size, 17)
    const timestamp = '2024-11-08T10:30:00Z'
    for (const example of examples) {
      const { type, source, data } = example
      await publish(type, data, {
        type,
        source,
        timestamp,
        ...('override' in example ? { rooms: example.override } : undefined),
      })
    }
    await barrier(...clients)
    for (const [i, client] of clients.entries()) {
      const [sub, subscribed] = members[i] as [string, string[]]
      const rooms = new Set(['global', `user:${sub}`, ...subscribed])
      const expected = examples.filter((example) => example.rooms.some((room) => rooms.has(room)))
      const got = withoutBarriers(client)
      t.same(
        got.map(({ id, ...rest }) => rest),
        expected.map(({ type, source, data }) => ({ type, timestamp, source, data })),
        `${sub} in ${[...rooms]}`,
      )
      for (const { event, args } of client.arrivals.slice(1)) {
        t.equal(args.length, 2, 'the event, and its position')
        t.equal(event, args[0].type, 'named by its type')
        t.equal(args[1], args[0].id)
        t.match(args[1], /^[A-Za-z0-9]+-\d+$/)
      }
      t.ok(
        got.every(({ id }, n) => n === 0 || seqOf(id) > seqOf(got[n - 1].id)),
        'positions grow',
      )
    }
  })

  scenario('defaults: type of the subject, time of storage; Unicode passes', async (t) => {
    const client = await connect(t, { token: token('ida') })
    const metadata = { text: 'é𝄞 "quoted" \u2028 \u0000', nested: { list: [1, null, { a: true }] } }
    await publish('agent.status_changed', { agent_id: 'a9', metadata })
    await barrier(client)
    const [event] = withoutBarriers(client)
    t.same(Object.keys(event).sort(), ['data', 'id', 'timestamp', 'type'])
    t.match(event, { type: 'agent.status_changed', timestamp: ISO })
    t.same(event.data, { agent_id: 'a9', metadata })
  })

  scenario('unsubscribe stops, subscribing again goes on from then', async (t) => {
    const client = await connect(t, { token: token('jo', { project_access: ['p1', 'p2'] }) })
    const both = async (n: number) => {
      for (const project_id of ['p1', 'p2']) await publish('pr.updated', { pr_id: 'x', project_id, n })
      await barrier(client)
    }
    await both(0)
    await client.subscribe('project:p1')
    await client.subscribe('project:p2')
    await both(1)
    await client.ask('unsubscribe', { room: 'project:p1' })
    await both(2)
    await client.subscribe('project:p1')
    await both(3)
    await client.ask('unsubscribe', { room: 'global' })
    await publish('agent.connected', { agent_id: 'unseen' }, { rooms: ['global'] })
    await publish('pr.updated', { pr_id: 'x', project_id: 'p1', n: 4 })
    await client.until(() => client.numbers.includes(4))
    t.same(
      withoutBarriers(client).map(({ data }) => [data.project_id, data.n]),
      [
        ['p1', 1],
        ['p2', 1],
        ['p2', 2],
        ['p1', 3],
        ['p2', 3],
        ['p1', 4],
      ],
    )
  })

  scenario('statistics count connections and members of rooms', async (t) => {
    const stats = async (bearer: string) =>
      fetch(`${http}/api/v1/websocket/stats`, { headers: { Authorization: `Bearer ${bearer}` } })
    const admin = token('root', { roles: ['admin'] })
    t.equal((await stats(token('kim'))).status, 403)
    t.equal((await fetch(`${http}/api/v1/websocket/stats`)).status, 401)
    const clients = [
      await connect(t, { token: token('kim', { project_access: ['p1'] }) }),
      await connect(t, { token: token('kim', { project_access: ['p1'] }) }),
      await connect(t, { token: token('leo') }),
    ] as const
    await clients[0].subscribe('project:p1')
    await clients[1].subscribe('project:p1')
    await clients[1].subscribe('agent:a1')
    const shows = async (expected: { connections: number; rooms: Record<string, number> }) => {
      let body: unknown
      await eventually(
        async () => isDeepStrictEqual((body = await (await stats(admin)).json()), expected),
        10_000,
      ).catch(() => t.same(body, expected))
      t.pass('as expected')
    }
    await shows({ connections: 3, rooms: { global: 3, 'user:kim': 2, 'user:leo': 1, 'project:p1': 2, 'agent:a1': 1 } })
    clients[1].close()
    await clients[0].ask('unsubscribe', { room: 'project:p1' })
    await shows({ connections: 2, rooms: { global: 2, 'user:kim': 1, 'user:leo': 1 } })
  })

  scenario('a token that expires while connected ends the session by name', async (t) => {
    const client = await connect(t, { token: token('max', { exp: Math.floor(Date.now() / 1000) + 2 }) })
    await client.until(() => client.disconnects.length > 0)
    t.same(client.disconnects, ['io server disconnect'])
    t.match(
      client.arrivals.map(({ event, args }) => [event, ...args.slice(0, 1)]),
      [
        ['connection_established', Object],
        [
          'connection_error',
          {
            type: 'connection.error',
            timestamp: ISO,
            data: { error_code: 'AUTH_FAILED', error_message: String, connection_id: null },
          },
        ],
      ],
    )
    t.notOk(client.socket.active)
    client.socket.auth = { token: token('max') }
    client.socket.connect()
    await client.connected(2)
  })

  scenario('clients that connect under load miss nothing and get nothing twice', async (t) => {
    let loading = true
    let count = 0
    const load = (async () => {
      for (; loading; count++) await publish('agent.status_changed', { agent_id: 'a', n: count })
    })()
    const clients = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        await new Promise((resolve) => setTimeout(resolve, i * 20))
        return connect(t, { token: token(`user-${i}`) })
      }),
    )
    await Promise.all(
      clients.map((client) =>
        client.until(() => client.transport === transports[transports.length - 1] && client.numbers.length > 20),
      ),
    )
    loading = false
    await load
    for (const client of clients) {
      await client.until(() => client.numbers[client.numbers.length - 1] === count - 1)
      const first = client.numbers[0] as number
      t.same(
        client.numbers,
        Array.from({ length: count - first }, (_, n) => first + n),
        'every event from the first on, once, in order',
      )
      t.equal(client.connects.length, 1)
    }
  })
}
