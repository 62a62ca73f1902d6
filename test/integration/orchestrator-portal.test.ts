import { JSONCodec } from 'nats'
import t, { type Test } from 'tap'
import { orchestratorPortal } from '../../src/applications/orchestrator-portal.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, type SocketIoOptions, TRANSPORTS } from '../support/socketio-client.ts'
import { EXAMPLES } from './orchestrator-events.ts'

const codec = JSONCodec()
const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url, COMMAND_TIMEOUT_MS: 400 })
const other = await TestBroker.start({ NATS_URL: nats.url, COMMAND_TIMEOUT_MS: 400 })
const js = await nats.jetstream()
const nc = await nats.client()
const clients: SocketIoClient[] = []
t.teardown(async () => {
  for (const client of clients) client.close()
  await broker.stop()
  await other.stop()
  await nats.stop()
})

const claims = { project_access: ['*'], permissions: ['monitoring', 'admin'] }
let users = 0
/** Each test has users of its own, so that one's connections are not counted as another's. */
const someone = (name: string) => `${name}-${users++}`

function open(
  at: TestBroker,
  namespace: string,
  user: string,
  options: SocketIoOptions & { claims?: object } = {},
): SocketIoClient {
  const client = new SocketIoClient(`http://127.0.0.1:${at.port}${namespace}`, {
    token: token(user, { ...claims, ...options.claims }),
    ...options,
  })
  clients.push(client)
  return client
}
const connect = (at: TestBroker, namespace: string, user: string, options: Parameters<typeof open>[3] = {}) =>
  open(at, namespace, user, options).connected()
const publish = (type: string, data: object, rooms?: string[]) =>
  js.publish(`events.orchestrator-portal.${type}`, codec.encode({ data, ...(rooms ? { rooms } : undefined) }))
const first = async (client: SocketIoClient, event: string) => {
  await client.until(() => client.of(event).length > 0)
  return client.of(event)[0]?.[0]
}

async function join(client: SocketIoClient, project: string) {
  const count = client.of('joined_project').length
  client.socket.emit('join_project', { project_name: project })
  await client.until(() => client.of('joined_project').length > count)
  return client.of('joined_project')[count]?.[0]
}

t.test('the examples cover every event of the contract', async (t) => {
  t.same(Object.keys(EXAMPLES).sort(), Object.keys(orchestratorPortal.events).sort())
})

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  t.test(`every event reaches its namespace, with its bare data and its position (${name})`, async (t) => {
    const namespaces = [
      '/portal',
      '/project/my-project',
      '/project/another',
      '/chat/my-project',
      '/chat/another',
      '/monitoring',
      '/admin',
    ]
    const all = await Promise.all(
      namespaces.map((namespace) => connect(broker, namespace, someone('viewer'), { transports })),
    )
    for (const [type, [, data, rooms]] of Object.entries(EXAMPLES)) await publish(type, data, rooms)
    await publish('user_action', { user_id: 'end', action: 'end' })
    await publish('state_change', { project_name: 'my-project', new_state: 'end' })
    await publish('thread_created', { project_name: 'my-project', thread_id: 'end' })
    await publish('test_output', { cycle_id: 'end', content: 'end' })
    for (const [i, end] of [
      [1, 'state_change'],
      [3, 'thread_created'],
      [5, 'test_output'],
      [6, 'user_action'],
    ] as const)
      await all[i]?.until(() => (all[i]?.of(end).length ?? 0) >= 2)
    for (const [i, namespace] of namespaces.entries()) {
      const expected = Object.entries(EXAMPLES).filter(([, [home]]) => home === namespace)
      const got =
        all[i]?.arrivals.filter(
          ({ event, args }) => event in EXAMPLES && args.length === 2 && !JSON.stringify(args).includes('"end"'),
        ) ?? []
      t.same(
        got.map(({ event, args }) => [event, args[0]]),
        expected.map(([type, [, data]]) => [type, data]),
        namespace,
      )
      for (const { args } of got) t.match(args[1], /^[a-z0-9]+-\d+$/)
    }
    for (const client of all) client.close()
  })
}

