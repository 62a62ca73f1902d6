import { type ChildProcess, spawn } from 'node:child_process'
import { connect as connectNats } from 'nats'
import t from 'tap'
import { SECRET, token } from '../support/broker.ts'
import { TestClient } from '../support/client.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

const SCRIPT = new URL('../../scripts/demo.mjs', import.meta.url).pathname
const MOVING_MS = 5_000

const demo: ChildProcess = spawn(process.execPath, [SCRIPT, '--print-ports', '--no-build'], {
  env: {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    JWT_SECRET: SECRET,
    PUBLISH_KEY: 'a-publish-key',
    PORT: '0',
    CODING_ASSISTANT_PORT: '0',
    GEMINI_SESSIONS_PORT: '0',
    OPS_PORT: '0',
  },
  stdio: ['ignore', 'pipe', 'pipe'],
})
let said = ''
demo.stderr?.on('data', (chunk) => {
  said += chunk
})
const ended = new Promise<number | null>((resolve) => demo.once('exit', (code) => resolve(code)))
const ports = await new Promise<Record<string, number> & { nats_url: string; token: string }>((resolve, reject) => {
  let line = ''
  demo.stdout?.on('data', (chunk) => {
    line += chunk
    if (line.includes('\n')) resolve(JSON.parse(line))
  })
  ended.then((code) => reject(new Error(`the demo ended with ${code}: ${said}`)))
})
const readyAt = Date.now()
const http = `http://127.0.0.1:${ports.port}`

// All connect at once, at the demo's ready line.
const raw = await TestClient.connect(`ws://127.0.0.1:${ports.port}/ws`, { token: ports.token })
const [agents, project, chat, monitoring, coding, gemini] = (await Promise.all([
  SocketIoClient.connect(`${http}/ws`, { token: ports.token }),
  SocketIoClient.connect(`${http}/project/demo`, { token: ports.token }),
  SocketIoClient.connect(`${http}/chat/demo`, { token: ports.token }),
  SocketIoClient.connect(`${http}/monitoring`, { token: ports.token }),
  SocketIoClient.connect(`http://127.0.0.1:${ports.coding_assistant_port}`, { token: null }),
  SocketIoClient.connect(`http://127.0.0.1:${ports.gemini_sessions_port}`, { token: token('dev') }),
])) as [SocketIoClient, SocketIoClient, SocketIoClient, SocketIoClient, SocketIoClient, SocketIoClient]
const clients = [agents, project, chat, monitoring, coding, gemini]
coding.socket.emit('auth:session', { sessionId: 'demo-ann' })
coding.socket.emit('project:join', { projectId: 'demo' })
gemini.socket.emit('join-session', { sessionId: 'demo' })
await raw.subscribe(['sync_progress', 'ai_chat'])
await agents.subscribe('project:demo')

t.teardown(() => {
  for (const client of clients) client.close()
  demo.kill('SIGKILL')
})

/** Moving: more than one of each, and not the same. */
const moves = (client: SocketIoClient, ...events: string[]) =>
  client.until(
    () => events.every((event) => new Set(client.of(event).map(([data]) => JSON.stringify(data))).size > 1),
    Math.max(1, readyAt + MOVING_MS - Date.now()),
  )

t.test("each application's own client sees moving data within five seconds of the ready line", async (t) => {
  await Promise.all([
    (async () => {
      for (const type of ['sync_progress', 'ai_chat_response_chunk']) await raw.type(type)
      const from = raw.frames.length
      t.not(
        (await raw.type('sync_progress', from)).data.games_processed,
        raw.frames.find(({ type }) => type === 'sync_progress')?.data.games_processed,
      )
      t.ok(Date.now() - readyAt < MOVING_MS, 'Game Djinn')
    })(),
    moves(agents, 'agent.status_changed', 'workflow.progress'),
    moves(project, 'task_update', 'state_change'),
    moves(chat, 'message_received'),
    moves(monitoring, 'agent_activity', 'test_output'),
    moves(coding, 'file:locked', 'file:updated', 'file:unlocked', 'user:typing'),
    moves(gemini, 'gemini:content'),
  ])
  const holders = coding.of('file:locked').map(([{ userId }]) => userId)
  t.ok(holders.includes('demo-ann') && holders.includes('demo-bob'), 'locks move')
})

t.test("the demo's services answer commands", async (t) => {
  raw.send({
    type: 'ai_chat_message',
    data: { message: 'What now?', context: { conversation_id: 'of-the-test' } },
    id: 'm1',
  })
  const complete = await raw.next(({ type, data }) => type === 'ai_chat_response_complete' && data.message_id === 'm1')
  t.match(complete.data, { conversation_id: 'of-the-test', full_message: /What now\?/ })

  chat.socket.emit('send_message', { content: '/sprint start', type: 'command' })
  await chat.until(() => chat.of('command_result').length > 0)
  t.match(chat.of('command_result')[0]?.[0], { command: '/sprint start', success: true })

  coding.socket.emit('ai:message', { message: 'from the test', projectId: 'demo' })
  await coding.until(() =>
    coding.of('ai:response').some(([{ response }]) => response.content.includes('from the test')),
  )

  t.match(await gemini.ask('tool:list'), { status: 'success', data: { tools: [{ name: 'readFile' }] } })
  t.match(await gemini.ask('tool:execute', { name: 'nothing' }), { status: 'error', error_code: 'DEMO_REFUSED' })
  gemini.socket.emit('chat:message', { content: 'A question of the test' })
  await gemini.until(() =>
    gemini.of('gemini:done').some(([{ fullResponse }]) => fullResponse.includes('A question of the test')),
  )
  // Chunks of an answer come in order: each says what was said so far.
  let accumulated = ''
  for (const {
    event,
    args: [data],
  } of gemini.arrivals.slice(gemini.arrivals.findIndex(({ event }) => event === 'gemini:thought'))) {
    if (event === 'gemini:thought') accumulated = ''
    if (event === 'gemini:content') t.equal(data.accumulated, (accumulated += data.text))
    if (event === 'gemini:done') t.equal(data.fullResponse, accumulated)
  }
  gemini.socket.emit('chat:message', { content: 'Something long' })
  await gemini.until(() => gemini.of('gemini:thought').some(([{ thought }]) => thought.includes('Something long')))
  t.same(await gemini.ask('chat:cancel'), { status: 'success' })
  await gemini.until(() => gemini.of('gemini:cancelled').length > 0)
})

t.test('Ctrl-C ends all of it', async (t) => {
  for (const client of clients) client.close()
  await raw.close()
  demo.kill('SIGINT')
  t.equal(await ended, 0)
  t.equal(said, '', 'without a complaint')
  await t.rejects(connectNats({ servers: ports.nats_url, reconnect: false }), 'the nats-server is gone')
  await t.rejects(fetch(`http://127.0.0.1:${ports.ops_port}/healthz`), 'the broker is gone')
})
