import t from 'tap'
import { codingAssistant } from '../../src/applications/coding-assistant.ts'
import { eventually } from '../support/client.ts'
import { CodingAssistant, first, PROJECT } from '../support/coding-assistant.ts'
import { copiedExamples, type Example, Page } from '../support/examples.ts'
import { freePort } from '../support/nats.ts'

const all = await CodingAssistant.start()
const examples = copiedExamples('coding-assistant.md')
const ran = new Set<Example>()

/**
 * The examples of these titles, as the script of one page; what comes later in the document comes later in the page.
 */
function scriptOf(...titles: string[]): Example {
  const code = titles.map((wanted) => {
    const [title, index = '0'] = wanted.split('#') as [string, string?]
    const example = examples.filter((one) => one.title === title)[Number(index)]
    if (!example) throw new Error(`there is no example ${wanted}`)
    ran.add(example)
    return example.code
  })
  return { title: titles.join(', '), language: 'javascript', code: code.join('\n') }
}

/** Functions of the page that the examples call, each with what it was called with. */
const PAGE_FUNCTIONS =
  'updateUserStatus clearUserSession updateSessionInfo addProjectToList showNotification updateProjectInList removeProjectFromList addFileToExplorer updateFileInUI removeFileFromUI addMessageToChat showAITypingIndicator hideAITypingIndicator processAIActions updateAIProgress showAIError addUserToOnlineList removeUserFromOnlineList showUserTypingIndicator hideUserTypingIndicator showConnectionError showAuthError showError'.split(
    ' ',
  )

interface TestPage {
  readonly page: Page
  readonly window: { location: { href: string } }
  /** What a function was called with, each time. */
  calls(name: string): unknown[][]
  /** Resolves once it was called with these. */
  called(name: string, ...args: unknown[]): Promise<void>
  logged(...words: unknown[]): Promise<void>
}

function open(sessionId: string, globals: object = {}, port = all.brokers[0].codingAssistantPort): TestPage {
  const window = { location: { href: '' } }
  const made: [name: string, args: unknown[]][] = []
  const functions = Object.fromEntries(
    PAGE_FUNCTIONS.map((name) => [name, (...args: unknown[]) => void made.push([name, args])]),
  )
  const debounce = (call: (...args: unknown[]) => void, ms: number) => {
    let timer: NodeJS.Timeout
    return (...args: unknown[]) => {
      clearTimeout(timer)
      timer = setTimeout(() => call(...args), ms)
    }
  }
  // The timers of a page end with it: an example that connects again and again would do so for ever.
  const timers: NodeJS.Timeout[] = []
  let closed = false
  const later = (call: () => void, ms: number) => {
    if (!closed) timers.push(setTimeout(call, ms))
  }
  const page = new Page(port, {
    ...functions,
    isFileOpen: () => true,
    window,
    setTimeout: later,
    debounce,
    getSessionId: () => sessionId,
    ...globals,
  })
  t.teardown(() => {
    closed = true
    for (const timer of timers) clearTimeout(timer)
    page.close()
  })
  const as = JSON.stringify
  const calls = (name: string) => made.filter(([made]) => made === name).map(([, args]) => args)
  return {
    page,
    window,
    calls,
    called: (name, ...args) =>
      eventually(() => calls(name).some((found) => as(found) === as(args))).catch(() =>
        Promise.reject(new Error(`${name} was called with ${as(calls(name))}`)),
      ),
    logged: (...words) =>
      eventually(() => page.said.some((said) => as(said.slice(1)) === as(words))).catch(() =>
        Promise.reject(new Error(`${as(words)} is not in ${as(page.said)}`)),
      ),
  }
}

const HANDLERS = [
  'Connect',
  'Disconnect',
  'Reconnect',
  'Login',
  'Logout',
  'Session Update',
  'Project Created',
  'Project Updated',
  'Project Deleted',
  'File Created',
  'File Updated',
  'File Deleted',
  'AI Message',
  'AI Response',
  'AI Processing',
  'User Joined',
  'User Left',
  'User Typing',
  'Connection Errors',
  'Authentication Errors',
  'General Errors',
  'Room Events',
]
const EMITS = [
  'Join Project',
  'Project Update',
  'File Change',
  'File Lock',
  'File Unlock',
  'Send AI Message',
  'AI Processing Status',
  'User Presence',
  'User Typing#1',
]

