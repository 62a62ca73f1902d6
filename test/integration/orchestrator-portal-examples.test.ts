import { JSONCodec } from 'nats'
import type { Socket } from 'socket.io-client'
import t, { type Test } from 'tap'
import { orchestratorPortal } from '../../src/applications/orchestrator-portal.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { copiedExamples, type Example, Page } from '../support/examples.ts'
import { TestNats } from '../support/nats.ts'
import { TestReact } from '../support/react.ts'
import { EXAMPLES } from './orchestrator-events.ts'

const codec = JSONCodec()
const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url })
const js = await nats.jetstream()
const nc = await nats.client()
t.teardown(async () => {
  await broker.stop()
  await nats.stop()
})

const examples = copiedExamples('orchestrator-portal.md')
const run = new Set<Example>()
function example(title: string): Example {
  const found = examples.find((candidate) => candidate.title === title)
  if (!found) throw new Error(`the document has no example "${title}"`)
  run.add(found)
  return found
}

// biome-ignore lint/suspicious/noExplicitAny: what the document's handlers get.
type Data = any
/** The document's `WebSocketManager`, as its page has it. */
interface Manager {
  connect(namespace?: string): Socket
  subscribe(namespace: string, event: string, callback: (data: Data) => void): () => void
  emit(namespace: string, event: string, data: unknown): void
  disconnect(namespace?: string): void
}

/**
 * What handlers of the events do with them, in the document: the function of the user interface, and what it is called
 * with.
 */
const SHOWN: Readonly<Record<string, readonly [name: string, ...(string | undefined)[]]>> = {
  state_change: ['updateProjectState', 'project_name', 'new_state'],
  task_update: ['updateTaskProgress', 'task_id', 'progress', 'status'],
  approval_request: ['showApprovalDialog', undefined],
  approval_resolved: ['hideApprovalDialog', 'request_id'],
  sprint_progress: ['updateSprintProgress', undefined],
  backlog_updated: ['updateBacklogItem', undefined],
  message_received: ['addMessageToChat', undefined],
  command_result: ['displayCommandResult', undefined],
  typing_start: ['showTypingIndicator', 'user_id'],
  typing_stop: ['hideTypingIndicator', 'user_id'],
  thread_created: ['enableThreadView', 'parent_message_id', 'thread_id'],
  thread_updated: ['updateThreadInfo', undefined],
  agent_activity: ['updateAgentActivity', undefined],
  system_metrics: ['updateSystemMetrics', undefined],
  tdd_cycle_started: ['startTDDCycleMonitoring', undefined],
  tdd_state_change: ['updateTDDCycleState', undefined],
  test_output: ['appendTestOutput', undefined],
  config_changed: ['refreshConfiguration', 'config_type'],
  user_action: ['logUserAction', undefined],
}

const claims = { project_access: ['*'], permissions: ['monitoring', 'admin'] }
let users = 0
/** Each page has a user of its own, so that one test's connections are not counted as another's. */
const someone = (name: string) => `${name}-${users++}`
const publish = (type: string, data: object, rooms?: string[]) =>
  js.publish(`events.orchestrator-portal.${type}`, codec.encode({ data, ...(rooms ? { rooms } : undefined) }))

/** A page of a user, with the document's manager and what it needs around it. */
class PortalPage extends Page {
  /** Calls of the user interface's functions. */
  readonly shown: Data[][] = []
  readonly react: TestReact
  jwt: string
  private readonly heard = new Map<string, Data[]>()

  static open(t: Test, user: string, options: { claims?: object; jwt?: string } = {}): PortalPage {
    const page = new PortalPage(user, options.jwt ?? token(user, { ...claims, ...options.claims }))
    t.teardown(() => page.close())
    page.run(example('Socket.io Client Setup'))
    return page
  }

  private constructor(user: string, jwt: string) {
    const react = new TestReact()
    const ui = Object.fromEntries(
      Object.values(SHOWN).map(([name]) => [name, (...args: Data[]) => void this.shown.push([name, ...args])]),
    )
    super(broker.port, { ...ui, ...react.hooks, getAuthToken: () => this.jwt, getCurrentUserId: () => user })
    this.react = react
    this.jwt = jwt
  }

  get manager(): Manager {
    return this.declared('wsManager')
  }

  /** Connects to a namespace; the document's handlers authenticate there, each time that it connects. */
  connect(namespace: string): Socket {
    const socket = this.manager.connect(namespace)
    this.run(example('Authentication and Authorization'), { socket })
    return socket
  }