t.test('joining a project: snapshot, presence on all nodes, and its state changes', async (t) => {
  const project = someone('project')
  const [ann, bob] = [someone('ann'), someone('bob')]
  const one = await connect(broker, '/portal', ann)
  t.same(await join(one, project), { project_name: project, current_state: null, active_users: 1, last_activity: null })
  await publish('state_change', { project_name: project, new_state: { phase: 'SPRINT' } })
  await publish('task_update', { project_name: project, task_id: 't' })
  await first(one, 'state_change')
  const two = await connect(other, '/portal', bob)
  await eventually(async () => (await other.metric('events_total')) === (await broker.metric('events_total')))
  t.match(await join(two, project), {
    project_name: project,
    current_state: { phase: 'SPRINT' },
    active_users: 2,
    last_activity: /Z$/,
  })
  t.match(await first(one, 'user_joined'), { user_id: bob, project_name: project, timestamp: /Z$/ })
  const twice = await connect(broker, '/portal', bob)
  t.equal((await join(twice, project)).active_users, 2, 'distinct users')
  two.socket.emit('leave_project', { project_name: project })
  await publish('state_change', { project_name: project, new_state: 'after' })
  await one.until(() => one.of('state_change').length === 2)
  t.equal(one.of('user_left').length, 0, 'bob is still here by another connection')
  twice.close()
  t.match(await first(one, 'user_left'), { user_id: bob, project_name: project })
  t.same([one.of('user_joined').length, one.of('user_left').length], [1, 1])
  t.equal(two.of('state_change').length, 0, 'who left gets no more')
  t.equal(one.of('task_update').length, 0, 'a joined socket gets state changes, until it chooses')
})

t.test(
  'subscribe_to_events: exactly the events named, for one project or for all joined; again replaces',
  async (t) => {
    const [p, q] = [someone('p'), someone('q')]
    const client = await connect(broker, '/portal', someone('chooser'))
    await join(client, p)
    await join(client, q)
    const choose = (events: string[], project_name?: string) =>
      client.ask('subscribe_to_events', { events, ...(project_name ? { project_name } : undefined) })
    const round = async (n: number) => {
      for (const project_name of [p, q])
        for (const type of ['state_change', 'task_update', 'agent_activity'])
          await publish(type, { project_name, n, task_id: 't', agent_type: 'a' })
      await publish('backlog_updated', { project_name: p, n: 'end' })
    }
    t.match(await choose(['task_update', 'agent_activity', 'backlog_updated'], p), { status: 'success' })
    await round(1)
    await client.until(() => client.of('backlog_updated').length === 1)
    const got = (n: number) =>
      client.arrivals
        .filter(({ args }) => args[0]?.n === n)
        .map(({ event, args }) => `${event} ${args[0].project_name === p ? 'p' : 'q'}`)
    t.same(got(1), ['task_update p', 'agent_activity p', 'state_change q'])
    await choose(['state_change', 'backlog_updated'])
    await round(2)
    await client.until(() => client.of('backlog_updated').length === 2)
    t.same(got(2), ['state_change p', 'state_change q'])
    t.match(await choose(['no_such_event']), { status: 'error', error_code: 'UNKNOWN_EVENT' })
    t.match(await choose(['state_change'], someone('elsewhere')), { status: 'error' })
  },
)

t.test('late authentication: nothing else works before, then as if at connect', async (t) => {
  const user = someone('late')
  const client = await connect(broker, '/portal', user, { token: null })
  client.socket.emit('join_project', { project_name: 'x' })
  t.match(await first(client, 'error'), {
    type: 'authentication',
    message: String,
    code: 'AUTH_MISSING',
    timestamp: /Z$/,
  })
  client.socket.emit('authenticate', { token: 'nonsense', user_id: user })
  t.match(await first(client, 'authentication_failed'), { message: String, code: 'AUTH_FAILED' })
  client.socket.emit('authenticate', { token: token(user, claims), user_id: 'somebody-else' })
  await client.until(() => client.of('authentication_failed').length === 2)
  // Sent right behind, it waits for the outcome.
  client.socket.emit('authenticate', { token: token(user, claims), user_id: user })
  client.socket.emit('join_project', { project_name: user })
  t.same(await first(client, 'authenticated'), { user_id: user, permissions: claims.permissions })
  await client.until(() => client.of('joined_project').length === 1)
  t.equal(client.of('error').length, 1)
  await publish('state_change', { project_name: user, new_state: 'x' })
  await first(client, 'state_change')

  const outside = await connect(broker, '/project/secret', someone('outside'), { token: null })
  outside.socket.emit('authenticate', { token: token('outside', { project_access: ['other'] }) })
  t.match(await first(outside, 'error'), { type: 'authentication', code: 'ACCESS_DENIED' })
  await outside.until(() => outside.disconnects.length === 1)
})

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  t.test(`what the client library sends ahead of authenticate waits for it, in order (${name})`, async (t) => {
    const user = someone('eager')
    const client = open(broker, '/portal', user, { token: null, transports })
    // The library sends what was emitted before it had a connection, then tells of the connection.
    client.socket.emit('join_project', { project_name: user })
    const chosen = client.ask('subscribe_to_events', { events: ['task_update'], project_name: user })
    client.socket.on('connect', () => client.socket.emit('authenticate', { token: token(user, claims) }))
    t.same(await chosen, { status: 'success' })
    t.same(
      client.arrivals.map(({ event }) => event),
      ['authenticated', 'joined_project'],
    )
  })
}

