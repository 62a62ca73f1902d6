import { StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { copiedExamples, type Example, Page } from '../support/examples.ts'
import { TestNats } from '../support/nats.ts'
import { TestReact } from '../support/react.ts'
import { EXAMPLES, OF_PROJECT, PROJECT } from './swe-agent-events.ts'

const codec = StringCodec()
const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url })
const js = await nats.jetstream()
t.teardown(async () => {
  await broker.stop()
  await nats.stop()
})

const examples = copiedExamples('swe-agent.md')
const run = new Set<Example>()
/** The example under a heading. */
function example(title: string, fits: (code: string) => boolean = () => true): Example {
  const found = examples.find((candidate) => candidate.title === title && fits(candidate.code))
  if (!found) throw new Error(`the document has no example "${title}"`)
  run.add(found)
  return found
}

function open(t: Test, globals: Record<string, unknown> = {}, modules: Record<string, unknown> = {}): Page {
  const page = new Page(broker.port, globals, modules)
  t.teardown(() => page.close())
  return page
}

const has = (page: Page, fits: (words: unknown[]) => boolean) =>
  eventually(() => page.said.some((words) => fits(words.slice(1))))
const publish = (type: string, data: Record<string, unknown>) =>
  js.publish(`events.swe-agent.${type}`, codec.encode(JSON.stringify({ data })))

t.test("both ways to connect, with the example's token in the place of theirs", async (t) => {
  for (const title of ['Method 1: Auth Header (Recommended)', 'Method 2: Query Parameters (Fallback)']) {
    const as = example(title)
    const page = open(t)
    page.run(as)
    const refusals: { data: { data: { error_code: string } } }[] = []
    page.sockets[0]?.on('connect_error', (error) => refusals.push(error as never))
    await eventually(() => refusals.length > 0)
    t.equal(refusals[0]?.data.data.error_code, 'AUTH_FAILED', "this is nobody's token")
    const own = open(t)
    own.run({ ...as, code: as.code.replace('your-jwt-token', token('ned')) })
    await eventually(() => own.sockets[0]?.connected === true)
  }
})

t.test("commands, the connection's status, and the way from polling a REST address", async (t) => {
  const page = open(t)
  const socket = page.declared('io')('http://localhost:8000/ws', {
    auth: { token: token('pia', { project_access: [PROJECT, '123'] }) },
  })
  page.run(example('Check Connection Status'), { socket })
  await has(page, ([word]) => word === 'Connected')
  for (const title of ['Subscribe to Room', 'Unsubscribe from Room']) {
    page.said.length = 0
    page.run(example(title), { socket })
    await has(page, () => true)
    t.same(page.said, [['log', { status: 'success', room: `project:${PROJECT}` }]], title)
  }
  page.said.length = 0
  page.run(example('Ping/Heartbeat'), { socket })
  await has(page, () => true)
  t.same(page.said, [['log', { status: 'pong' }]])
  const projects: unknown[] = []
  page.run(
    example('From REST Polling to WebSocket', (code) => code.includes('socket')),
    { socket, setProject: (project: unknown) => projects.push(project) },
  )
  await socket.timeout(30_000).emitWithAck('ping', {})
  await publish('project.updated', { project_id: '123', status: 'active' })
  await eventually(() => projects.length > 0)
  t.same(projects, [{ project_id: '123', status: 'active' }])
  socket.disconnect()
  t.same(page.said.slice(-1), [['log', 'Disconnected:', 'io client disconnect']])
})

t.test('the JavaScript example', async (t) => {
  const storage = (jwt: string) => ({
    localStorage: { getItem: (name: string) => (name === 'jwt_token' ? jwt : null) },
  })
  const page = open(t, storage(token('ned', { project_access: [PROJECT] })))
  page.run(example('JavaScript/Node.js'))
  await has(page, ([word]) => word === 'Subscribed to project')
  t.same(page.said[0], ['log', 'Connected:', page.sockets[0]?.id])
  const [updated] = EXAMPLES
  await publish('project.updated', updated?.data ?? {})
  await publish('workflow.progress', { ...OF_PROJECT[0]?.data })
  await has(page, ([word]) => word === 'Progress:')
  t.same(page.said.slice(-2), [
    ['log', 'Project updated:', updated?.data],
    ['log', 'Progress:', '45%'],
  ])
  page.close()
  t.same(page.said.slice(-1), [['log', 'Disconnected:', 'io client disconnect']])
  const stranger = open(t, storage('nonsense'))
  stranger.run(example('JavaScript/Node.js'))
  await has(
    stranger,
    ([word, error]) =>
      word === 'Connection error:' &&
      (error as { data: { data: { error_code: string } } }).data.data.error_code === 'AUTH_FAILED',
  )
})

t.test('the React hook (which forgets to import useState)', async (t) => {
  const react = new TestReact()
  const page = open(t, { useState: react.hooks.useState }, { react: react.hooks })
  page.run(example('React Hook'))
  interface Hook {
    connected: boolean
    subscribe(room: string): Promise<unknown>
    unsubscribe(room: string): Promise<unknown>
    on(event: string, handler: (event: { data: { n: number } }) => void): void
    off(event: string): void
  }
  const useWebSocket = page.declared('useWebSocket') as (token: string) => Hook
  const ozs = token('oz', { project_access: [PROJECT] })
  const hook = react.mount(() => useWebSocket(ozs))
  await eventually(() => hook.current.connected)
  const room = `project:${PROJECT}`
  const got: number[] = []
  const heard: number[] = []
  hook.current.on('pr.created', ({ data }) => got.push(data.n))
  hook.current.on('agent.connected', ({ data }) => heard.push(data.n))
  const created = async (n: number) => {
    await publish('pr.created', { pr_id: 'x', project_id: PROJECT, n })
    await publish('agent.connected', { agent_id: 'a', n })
    await eventually(() => heard.includes(n))
  }
  await created(0)
  t.same(await hook.current.subscribe(room), { status: 'success', room })
  await created(1)
  t.same(await hook.current.unsubscribe(room), { status: 'success', room })
  await created(2)
  t.match(await hook.current.subscribe('project:another'), { status: 'error', error_code: 'ROOM_ACCESS_DENIED' })
  t.same(await hook.current.subscribe(room), { status: 'success', room })
  hook.current.off('pr.created')
  await created(3)
  t.same(got, [1])
  react.unmount()
  await eventually(() => page.sockets[0]?.disconnected === true)
})

t.test('every example that uses the broker was run', async (t) => {
  t.same(
    examples.filter((candidate) => !run.has(candidate)).map(({ title, code }) => [title, code.split('\n')[0]]),
    [
      ['Enable Debug Logging', '// Browser'],
      ['From REST Polling to WebSocket', 'setInterval(async () => {'],
    ],
    "left: settings of the client's own logging, and the REST polling that one comes from",
  )
})