  /** The same, until it is done. */
  async enter(namespace: string): Promise<Socket> {
    const before = this.authentications
    const socket = this.connect(namespace)
    await eventually(() => this.authentications > before)
    return socket
  }

  get authentications(): number {
    return this.said.filter(([, word]) => word === 'WebSocket authenticated:').length
  }

  /** What subscribers of an event got, from the first call on. */
  of(namespace: string, event: string): Data[] {
    const key = `${namespace} ${event}`
    let got = this.heard.get(key)
    if (!got) {
      this.heard.set(key, (got = []))
      this.manager.subscribe(namespace, event, (data) => void got?.push(data))
    }
    return got
  }

  async until(namespace: string, event: string, count = 1): Promise<Data> {
    const got = this.of(namespace, event)
    await eventually(() => got.length >= count)
    return got[count - 1]
  }
}

t.test('every event reaches its handler in the document, and does there what it says', async (t) => {
  const page = PortalPage.open(t, someone('viewer'))
  for (const namespace of ['/project/my-project', '/chat/my-project', '/monitoring', '/admin']) {
    const socket = await page.enter(namespace)
    const events = Object.keys(EXAMPLES).filter((type) => EXAMPLES[type]?.[0] === namespace)
    for (const type of events) page.run(example(type), { socket })
    if (namespace.startsWith('/chat/')) page.run(example('typing_start / typing_stop'), { socket })
  }
  t.equal(
    new Set(page.sockets.map((socket) => (socket.io.engine as unknown as { id: string }).id)).size,
    1,
    'the namespaces share one connection',
  )
  for (const [type, [, data, rooms]] of Object.entries(EXAMPLES)) await publish(type, data, rooms)
  const writer = PortalPage.open(t, someone('writer'))
  await writer.enter('/chat/my-project')
  writer.manager.emit('/chat/my-project', 'typing_start', {})
  writer.manager.emit('/chat/my-project', 'typing_stop', {})
  const writing = { user_id: writer.declared('getCurrentUserId')() }
  const expected = [
    ...Object.entries(EXAMPLES).map(([type, [, data]]) => [type, data] as const),
    ['typing_start', writing],
    ['typing_stop', writing],
  ] as const
  const calls = expected.map(([type, data]) => {
    const [name, ...fields] = SHOWN[type] as [string, ...(string | undefined)[]]
    return [name, ...fields.map((field) => (field === undefined ? data : (data as Data)[field]))]
  })
  // The broker's own figures come now and then.
  const shown = () => page.shown.filter(([name, data]) => name !== 'updateSystemMetrics' || data.marker === 'published')
  await eventually(() => shown().length >= calls.length)
  const sorted = (list: Data[][]) => list.map((call) => JSON.stringify(call)).sort()
  t.same(sorted(shown()), sorted(calls))
  t.equal(calls.length, Object.keys(SHOWN).length)
  t.same(
    page.said.filter(([method]) => method === 'error'),
    [],
  )
})

t.test('projects: joined, who comes and goes, the events chosen, left', async (t) => {
  const [user, guest] = [someone('user'), someone('guest')]
  const page = PortalPage.open(t, user)
  const portal = await page.enter('/portal')
  for (const type of ['joined_project', 'user_joined', 'user_left']) page.run(example(type), { socket: portal })
  const presence = ['joined_project', 'user_joined', 'user_left', 'state_change', 'task_update', 'agent_activity'].map(
    (type) => page.of('/portal', type),
  )
  const [joined, came, left, states, tasks, agents] = presence as [Data[], Data[], Data[], Data[], Data[], Data[]]
  page.run(example('join_project'), { socket: portal })
  await eventually(() => joined.length === 1)
  t.match(joined[0], { project_name: 'my-project', active_users: 1 })
  const other = PortalPage.open(t, guest)
  const visit = await other.enter('/portal')
  other.run(example('join_project'), { socket: visit })
  t.match(await other.until('/portal', 'joined_project'), { active_users: 2 })
  await eventually(() => came.length === 1)
  t.match(came, [{ user_id: guest, project_name: 'my-project' }])
  page.run(example('subscribe_to_events'), { socket: portal })
  await portal.timeout(30_000).emitWithAck('subscribe_to_events', {
    events: ['state_change', 'task_update', 'agent_activity'],
    project_name: 'my-project',
  })
  for (const type of ['state_change', 'sprint_progress', 'task_update', 'agent_activity'])
    await publish(type, EXAMPLES[type]?.[1] ?? {})
  await eventually(() => agents.length === 1)
  t.same(
    [states, tasks, agents],
    [[EXAMPLES.state_change?.[1]], [EXAMPLES.task_update?.[1]], [EXAMPLES.agent_activity?.[1]]],
  )
  other.run(example('leave_project'), { socket: visit })
  await eventually(() => left.length === 1)
  t.match(left, [{ user_id: guest, project_name: 'my-project' }])
})

