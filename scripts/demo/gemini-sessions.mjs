// Gemini Sessions: a model that streams its answers word by word, uses tools, and may be cancelled.
import { JSONCodec } from 'nats'
import { now, oneOf, pause, spoken } from './backend.mjs'

const DEMO = 'demo'
const QUESTIONS = ['What is in this folder?', 'Which tests fail?', 'Why is the build slow?']
const TOOLS = [{ name: 'readFile', description: 'Reads a file of the demo', parameters: { path: 'string' } }]

export async function startGeminiSessions({ publish: store, answer, every, jetstream }) {
  // Who owns a session may join it.
  const sessions = await jetstream.views.kv('roomcast_sessions')
  await sessions.put(DEMO, JSONCodec().encode({ ownerId: 'dev', name: 'The session of the demo' }))

  /** By session: the end of what is said there now. One answer after another, never two at once. */
  const talks = new Map()
  const cancelled = new Set()
  const publish = (sessionId, type, data) => store(type, { ...data, sessionId })

  const inTurn = (sessionId, run) => {
    const next = (talks.get(sessionId) ?? Promise.resolve()).then(run)
    const settled = next
      .catch(() => undefined)
      .then(() => {
        if (talks.get(sessionId) === settled) talks.delete(sessionId)
      })
    talks.set(sessionId, settled)
    return next
  }
  const say = (sessionId, question) =>
    inTurn(sessionId, async () => {
      cancelled.delete(sessionId)
      await publish(sessionId, 'gemini:thought', {
        thought: `They ask: ${question}`,
        summary: 'A question to the demo',
      })
      let fullResponse = ''
      for await (const { text, accumulated } of spoken(
        `You asked "${question}". This is the demo: it says the same to everyone, one word after another.`,
      )) {
        if (cancelled.delete(sessionId))
          return publish(sessionId, 'gemini:cancelled', { message: 'Cancelled by the user' })
        await publish(sessionId, 'gemini:content', { text, accumulated })
        fullResponse = accumulated
      }
      await publish(sessionId, 'gemini:done', { fullResponse, timestamp: now() })
    })
  const execute = async (sessionId, name, args, callId) => {
    await publish(sessionId, 'tool:execution-start', { name, args, callId })
    await pause(200)
    await publish(sessionId, 'tool:execution-complete', {
      name,
      callId,
      result: { lines: 3 },
      resultDisplay: '3 lines',
      executionTime: 200,
    })
  }

  answer(
    'chat:message',
    () => undefined,
    ({ session_id, data }) => say(session_id, data.content),
  )
  answer('chat:cancel', ({ session_id }) => {
    if (talks.has(session_id)) cancelled.add(session_id)
  })
  answer('tool:list', () => ({ tools: TOOLS }))
  answer(
    'tool:execute',
    ({ data: { name } }) => {
      if (!TOOLS.some((tool) => tool.name === name)) throw new Error(`The demo has no tool "${name}"`)
    },
    ({ session_id, data: { name, args = {}, callId } }) => execute(session_id, name, args, callId),
  )
  for (const command of ['tool:approve', 'tool:reject']) answer(command, () => undefined)

  every(2_000, async (round) => {
    const question = oneOf(QUESTIONS, round)
    await publish(DEMO, 'chat:message', {
      content: question,
      userId: 'demo-visitor',
      messageId: `demo-${round}`,
      timestamp: now(),
    })
    await say(DEMO, question)
    const callId = `demo-call-${round}`
    await publish(DEMO, 'gemini:tool-request', { callId, tool: 'readFile', args: { path: '/demo/README.md' } })
    await execute(DEMO, 'readFile', { path: '/demo/README.md' }, callId)
    await publish(DEMO, 'gemini:tool-result', { callId, result: { lines: 3 } })
  })
}
