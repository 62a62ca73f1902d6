// Coding Assistant: a login service, an AI that answers, and two users with the client library who edit files in turn.
import { JSONCodec } from 'nats'
import { io } from 'socket.io-client'
import { now, oneOf, pause } from './backend.mjs'

const projectId = 'demo'
const FILES = ['src/App.jsx', 'src/index.js', 'README.md']
const USERS = [
  { sub: 'demo-ann', name: 'Ann (demo)' },
  { sub: 'demo-bob', name: 'Bob (demo)' },
]
const SESSION_S = 86_400

/** @returns how to end the users */
export async function startCodingAssistant({ publish, answer, every, isStopped, jetstream }, address) {
  // As a login service does it: a record whose key is the session's id, and whose value are the claims.
  const sessions = await jetstream.views.kv('roomcast_sessions')
  for (const user of USERS)
    await sessions.put(
      user.sub,
      JSONCodec().encode({ ...user, exp: Math.floor(Date.now() / 1000) + SESSION_S, project_access: [projectId] }),
    )

  answer(
    'ai:message',
    () => undefined,
    async ({ data: { messageId, message }, user_id: userId }) => {
      for (const progress of [0, 50, 100]) {
        await publish('ai:processing', {
          projectId,
          userId,
          messageId,
          status: progress === 0 ? 'started' : progress === 100 ? 'completed' : 'progress',
          progress,
        })
        await pause(300)
      }
      await publish('ai:response', {
        projectId,
        userId,
        response: {
          id: messageId,
          content: `The demo read "${message}" and would write a test first.`,
          timestamp: now(),
        },
      })
    },
  )
  every(15_000, (round) => publish('project:created', { project: { id: projectId, name: `Demo, part ${round + 1}` } }))

  const sockets = USERS.map(({ sub: userId }) => {
    const socket = io(address, { forceNew: true })
    socket.on('connect', () => {
      socket.emit('auth:session', { sessionId: userId })
      socket.emit('project:join', { projectId, userId })
      socket.emit('user:presence', { userId, status: 'online', activity: 'in the demo' })
    })
    return { socket, userId }
  })

  // One edits a file, which is locked meanwhile; then it is the other's turn.
  every(200, async (round) => {
    const { socket, userId } = oneOf(sockets, round)
    if (!socket.connected) return
    const path = oneOf(FILES, round)
    const send = (command, data) =>
      socket
        .timeout(5_000)
        .emitWithAck(command, { projectId, userId, ...data })
        .catch(() => undefined)
    socket.emit('user:typing', { projectId, userId, isTyping: true })
    send('file:lock', { filePath: path, lockType: 'exclusive' })
    await pause(600)
    send('file:change', { file: { path, action: 'updated', timestamp: now() } })
    await pause(300)
    if (isStopped()) return
    send('file:unlock', { filePath: path })
    socket.emit('user:typing', { projectId, userId, isTyping: false })
    if (round % 4 === 3) socket.emit('ai:message', { message: `How do I test ${path}?`, projectId, userId })
    if (round % 5 === 4)
      socket.emit('project:update', {
        projectId,
        userId,
        update: { type: 'description', value: `Edited ${round + 1} times` },
      })
  })
  return () => {
    for (const { socket } of sockets) socket.disconnect()
  }
}