t.test('who never authenticates is disconnected after ten seconds', async (t) => {
  const client = await connect(broker, '/portal', 'nobody', { token: null })
  await client.until(() => client.disconnects.length > 0)
  t.same(client.disconnects, ['io server disconnect'])
})

t.test('namespaces refuse who may not be there, with connect_error', async (t) => {
  const refused = async (namespace: string, own: object) => {
    const client = open(broker, namespace, someone('stranger'), {
      claims: { project_access: [], permissions: [], ...own },
    })
    await client.until(() => client.refusals.length > 0 || client.connects.length > 0)
    client.close()
    return client.refusals[0]?.data as { type: string; code: string } | undefined
  }
  for (const namespace of ['/project/x', '/chat/x', '/monitoring', '/admin'])
    t.match(
      await refused(namespace, {}),
      { type: 'authentication', code: 'ACCESS_DENIED', message: String, timestamp: /Z$/ },
      namespace,
    )
  t.equal(await refused('/project/x', { project_access: ['x'] }), undefined)
  t.equal(await refused('/monitoring', { permissions: ['monitoring'] }), undefined)
  t.equal(await refused('/admin', { permissions: ['admin'] }), undefined)
  for (const namespace of ['/project/x', '/chat/x', '/monitoring', '/admin'])
    t.equal(await refused(namespace, { roles: ['admin'] }), undefined, `${namespace}: the role admin passes`)
  const bad = open(broker, '/portal', 'x', { token: 'nonsense' })
  await bad.until(() => bad.refusals.length > 0)
  t.match(bad.refusals[0]?.data, { type: 'authentication', code: 'AUTH_FAILED' })
  const unknown = open(broker, '/projects', 'x')
  await unknown.until(() => unknown.refusals.length > 0)
  t.equal(unknown.refusals[0]?.message, 'Invalid namespace')
})

async function chat(t: Test): Promise<[SocketIoClient, SocketIoClient, string]> {
  const room = someone('room')
  t.comment(room)
  return [
    await connect(broker, `/chat/${room}`, someone('writer')),
    await connect(other, `/chat/${room}`, someone('reader')),
    room,
  ]
}

t.test('messages are validated, stored, and reach everyone there on all nodes, the sender included', async (t) => {
  const [writer, reader, room] = await chat(t)
  const thread_id = '123e4567-e89b-12d3-a456-426614174000'
  const attachments = [{ name: 'a.txt', size: 12, type: 'text/plain' }]
  writer.socket.emit('send_message', { content: 'hello', type: 'message' })
  writer.socket.emit('send_message', { content: 'in a thread', type: 'thread_reply', thread_id, attachments })
  for (const client of [writer, reader]) {
    await client.until(() => client.of('message_received').length === 2)
    t.match(
      client.of('message_received').map(([data]) => data),
      [
        {
          message_id: /^[0-9a-f-]{36}$/,
          project_name: room,
          user_id: /^writer/,
          content: 'hello',
          type: 'message',
          timestamp: /Z$/,
        },
        { project_name: room, content: 'in a thread', type: 'thread', thread_id, attachments },
      ],
    )
  }
  const bad = [
    {},
    { content: '', type: 'message' },
    { content: 'x'.repeat(2_001), type: 'message' },
    { content: 'x', type: 'shout' },
    { content: 'x', type: 'message', thread_id: 'no-uuid' },
    { content: 'x', type: 'message', attachments: Array(6).fill(attachments[0]) },
    { content: 'x', type: 'message', attachments: [{ name: 'a', size: 10_485_761, type: 'b' }] },
  ]
  const strict = await connect(broker, `/chat/${room}`, someone('strict'))
  for (const [i, message] of bad.entries()) {
    strict.socket.emit('send_message', message)
    await strict.until(() => strict.of('validation_error').length === i + 1)
    t.match(
      strict.of('validation_error')[i]?.[0],
      { message: 'Invalid message format', details: [{ message: String }] },
      JSON.stringify(message).slice(0, 60),
    )
  }
  t.equal(reader.of('message_received').length, 2, 'nothing invalid was stored')
})