t.test(
  'chat: the command of the document reaches everybody there, its service, and comes back as a result',
  async (t) => {
    const service = nc.subscribe('commands.orchestrator-portal.command', {
      callback: (_, request) => {
        const { data } = request.json<{ data: Data }>()
        request.respond(codec.encode({ ok: true }))
        void publish(
          'command_result',
          { message_id: data.message_id, command: data.content, success: true, execution_time: 1 },
          [`project:${data.project_name}`],
        )
      },
    })
    t.teardown(() => service.unsubscribe())
    await nc.flush()
    const room = `/chat/${someone('room')}`
    const [page, reader] = [PortalPage.open(t, someone('writer')), PortalPage.open(t, someone('reader'))]
    const socket = await page.enter(room)
    await reader.enter(room)
    const results = reader.until(room, 'command_result')
    const received = reader.until(room, 'message_received')
    const own = page.until(room, 'message_received')
    page.run(example('send_message'), { socket })
    const message = await received
    t.match(message, { content: '/sprint start', type: 'command' })
    t.same(await own, message, 'the sender gets it as well')
    t.match(await results, { message_id: message.message_id, command: '/sprint start', success: true })
  },
)

t.test('a broker that is killed: the manager connects again, authenticates, and misses nothing', async (t) => {
  const project = someone('kept')
  const page = PortalPage.open(t, someone('returner'))
  const portal = await page.enter('/portal')
  await page.enter(`/project/${project}`)
  await portal.timeout(30_000).emitWithAck('join_project', { project_name: project })
  const [states, updates] = [page.of('/portal', 'state_change'), page.of(`/project/${project}`, 'task_update')]
  const [lost, back] = [page.of('/portal', 'disconnected'), page.of('/portal', 'connected')]
  const both = async (n: number) => {
    await publish('state_change', { project_name: project, new_state: n })
    await publish('task_update', { project_name: project, task_id: 't', n })
  }
  await both(1)
  await eventually(() => states.length === 1 && updates.length === 1)
  await broker.kill()
  await eventually(() => lost.length === 1)
  t.same(lost, [{ namespace: '/portal', reason: 'transport close' }])
  await both(2)
  await broker.run()
  // What was missed comes with CONNECT; each of the two namespaces is authenticated again after that.
  await eventually(() => states.length === 2 && updates.length === 2 && page.authentications >= 4)
  t.same(back, [{ namespace: '/portal' }])
  t.equal(page.authentications, 4)
  await both(3)
  await eventually(() => states.length === 3 && updates.length === 3)
  t.same(
    [states.map(({ new_state }) => new_state), updates.map(({ n }) => n)],
    [
      [1, 2, 3],
      [1, 2, 3],
    ],
  )
  page.manager.disconnect('/portal')
  await eventually(() => lost.length === 2)
  t.equal(lost[1].reason, 'io client disconnect')
  page.manager.disconnect()
  t.ok(page.sockets.every(({ connected }) => !connected))
})

t.test('the React hooks, mounted before anything is connected', async (t) => {
  const project = someone('hooked')
  const namespace = `/project/${project}`
  const [user, watcher] = [someone('user'), PortalPage.open(t, someone('watcher'))]
  const portal = await watcher.enter('/portal')
  await portal.timeout(30_000).emitWithAck('join_project', { project_name: project })
  const [came, left] = [watcher.of('/portal', 'user_joined'), watcher.of('/portal', 'user_left')]
  const page = PortalPage.open(t, user)
  page.run(example('React Hook Integration'))
  interface Hook {
    connected: boolean
    error: string | null
    emit(event: string, data: unknown): void
  }
  const { useProjectWebSocket, useWebSocketEvent } = {
    useProjectWebSocket: page.declared('useProjectWebSocket') as (name: string) => Hook,
    useWebSocketEvent: page.declared('useWebSocketEvent'),
  }
  const states: Data[] = []
  const hook = page.react.mount(() => {
    useWebSocketEvent(namespace, 'state_change', (data: Data) => void states.push(data))
    return useProjectWebSocket(project)
  })
  t.same([hook.current.connected, hook.current.error], [false, null])
  page.connect(namespace)
  await eventually(() => hook.current.connected)
  await eventually(() => came.length === 1)
  t.match(came, [{ user_id: user, project_name: project }], 'it joined, though it asked before it could authenticate')
  t.equal(hook.current.error, null)
  await publish('state_change', { project_name: project, new_state: 'x' })
  await eventually(() => states.length === 1)
  const errors = page.of(namespace, 'error')
  hook.current.emit('join_project', { project_name: 5 })
  await eventually(() => errors.length > 0)
  t.match(errors[0], { type: 'validation', code: 'INVALID_MESSAGE', message: String })
  page.react.unmount()
  await eventually(() => left.length === 1)
  t.match(left, [{ user_id: user, project_name: project }])
})

