import { existsSync, readFileSync } from 'node:fs'
import vm from 'node:vm'
import { io, type Socket } from 'socket.io-client'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { publish, serve, someone } from '../support/gemini.ts'
import { TestNats } from '../support/nats.ts'
import { EXAMPLES } from './gemini-sessions-events.ts'

/** The document as it is; the repository's copy makes its examples run where there is no other. */
const COPY = readFileSync(new URL('gemini-sessions.md', import.meta.url), 'utf8')
const ORIGINAL = new URL('../../../shared/specs/gemini-sessions.md', import.meta.url)

/** Its examples of code, each under the heading nearest above it. */
const BLOCKS = [...COPY.matchAll(/^#{2,4} `?(.*?)`?$|^```javascript\n([\s\S]*?)^```$/gm)]
  .reduce<{ heading: string; code: string }[]>((found, [, heading, code]) => {
    if (code !== undefined) (found[found.length - 1] as { code: string }).code += code
    else found.push({ heading: heading as string, code: '' })
    return found
  }, [])
  .filter(({ code }) => code !== '')

const codeOf = (heading: string) => BLOCKS.find((block) => block.heading === heading)?.code as string

const nats = await TestNats.start()
const brokers = [
  await TestBroker.start({ NATS_URL: nats.url }),
  await TestBroker.start({ NATS_URL: nats.url }),
] as const
t.teardown(async () => {
  for (const broker of brokers) await broker.stop()
  await nats.stop()
})

interface Page {
  readonly sockets: Socket[]
  /** What the examples said on the console. */
  readonly said: unknown[][]
  run(heading: string): void
  has(...words: unknown[]): Promise<void>
}

/**
 * Runs code of the document with our port in the place of its own, and a token of ours in the place of its placeholder.
 */
function page(t: Test, broker: TestBroker, jwtToken: string, globals: Record<string, unknown> = {}): Page {
  const sockets: Socket[] = []
  t.teardown(() =>
    sockets.forEach((socket) => {
      socket.disconnect()
    }),
  )
  const said: unknown[][] = []
  const say = (...words: unknown[]) => said.push(words)
  const context = vm.createContext({
    console: { log: say, error: say },
    jwtToken,
    ...globals,
    io: (url: string, options: { auth: { token: string } }) => {
      const auth = options.auth.token === 'your-jwt-token' ? { token: jwtToken } : options.auth
      const socket = io(url.replace('localhost:3000', `127.0.0.1:${broker.geminiSessionsPort}`), {
        forceNew: true,
        ...options,
        auth,
      })
      sockets.push(socket)
      return socket
    },
  })
  return {
    sockets,
    said,
    run: (heading) => void vm.runInContext(codeOf(heading).replace(/^const socket = /m, 'var socket = '), context),
    has: async (...words) => {
      await eventually(() =>
        said.some((line) => words.every((word, i) => JSON.stringify(line[i]) === JSON.stringify(word))),
      ).catch(() => {
        throw new Error(`"${words}" was never said, but ${JSON.stringify(said)}`)
      })
    },
  }
}

t.test('the copy is the document', async (t) => {
  if (existsSync(ORIGINAL)) t.equal(COPY, readFileSync(ORIGINAL, 'utf8'))
  t.same(
    BLOCKS.map(({ heading }) => heading).filter((heading, i, all) => all.indexOf(heading) !== i),
    [],
    'each example has a heading of its own',
  )
  t.equal(
    BLOCKS.map(({ code }) => code).join(''),
    [...COPY.matchAll(/^```javascript\n([\s\S]*?)^```$/gm)].map(([, code]) => code).join(''),
    'and none is left out',
  )
})

t.test('Basic Chat Flow', async (t) => {
  const sessionId = someone('session')
  const service = await serve(nats, 'chat:message', ({ session_id }) => {
    void (async () => {
      for (const text of ['Hello, ', 'you.'])
        await publish(nats, 'gemini:content', { text, accumulated: text, sessionId: session_id })
      await publish(nats, 'gemini:done', {
        fullResponse: 'Hello, you.',
        timestamp: new Date().toISOString(),
        sessionId: session_id,
      })
    })()
    return { ok: true }
  })
  t.teardown(() => service.stop())
  const pages = brokers.map((broker) => page(t, broker, token('ann', { session_access: [sessionId] }), { sessionId }))
  pages[0]?.run('Basic Chat Flow')
  await pages[0]?.has('Full response:', 'Hello, you.')
  t.same(pages[0]?.said, [
    ['Partial response:', 'Hello, '],
    ['Partial response:', 'you.'],
    ['Full response:', 'Hello, you.'],
  ])
  t.same(
    service.requests.map(({ data, user_id, session_id }) => [data, user_id, session_id]),
    [[{ content: 'Hello, Gemini!' }, 'ann', sessionId]],
  )
})

t.test('Tool Execution Flow', async (t) => {
  const sessionId = someone('session')
  const approvals = await serve(nats, 'tool:approve', ({ data, session_id }) => {
    void (async () => {
      await publish(nats, 'tool:execution-start', {
        name: 'readFile',
        args: {},
        callId: data.callId,
        sessionId: session_id,
      })
      await publish(nats, 'tool:execution-complete', {
        name: 'readFile',
        result: 'text',
        callId: data.callId,
        sessionId: session_id,
      })
    })()
    return { ok: true }
  })
  t.teardown(() => approvals.stop())
  const { run, has, sockets, said } = page(t, brokers[1], token('bob', { session_access: ['*'] }), { sessionId })
  run('Establishing Connection')
  run('Tool Execution Flow')
  sockets[0]?.emit('join-session', { sessionId })
  await new Promise((resolve) => sockets[0]?.once('session-joined', resolve))
  await publish(nats, 'gemini:tool-request', { tool: 'readFile', args: {}, callId: 'call_123_456', sessionId })
  await has('Tool completed:', 'text')
  t.same(said, [['Gemini wants to use readFile'], ['Tool starting:', 'readFile'], ['Tool completed:', 'text']])
  t.same(
    approvals.requests.map(({ data }) => data),
    [{ callId: 'call_123_456' }],
  )
})

t.test('Monitoring Flow (Admin)', async (t) => {
  const sessionId = someone('session')
  const admin = page(t, brokers[0], token('root', { roles: ['admin'] }))
  admin.run('Establishing Connection')
  admin.run('Monitoring Flow (Admin)')
  await eventually(() => admin.said.some(([words]) => words === 'Activity summary:'))
  t.match(
    admin.said.find(([words]) => words === 'Activity summary:'),
    ['Activity summary:', { totalEvents: Number, byType: Object, byUser: Object, toolUsage: Object }],
  )
  const user = page(t, brokers[1], token('cy', { session_access: ['*'] }), { sessionId })
  user.run('Basic Chat Flow')
  await admin.has('User cy sent: Hello, Gemini!')
})

t.test('every example of its own, unchanged, on one page', async (t) => {
  const sessionId = 'session_123_456'
  const tools = [{ name: 'readFile', description: 'Reads a file', parameters: { path: 'string' } }]
  const service = await serve(nats, '>', ({ type }) => ({ ok: true, data: type === 'tool:list' ? { tools } : {} }))
  t.teardown(() => service.stop())
  const { run, has, sockets, said } = page(t, brokers[0], token('root', { roles: ['admin'] }))
  const flows = new Set(['Basic Chat Flow', 'Tool Execution Flow', 'Monitoring Flow (Admin)', 'Error Handling'])
  const own = BLOCKS.filter(({ heading }) => !flows.has(heading))
  const commands = [
    'join-session',
    'chat:message',
    'chat:cancel',
    'chat:get-history',
    'tool:execute',
    'tool:approve',
    'tool:reject',
    'tool:list',
    'monitoring:subscribe',
    'monitoring:get-events',
    'monitoring:get-stats',
    'monitoring:broadcast',
    'monitoring:unsubscribe',
    'chat:clear',
  ]
  run('Establishing Connection')
  for (const { heading } of own) if (!commands.includes(heading) && heading !== 'Establishing Connection') run(heading)
  run('Error Handling')
  t.same(
    own
      .map(({ heading }) => heading)
      .filter((heading) => codeOf(heading).includes('.emit('))
      .sort(),
    [...commands].sort(),
    'all commands of the document',
  )
  const [socket] = sockets as [Socket]
  await has('Connected to server')
  const answered = (event: string) => new Promise((resolve) => socket.once(event, resolve))
  const joined = answered('session-joined')
  run('join-session')
  t.same(await joined, { sessionId })
  const answers: Record<string, string> = {
    'chat:get-history': 'chat:history',
    'tool:list': 'tool:list-response',
    'monitoring:get-events': 'monitoring:events',
    'monitoring:get-stats': 'monitoring:stats',
    'chat:clear': 'chat:cleared',
    'tool:approve': 'tool:approved',
    'tool:reject': 'tool:rejected',
  }
  run('monitoring:subscribe')
  await socket.emitWithAck('chat:cancel')
  for (const command of commands.slice(1)) {
    if (command === 'monitoring:unsubscribe') continue
    const answer = answers[command] && answered(answers[command])
    run(command)
    await answer
  }
  for (const [type, data] of Object.entries(EXAMPLES)) await publish(nats, type, { ...data, sessionId })
  const {
    'gemini:content': content,
    'gemini:thought': thought,
    'gemini:tool-request': request,
    'gemini:tool-result': result,
    'gemini:done': done,
  } = EXAMPLES
  await has('Received:', content?.text)
  await has('Accumulated:', content?.accumulated)
  await has('Thought:', thought?.thought)
  await has('Summary:', thought?.summary)
  await has('Tool requested:', request?.tool)
  await has('Arguments:', request?.args)
  await has('Call ID:', request?.callId)
  await has('Tool result:', result?.result)
  await has('Full response:', done?.fullResponse)
  await has('Timestamp:', done?.timestamp)
  await has('Request cancelled:', EXAMPLES['gemini:cancelled']?.message)
  await has('Gemini error:', EXAMPLES['gemini:error']?.error)
  await has('User someone is typing: true')
  await has('Conversation cleared at:', EXAMPLES['chat:cleared']?.timestamp)
  await eventually(() =>
    said.some(
      ([words, history]) =>
        words === 'History:' && JSON.stringify(history).includes('Hello, Gemini! How can you help me today?'),
    ),
  )
  await has('Executing tool:', 'readFile')
  await has('Display:', '3 lines')
  await has('Execution time:', '12ms')
  await has('Tool failed:', 'readFile')
  await has('Error:', 'ENOENT')
  await has('Tool approved by:', 'root')
  await has('Tool rejected by:', 'root')
  await has('Reason:', 'Security concern')
  await has('Tool:', 'readFile')
  await has('Description:', 'Reads a file')
  await has('Parameters:', { path: 'string' })
  await has('Activity:', 'chat')
  await has('User:', 'root')
  await eventually(() => said.some(([words]) => words === 'Total events:'))
  await has('System message:', 'System maintenance in 10 minutes')
  await has('From:', 'root')
  t.notOk(
    said.some(([words]) => words === 'WebSocket error:'),
    'nothing went wrong',
  )
  run('monitoring:unsubscribe')
  socket.emit('join-session', { sessionId: 7 })
  await has('WebSocket error:', 'Invalid message format')
  socket.disconnect()
  await has('Disconnected:', 'io client disconnect')
  const stranger = page(t, brokers[1], 'nonsense')
  stranger.run('Establishing Connection')
  stranger.run('connect_error')
  await stranger.has('Connection failed:', 'Authentication failed')
})