t.test(
  'a command is stored and forwarded; its result comes back as an event, or its failure to the sender',
  async (t) => {
    const [writer, reader, room] = await chat(t)
    writer.socket.emit('send_message', { content: '/sprint start', type: 'command' })
    t.match(await first(writer, 'command_result'), {
      command: '/sprint start',
      success: false,
      error: String,
      error_code: 'SERVICE_UNAVAILABLE',
      execution_time: Number,
      timestamp: /Z$/,
    })
    t.match(await first(reader, 'message_received'), { content: '/sprint start', type: 'command' })
    t.equal(reader.of('command_result').length, 0)
    const service = nc.subscribe('commands.orchestrator-portal.command', {
      callback: (_, request) => {
        const { data, user_id } = request.json<{
          data: { message_id: string; project_name: string; content: string }
          user_id: string
        }>()
        request.respond(codec.encode({ ok: true }))
        void publish(
          'command_result',
          {
            message_id: data.message_id,
            command: data.content,
            success: true,
            result: { by: user_id },
            execution_time: 1,
          },
          [`project:${data.project_name}`],
        )
      },
    })
    await nc.flush()
    writer.socket.emit('send_message', { content: '/sprint stop', type: 'command' })
    await reader.until(() => reader.of('command_result').length === 1)
    t.match(reader.of('command_result')[0]?.[0], {
      message_id: reader.of('message_received')[1]?.[0].message_id,
      command: '/sprint stop',
      success: true,
      result: { by: /^writer/ },
    })
    service.unsubscribe()
    t.ok(room)
  },
)

t.test('typing reaches the others, on all nodes, and is not stored', async (t) => {
  const [writer, reader, room] = await chat(t)
  const neighbour = await connect(broker, `/chat/${room}`, someone('neighbour'))
  const before = await broker.metric('events_total')
  for (const event of ['typing_start', 'typing_stop']) {
    writer.socket.emit(event, {})
    for (const client of [reader, neighbour])
      t.match(await first(client, event), { user_id: /^writer/, project_name: room, timestamp: /Z$/ })
    t.equal(writer.of(event).length, 0)
  }
  t.equal(await broker.metric('events_total'), before)
})

t.test("/monitoring gets the broker's own figures", async (t) => {
  const client = await connect(broker, '/monitoring', someone('watcher'))
  await client.until(() => client.of('system_metrics').some(([data]) => data.uptime !== undefined))
  const figures = client.of('system_metrics').find(([data]) => data.uptime !== undefined)?.[0]
  t.same(Object.keys(figures), [
    'timestamp',
    'cpu_usage',
    'memory_usage',
    'disk_usage',
    'network_io',
    'active_connections',
    'active_projects',
    'active_tasks',
    'error_rate',
    'uptime',
  ])
  t.ok(figures.memory_usage > 0 && figures.memory_usage < 100 && figures.disk_usage > 0 && figures.uptime > 0)
  t.ok(figures.network_io.bytes_sent > 0 && figures.network_io.bytes_received > 0 && figures.active_connections > 0)
})

t.test("a flood is refused by name, and the third refusal bans the user's new connections", async (t) => {
  const user = someone('flooder')
  const client = await connect(broker, '/portal', user)
  const bystander = await connect(broker, '/portal', someone('bystander'))
  client.socket.io.reconnection(false)
  for (let i = 0; i < 13; i++) client.socket.emit('subscribe_to_events', { events: [] })
  await client.until(() => client.disconnects.length === 1)
  t.equal(client.of('rate_limited').length, 3)
  t.match(client.of('rate_limited')[0]?.[0], { message: 'Rate limit exceeded', retry_after: Number })
  for (const at of [broker, other]) {
    const again = open(at, '/portal', user)
    await again.until(() => again.refusals.length > 0)
    t.match(again.refusals[0]?.data, { code: 'BANNED', details: { retry_after: Number } })
    again.close()
  }
  t.equal((await join(bystander, someone('calm'))).active_users, 1, 'nobody else is')
})