t.test('authentication that fails, and errors in the words that the error handler knows', async (t) => {
  const user = someone('stranger')
  const page = PortalPage.open(t, user, { jwt: 'nonsense' })
  page.run(example('Error Types and Handling'))
  const handler = page.declared('WebSocketErrorHandler') as { handle(error: Data, namespace: string): void }
  page.connect('/portal')
  const failures = () => page.said.filter(([, word]) => word === 'WebSocket authentication failed:')
  await eventually(() => failures().length === 1)
  t.match(failures()[0]?.[2], { message: String, code: 'AUTH_FAILED' })
  const outcome = async (namespace: string, before: () => void) => {
    const errors = page.of(namespace, 'error')
    page.connect(namespace)
    before()
    await eventually(() => errors.length > 0)
    page.said.length = 0
    handler.handle(errors[0], namespace)
    return [page.said, errors[0].message]
  }
  page.jwt = token(user, { ...claims, project_access: [] })
  const [denied, deniedMessage] = await outcome('/project/secret', () => {})
  t.same(denied, [['error', 'Authentication error on /project/secret:', deniedMessage]])
  const [invalid, invalidMessage] = await outcome('/monitoring', () =>
    page.manager.emit('/monitoring', 'no_such_command', {}),
  )
  t.same(invalid, [['error', 'Validation error on /monitoring:', invalidMessage]])
  const [missing, missingMessage] = await outcome('/admin', () => {
    page.jwt = 'nonsense'
    page.manager.emit('/admin', 'anything', {})
  })
  t.same(missing, [['error', 'Authentication error on /admin:', missingMessage]])
  page.said.length = 0
  for (const type of ['server', 'connection', 'network']) handler.handle({ type, message: type }, '/portal')
  t.same(page.said, [
    ['error', 'Server error on /portal:', 'server'],
    ['warn', 'Connection error on /portal:', 'connection'],
    ['warn', 'Network error on /portal:', 'network'],
  ])
})

t.test('the reconnection strategy brings back a session that the broker ended', async (t) => {
  const user = someone('expiring')
  const page = PortalPage.open(t, user, { claims: { exp: Math.floor(Date.now() / 1000) + 2 } })
  page.run(example('Reconnection Strategy'))
  const Strategy = page.declared('ReconnectionManager') as new () => {
    calculateDelay(namespace: string): number
    shouldReconnect(namespace: string): boolean
    recordAttempt(namespace: string): void
    resetAttempts(namespace: string): void
  }
  const strategy = new Strategy()
  const delays: number[] = []
  const lost = page.of('/portal', 'disconnected')
  const errors = page.of('/portal', 'error')
  const socket = await page.enter('/portal')
  await eventually(() => lost.length === 1)
  t.match(errors[0], { type: 'authentication', code: 'AUTH_EXPIRED' })
  t.equal(lost[0].reason, 'io server disconnect', 'the client does not come back by itself')
  for (; strategy.shouldReconnect('/portal') && delays.length < 3; strategy.recordAttempt('/portal'))
    delays.push(strategy.calculateDelay('/portal'))
  t.ok(
    delays.every((delay, i) => delay >= 500 * 2 ** i && delay <= 1_000 * 2 ** i),
    String(delays),
  )
  page.jwt = token(user, claims)
  socket.connect()
  await eventually(() => page.authentications === 2)
  strategy.resetAttempts('/portal')
  t.ok(strategy.shouldReconnect('/portal'))
})

t.test('every client example was run', async (t) => {
  t.same(
    examples.filter((candidate) => !run.has(candidate)).map(({ title }) => title),
    ['Rate Limiting and Abuse Prevention', 'Input Validation and Sanitization'],
    "left: what the document's server would do",
  )
  t.same(
    Object.keys(SHOWN)
      .filter((type) => !type.startsWith('typing_'))
      .sort(),
    Object.keys(orchestratorPortal.events).sort(),
  )
})