t.test('all handlers and all commands of the document, on two pages, two brokers', async (t) => {
  const claims = { project_access: [PROJECT] }
  const reader = open(await all.keepSession('reader', claims), {}, all.brokers[1].codingAssistantPort)
  await reader.page.run(scriptOf('Authentication Flow', ...HANDLERS))
  await reader.logged('Joined room:', 'user:reader')
  await reader.logged('Joined room:', `project:${PROJECT}`)
  const observer = await all.login(0, 'observer', [`project:${PROJECT}`])
  const writer = open(await all.keepSession('user-456', { ...claims, name: 'Ann' }))
  await writer.page.run(scriptOf('Authentication Flow', 'General Errors', 'Room Events', ...EMITS))

  const ann = { id: 'user-456', name: 'Ann' }
  await reader.called('addUserToOnlineList', ann)
  await reader.called('showNotification', 'Ann joined the project')
  await reader.called('updateProjectInList', { description: 'Updated project description', id: PROJECT })
  await reader.called('showNotification', 'File "App.jsx" updated')
  t.match(reader.calls('updateFileInUI'), [
    [{ name: 'App.jsx', path: 'src/components/App.jsx', action: 'updated', timestamp: /Z$/ }],
  ])
  await reader.called('addMessageToChat', 'Create a React component for a todo list', 'user')
  await reader.called('showUserTypingIndicator', 'user-456')
  await eventually(() => reader.calls('hideUserTypingIndicator').length === 1)
  t.match(await first(observer, 'file:locked'), {
    projectId: PROJECT,
    filePath: 'src/components/App.jsx',
    lockType: 'exclusive',
    userId: 'user-456',
  })
  t.match(await first(observer, 'file:unlocked'), { filePath: 'src/components/App.jsx' })
  t.match(await first(observer, 'ai:processing'), {
    status: 'processing',
    progress: 50,
    message: 'Generating component structure...',
  })
  t.match(await first(observer, 'user:presence'), {
    userId: 'user-456',
    status: 'online',
    activity: 'editing App.jsx',
    timestamp: /Z$/,
  })
  await writer.called('showError', 'An error occurred. Please try again.')
  t.match(
    writer.page.said.filter(([, word]) => word === 'Socket error:'),
    [[String, String, { code: 'SERVICE_UNAVAILABLE' }]],
    'there is no service behind ai:message',
  )

  await writer.page.run(scriptOf('Leave Project'))
  await writer.logged('Left room:', `project:${PROJECT}`)
  await reader.called('showNotification', 'Ann left the project')
  await reader.called('removeUserFromOnlineList', 'user-456')

  const file = { name: 'a.ts', path: 'src/a.ts' }
  const published: [string, object, string, ...unknown[]][] = [
    ['project:created', { project: { id: PROJECT, name: 'P' } }, 'addProjectToList', { id: PROJECT, name: 'P' }],
    [
      'project:updated',
      { projectId: PROJECT, project: { id: PROJECT, name: 'Q' } },
      'showNotification',
      'Project "Q" updated',
    ],
    ['project:deleted', { projectId: PROJECT }, 'removeProjectFromList', PROJECT],
    ['file:created', { projectId: PROJECT, file }, 'addFileToExplorer', file],
    ['file:deleted', { projectId: PROJECT, filePath: 'src/a.ts' }, 'removeFileFromUI', 'src/a.ts'],
    ['ai:response', { projectId: PROJECT, response: { text: 'x', actions: ['open'] } }, 'processAIActions', ['open']],
    ['ai:processing', { projectId: PROJECT, status: 'started' }, 'showAITypingIndicator'],
    ['ai:processing', { projectId: PROJECT, status: 'progress', progress: 40 }, 'updateAIProgress', 40],
    ['ai:processing', { projectId: PROJECT, status: 'error', error: 'broken' }, 'showAIError', 'broken'],
    ['auth:session', { userId: 'reader', session: { id: 's' } }, 'updateSessionInfo', { id: 's' }],
    ['auth:login', { user: { id: 'reader', name: 'R' } }, 'updateUserStatus', { id: 'reader', name: 'R' }],
  ]
  for (const [type, data, name, ...args] of published) {
    await all.publish(type, data)
    await reader.called(name, ...args)
  }
  t.same([reader.window.location.href, reader.calls('showError'), reader.calls('showAuthError')], ['', [], []])

  await reader.page.run(scriptOf('Session Management'))
  await eventually(() => reader.calls('clearUserSession').length === 1)
  await reader.logged('User logged out:', 'reader')
  await reader.logged('Left room:', 'user:reader')
  t.match(reader.calls('updateSessionInfo')[1], [{ userId: 'reader', projectAccess: [PROJECT] }])
})

t.test('rooms: joining and leaving', async (t) => {
  const { page, logged } = open(await all.keepSession('user-456'), { projectId: PROJECT, userId: 'user-456' })
  await page.run(scriptOf('Authentication Flow', 'Room Events', 'Joining Rooms'))
  for (const room of [`project:${PROJECT}`, 'user:user-456', 'notifications']) await logged('Joined room:', room)
  await page.run(scriptOf('Leaving Rooms'))
  for (const room of [`project:${PROJECT}`, 'user:user-456', 'notifications']) await logged('Left room:', room)
  t.notOk(page.said.some(([, word]) => word === 'Room error:'))
})