t.test('a user has five connections, whatever their namespaces', async (t) => {
  const user = someone('many')
  const open5 = await Promise.all([1, 2, 3, 4, 5].map(() => connect(broker, '/portal', user)))
  const sixth = open(broker, '/portal', user)
  await sixth.until(() => sixth.refusals.length > 0)
  t.match(sixth.refusals[0]?.data, { code: 'TOO_MANY_CONNECTIONS' })
  sixth.close()
  const { io } = await import('socket.io-client')
  const shared = io(`http://127.0.0.1:${broker.port}/monitoring`, {
    auth: { token: token(user, claims) },
    forceNew: false,
    multiplex: true,
  })
  shared.close()
  open5[0]?.close()
  await eventually(async () => {
    const next = open(broker, '/portal', user)
    await next.until(() => next.refusals.length > 0 || next.connects.length > 0)
    const let_in = next.connects.length > 0
    next.close()
    return let_in
  })
})

t.test('a broken connection recovers its projects and choices, with what it missed', async (t) => {
  const project = someone('kept')
  const client = await connect(broker, '/portal', someone('returner'), { transports: ['websocket'] })
  await join(client, project)
  await client.ask('subscribe_to_events', { events: ['task_update'], project_name: project })
  await publish('task_update', { project_name: project, task_id: '1' })
  await first(client, 'task_update')
  ;(client.socket.io.engine as unknown as { close(): void }).close()
  await publish('task_update', { project_name: project, task_id: '2' })
  await publish('state_change', { project_name: project, new_state: 'x' })
  await client.connected(2)
  await publish('task_update', { project_name: project, task_id: '3' })
  await client.until(() => client.of('task_update').length === 3)
  t.equal(client.connects[1]?.recovered, true)
  t.same(
    client.of('task_update').map(([data]) => data.task_id),
    ['1', '2', '3'],
  )
  t.equal(client.of('state_change').length, 0)
})

t.test(
  "a recovered connection whose token lost a project stayed in it: it could choose the project's events, and was seen there",
  async (t) => {
    const [project, user] = [someone('lost'), someone('former')]
    const witness = await connect(other, '/portal', someone('witness'))
    await join(witness, project)
    const client = await connect(broker, '/portal', user, { claims: { project_access: [project] } })
    await join(client, project)
    await first(witness, 'user_joined')
    const { _pid: pid } = client.socket as unknown as { _pid: string }
    client.close()
    await first(witness, 'user_left')
    const again = await connect(broker, '/portal', user, { claims: { project_access: [] }, auth: { pid } })
    t.match(await again.ask('subscribe_to_events', { events: ['task_update'], project_name: project }), {
      error_code: 'INVALID_ROOM',
    })
    t.match(await again.ask('subscribe_to_events', { events: ['task_update'] }), { status: 'success' })
    await publish('task_update', { project_name: project, task_id: 'secret' })
    const last = someone('last')
    await again.ask('authenticate', { token: token(user, { project_access: [last] }) })
    await join(again, last)
    await publish('task_update', { project_name: last, task_id: 'open' })
    await first(again, 'task_update')
    t.same(
      again.of('task_update').map(([data]) => data.task_id),
      ['open'],
    )
    t.equal(witness.of('user_joined').length, 1)
  },
)

t.test(
  'who authenticates again without access to the namespace stayed in it and could send its commands: it is told, and out',
  async (t) => {
    const [project, user] = [someone('chat'), someone('talker')]
    const client = await connect(broker, `/chat/${project}`, user, { claims: { project_access: [project] } })
    client.socket.emit('authenticate', { token: token(user, { project_access: [] }) })
    await client.until(() => client.disconnects.length > 0)
    t.match(await first(client, 'error'), { type: 'authentication', code: 'ACCESS_DENIED' })
    t.same(client.disconnects, ['io server disconnect'])
    t.equal(client.of('authenticated').length, 0)
  },
)

t.test('who authenticates again stays in the room that it is in by connecting, whatever its name', async (t) => {
  const [project, user] = [`${someone('team')}:a`, someone('stayer')]
  const client = await connect(broker, `/project/${project}`, user, { claims: { project_access: [project] } })
  client.socket.emit('authenticate', { token: token(user, { project_access: [project], permissions: [] }) })
  await first(client, 'authenticated')
  await publish('state_change', { project_name: project, new_state: 'x' })
  t.match(await first(client, 'state_change'), { new_state: 'x' })
})
