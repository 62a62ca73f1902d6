import t from 'tap'
import { CodingAssistant, first } from '../support/coding-assistant.ts'
import { TestBroker, token } from '../support/broker.ts'
import { SocketIoClient } from '../support/socketio-client.ts'
import { TestNats } from '../support/nats.ts'

t.test('a session that a bucket with a time of its own forgets ends by name', async (t) => {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const kv = await (await nats.jetstream()).views.kv('roomcast_sessions', { ttl: 3_000 })
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(() => broker.stop())
  await kv.put('s', Buffer.from(JSON.stringify({ sub: 'ann', exp: Math.floor(Date.now() / 1000) + 3600 })))
  const client = await SocketIoClient.connect(`http://127.0.0.1:${broker.codingAssistantPort}`, { token: null })
  t.teardown(() => client.close())
  t.match(await client.ask('auth:session', { sessionId: 's' }), { status: 'success' })
  await client.until(() => client.disconnects.length > 0)
  t.match(
    client.of('auth:error').map(([data]) => data),
    [{ code: 'UNAUTHORIZED', message: 'There is no such session' }],
  )
})

t.test('without NATS: a clear error, no lock, and sessions go on', async (t) => {
  const all = await CodingAssistant.start()
  const ann = await all.login(0, 'ann', ['project:p'])
  const kept = await all.connect(0)
  await kept.ask('auth:session', { sessionId: await all.keepSession('kept') })
  t.match(await ann.ask('file:lock', { projectId: 'p', filePath: 'before' }), { status: 'success' })
  await all.nats.kill()
  const late = await all.connect(0)
  for (const [command, data] of [
    ['file:lock', { projectId: 'p', filePath: 'a' }],
    ['file:unlock', { projectId: 'p', filePath: 'before' }],
    ['file:lock', { projectId: 'p', filePath: 'before', lockType: 'shared' }],
    ['project:update', { projectId: 'p', update: 1 }],
    ['ai:message', { projectId: 'p', message: 'x' }],
  ] as const) {
    t.match(await ann.ask(command, data), { status: 'error', code: 'SERVICE_UNAVAILABLE', message: /NATS/ }, command)
  }
  t.match(
    ann.of('error').map(([{ code }]) => code),
    Array(5).fill('SERVICE_UNAVAILABLE'),
  )
  t.match(await late.ask('auth:session', { sessionId: 'session-kept' }), {
    status: 'error',
    error_code: 'SERVICE_UNAVAILABLE',
  })
  t.match(
    await first(late, 'auth:error'),
    { code: 'SERVICE_UNAVAILABLE' },
    'nobody is sent to log in again for an outage',
  )
  t.match(await late.ask('auth:session', { sessionId: token('late') }), { status: 'success' }, 'a token needs no store')
  t.match(await kept.ask('auth:refresh'), { status: 'error', code: 'SERVICE_UNAVAILABLE' })
  t.match(await kept.ask('auth:check'), { status: 'success' })
  await all.nats.run()
  await ann.until(() => {
    ann.socket.emit('file:lock', { projectId: 'p', filePath: 'after' })
    return ann.of('file:locked').some(([{ filePath }]) => filePath === 'after')
  })
  const bob = await all.login(1, 'bob', ['project:p'])
  // Each broker finds NATS again by itself.
  await bob.until(() => {
    bob.socket.emit('file:lock', { projectId: 'p', filePath: 'ready' })
    return bob.of('file:locked').some(([{ filePath }]) => filePath === 'ready')
  })
  t.match(
    await bob.ask('file:lock', { projectId: 'p', filePath: 'before' }),
    { status: 'error', code: 'FILE_LOCKED', holder: 'ann' },
    'what was held before is held after',
  )
  t.match(
    await bob.ask('file:lock', { projectId: 'p', filePath: 'a' }),
    { status: 'success' },
    'what was refused is free',
  )
})