t.test(
  'a session that is none leads to the login page; one that ends does, and the client comes back as nobody',
  async (t) => {
    const stranger = open('no-such-session')
    await stranger.page.run(scriptOf('Authentication Flow', 'Authentication Errors'))
    await stranger.called('showAuthError', 'There is no such session')
    t.equal(stranger.window.location.href, '/login')
    const sessionId = await all.keepSession('leaver')
    const leaver = open(sessionId)
    await leaver.page.run(scriptOf('Authentication Flow', 'Authentication Errors', 'Disconnect'))
    await eventually(() => leaver.page.said.some(([, word]) => word === 'Authenticated as:'))
    await (await all.sessions()).delete(sessionId)
    await leaver.logged('Disconnected from server:', 'io server disconnect')
    t.equal(leaver.window.location.href, '/login')
    await eventually(() => leaver.page.sockets[0]?.connected === true)
  },
)

t.test('no server: the connection error, and another attempt', async (t) => {
  const { page, calls } = open('', {}, await freePort())
  await page.run(scriptOf('Connection Options', 'Connection Errors'))
  await eventually(() => calls('showConnectionError').length > 0)
  t.match(calls('showConnectionError')[0], ['Unable to connect to server. Please check your internet connection.'])
})

t.test('connecting by hand, and the tests of the document', async (t) => {
  const plain = open('')
  await plain.page.run(scriptOf('Connection Options', 'Test Connection', 'Test Events'))
  await plain.logged('✅ Connected successfully')
  await plain.logged('✅ Ping-pong test passed')
  await plain.logged('✅ Event test passed:', { message: 'Hello Server' })
  const { page, logged } = open(await all.keepSession('tester'))
  await page.run(scriptOf('Authentication Flow', 'Test Rooms', 'Room Events'))
  await logged('✅ Room test passed:', { room: 'test-room' })
  await logged('Left room:', 'test-room')
  const manual = open('')
  await manual.page.run(scriptOf('Connection Management'))
  const socket = manual.page.sockets[0]
  t.notOk(socket?.connected)
  manual.page.declared('connectSocket')()
  await eventually(() => socket?.connected === true)
  manual.page.declared('disconnectSocket')()
  t.notOk(socket?.connected)
})

t.test('debounced typing, and a queue of updates', async (t) => {
  const watcher = await all.login(1, 'watcher', [`project:${PROJECT}`])
  const { page, logged } = open(await all.keepSession('user-456'))
  await page.run(scriptOf('Authentication Flow', 'Room Events', 'Join Project', 'Event Optimization'))
  await logged('Joined room:', `project:${PROJECT}`)
  page.declared('debouncedTyping')(true)
  t.match(await first(watcher, 'user:typing'), { user: { id: 'user-456' }, isTyping: true })
  for (const value of [1, 2])
    page.declared('queueUpdate')({
      event: 'project:update',
      data: { projectId: PROJECT, update: { type: 'n', value } },
    })
  await first(watcher, 'project:updated', 2)
  t.same(
    watcher.of('project:updated').map(([{ update }]) => update.value),
    [1, 2],
  )
})

t.test("the types and the server's settings are ours", async (t) => {
  const page = new Page(0)
  const [format, types] = ['Event Format', 'Event Types'].map(
    (title) => examples.find((example) => example.title === title) as Example,
  )
  for (const example of [format, types]) ran.add(example as Example)
  await page.run(format as Example)
  await page.run(types as Example)
  const known = new Set([...Object.keys(codingAssistant.events), 'connect', 'disconnect', 'reconnect'])
  for (const name of Object.values(page.declared('EventType'))) t.ok(known.has(String(name)), String(name))
  let settings: Record<string, unknown> = {}
  class Server {
    constructor(_: unknown, options: Record<string, unknown>) {
      settings = options
    }
  }
  await new Page(0, { Server, server: {}, process: { env: {} } }).run(scriptOf('Server Configuration'))
  const opened = await (
    await fetch(`http://127.0.0.1:${all.brokers[0].codingAssistantPort}/socket.io/?EIO=4&transport=polling`)
  ).text()
  const { pingInterval, pingTimeout, upgrades } = JSON.parse(opened.slice(1))
  t.match(
    { pingInterval, pingTimeout, upgrades },
    { pingInterval: settings.pingInterval, pingTimeout: settings.pingTimeout, upgrades: ['websocket'] },
  )
})

t.test('every example ran, but the one whose package does not exist', async (t) => {
  t.same(
    examples.filter((example) => !ran.has(example)).map(({ title }) => title),
    ['JavaScript/Node.js'],
  )
})
