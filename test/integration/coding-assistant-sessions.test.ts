import t from 'tap'
import { CodingAssistant, first, someone } from '../support/coding-assistant.ts'
import { token } from '../support/broker.ts'
import { TRANSPORTS } from '../support/socketio-client.ts'

// Some of these clients fail more often than a connection may by default.
const all = await CodingAssistant.start({ MAX_FAILED_AUTHENTICATIONS: 50 })

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  t.test(
    `by ${name}: a session of the store, or a token, says who it is; what is sent right behind waits for that`,
    async (t) => {
      const user = someone('ann')
      const client = await all.connect(0, { transports })
      client.socket.emit('auth:session', {
        sessionId: await all.keepSession(user, { roles: ['engineer'], permissions: ['deploy'] }),
      })
      client.socket.emit('user:join', { userId: user })
      client.socket.emit('project:join', { projectId: 'p' })
      const status = client.ask('auth:check')
      t.same(await first(client, 'auth:success'), {
        user: { id: user, name: user.toUpperCase(), roles: ['engineer'], permissions: ['deploy'] },
      })
      t.same(await status, { status: 'success' })
      t.same(
        client.of('room:joined').map(([data]) => data),
        [{ room: `user:${user}` }, { room: 'project:p' }],
      )
      t.same([client.of('auth:error'), client.of('room:error')], [[], []])
      const bearer = await all.connect(1, { transports })
      t.match(await bearer.ask('auth:session', { sessionId: token(user) }), { status: 'success' })
      t.match(await first(bearer, 'auth:login'), { user: { id: user, name: user } })
      for (const one of [client, bearer]) one.close()
    },
  )
}

t.test('what is no session is auth:error, and one may try again', async (t) => {
  const client = await all.connect(0)
  const kv = await all.sessions()
  await kv.put('no-json', Buffer.from('nonsense'))
  await kv.put('no-claims', Buffer.from(JSON.stringify({ ownerId: 'ann' })))
  await kv.put('bad-claims', Buffer.from(JSON.stringify({ sub: 'ann', exp: 9_999_999_999, project_access: 'all' })))
  await all.keepSession('old', { exp: 1_000 }, 'expired')
  const bad = [
    'unknown',
    'no-json',
    'no-claims',
    'bad-claims',
    'expired',
    '',
    '>',
    '*',
    'a b',
    '.',
    'a..b',
    'x'.repeat(5_000),
    token('ann', { exp: 1_000 }),
    token('ann', {}, 'another key than the one of this broker'),
    7,
    null,
    undefined,
    { id: 'x' },
  ]
  for (const [i, sessionId] of bad.entries()) {
    client.socket.emit('auth:session', { sessionId })
    t.match(
      await first(client, 'auth:error', i + 1),
      { code: 'UNAUTHORIZED', message: String },
      String(JSON.stringify(sessionId)).slice(0, 40),
    )
  }
  for (const nothing of [[], ['text'], [null]])
    t.match(await client.ask('auth:session', ...nothing), { status: 'error' })
  t.same(client.of('auth:success'), [])
  t.match(await client.ask('auth:session', { sessionId: await all.keepSession('ann') }), { status: 'success' })
})

t.test('commands that come before the session wait for it, as those of a connect handler do', async (t) => {
  const client = await all.connect(0)
  client.socket.emit('project:join', { projectId: 'p' })
  client.socket.emit('room:join', { room: 'test-room' })
  client.socket.emit('auth:session', { sessionId: await all.keepSession(someone('eager')) })
  await first(client, 'room:joined', 2)
  t.same(
    client.of('room:joined').map(([data]) => data.room),
    ['project:p', 'test-room'],
  )
  t.equal(client.of('room:error').length, 0)
})

t.test('before, nothing else works, but what asks for nothing', async (t) => {
  const client = await all.connect(0)
  t.match(await client.ask('project:join', { projectId: 'p' }), { status: 'error', code: 'UNAUTHORIZED' })
  t.match(client.of('room:error')[0]?.[0], { room: 'project:p', error: 'Authenticate first', code: 'UNAUTHORIZED' })
  for (const [i, command] of [
    'auth:check',
    'auth:refresh',
    'auth:logout',
    'ai:message',
    'batch:update',
    'no:such',
  ].entries()) {
    t.match(await client.ask(command, {}), { status: 'error', code: 'UNAUTHORIZED' }, command)
    t.match(client.of('auth:error')[i]?.[0], { code: 'UNAUTHORIZED' })
  }
  t.match(await client.ask('test:ping'), { status: 'success' })
  t.match(await client.ask('test:event', { message: 'Hello Server' }), { status: 'success' })
  t.match(await client.ask('user:leave', { userId: 'ann' }), { status: 'success' })
})

t.test('a token at connect counts as well; a bad one is connect_error', async (t) => {
  const client = await all.connect(0, { token: token('bo') })
  t.match(await first(client, 'auth:login'), { user: { id: 'bo' } })
  const refused = all.connect(0, { token: 'nonsense' })
  await t.rejects(refused, /not valid/)
})

t.test('who does not authenticate within 30 s is told, and disconnected', async (t) => {
  const client = await all.connect(0)
  await client.until(() => client.disconnects.length > 0)
  t.match(
    client.arrivals.map(({ event, args: [data] }) => [event, data]),
    [['auth:error', { code: 'UNAUTHORIZED', message: String }]],
  )
  t.same(client.disconnects, ['io server disconnect'])
})

t.test('refresh reads the session anew, and a change in the store is told', async (t) => {
  const user = someone('cy')
  const sessionId = await all.keepSession(user, { project_access: ['p', 'q'] })
  const client = await all.connect(0)
  client.socket.emit('auth:session', { sessionId })
  for (const projectId of ['p', 'q']) client.socket.emit('project:join', { projectId })
  client.socket.emit('auth:refresh')
  t.match(await first(client, 'auth:session'), {
    session: { userId: user, projectAccess: ['p', 'q'], expiresAt: /Z$/ },
  })
  await all.keepSession(user, { project_access: ['q', 'r'] })
  t.match(await first(client, 'auth:session', 2), { session: { projectAccess: ['q', 'r'] } })
  client.socket.emit('project:join', { projectId: 'r' })
  await first(client, 'room:joined', 3)
  for (const projectId of ['p', 'q', 'r']) await all.publish('project:deleted', { projectId })
  await first(client, 'project:deleted', 2)
  t.same(
    client.of('project:deleted').map(([data]) => data.projectId),
    ['q', 'r'],
    'a project that is lost is left',
  )
  t.match(await client.ask('auth:refresh'), { status: 'success' })
  t.equal(client.of('auth:session').length, 3)
})

t.test('the same user may authenticate again, another one may not before the logout', async (t) => {
  const [user, other] = [someone('di'), someone('ed')]
  const client = await all.login(0, user, ['notifications'])
  t.match(await client.ask('auth:session', { sessionId: await all.keepSession(user) }), { status: 'success' })
  t.match(await client.ask('auth:session', { sessionId: await all.keepSession(other) }), {
    status: 'error',
    error_code: 'AUTH_FAILED',
  })
  t.match(await first(client, 'auth:error'), { code: 'UNAUTHORIZED', message: /log out/ })
  client.socket.emit('auth:logout')
  client.socket.emit('user:leave', { userId: user })
  client.socket.emit('auth:session', { sessionId: await all.keepSession(other) })
  client.socket.emit('auth:check')
  t.match(await first(client, 'auth:success', 4), { user: { id: other } })
  t.same(
    client.of('auth:logout').map(([data]) => data),
    [{ userId: user }],
  )
  await all.publish('project:deleted', { projectId: 'x' }, { rooms: ['notifications', `user:${user}`] })
  client.socket.emit('user:join', { userId: other })
  await first(client, 'room:joined', 2)
  await all.publish('project:deleted', { projectId: 'z' }, { rooms: [`user:${other}`] })
  t.match(await first(client, 'project:deleted'), { projectId: 'z' }, 'nothing of before came through')
  t.equal(client.disconnects.length, 0)
})

t.test(
  'a recovered connection whose session is gone belongs to whoever logs in next, and holds nothing of before',
  async (t) => {
    const [ida, jo] = [someone('ida'), someone('jo')]
    const client = await all.connect(0, { transports: ['websocket'] })
    await client.ask('auth:session', { sessionId: await all.keepSession(ida) })
    client.socket.emit('user:join', { userId: ida })
    await first(client, 'room:joined')
    client.socket.disconnect()
    await (await all.sessions()).delete(`session-${ida}`)
    await all.publish('project:deleted', { projectId: 'x' }, { rooms: [`user:${ida}`] })
    client.socket.connect()
    await client.connected(2)
    t.match(await client.ask('auth:check'), { status: 'error', code: 'UNAUTHORIZED' })
    t.match(await client.ask('auth:session', { sessionId: await all.keepSession(jo) }), { status: 'success' })
    client.socket.emit('user:join', { userId: jo })
    await first(client, 'room:joined', 2)
    for (const user of [ida, jo]) await all.publish('project:deleted', { projectId: user }, { rooms: [`user:${user}`] })
    t.match(await first(client, 'project:deleted'), { projectId: jo })
  },
)

t.test('a session that is deleted, that the store forgets, or whose time is up ends by name', async (t) => {
  const ways: [string, (sessionId: string) => Promise<unknown>][] = [
    ['deleted', async (sessionId) => (await all.sessions()).delete(sessionId)],
    ['purged', async (sessionId) => (await all.sessions()).purge(sessionId)],
    ["another's", (sessionId) => all.keepSession('somebody-else', {}, sessionId)],
    ['no claims any more', async (sessionId) => (await all.sessions()).put(sessionId, Buffer.from('{}'))],
    ['exp', async () => {}],
  ]
  for (const [name, end] of ways) {
    const user = someone('flo')
    const sessionId = await all.keepSession(user, name === 'exp' ? { exp: Math.floor(Date.now() / 1000) + 3 } : {})
    const client = await all.connect(1)
    t.match(await client.ask('auth:session', { sessionId }), { status: 'success' })
    await end(sessionId)
    await client.until(() => client.disconnects.length > 0)
    t.match(
      client.of('auth:error').map(([data]) => data),
      [{ code: 'UNAUTHORIZED', message: String }],
      name,
    )
    t.same(client.disconnects, ['io server disconnect'])
  }
  const bearer = await all.connect(0)
  bearer.socket.emit('auth:session', { sessionId: token('gus', { exp: Math.floor(Date.now() / 1000) + 2 }) })
  await bearer.until(() => bearer.disconnects.length > 0)
  t.match(
    bearer.of('auth:error').map(([data]) => data),
    [{ code: 'UNAUTHORIZED' }],
  )
})

t.test('refresh of a session that is gone ends it, once', async (t) => {
  const sessionId = await all.keepSession(someone('hal'))
  const client = await all.connect(1)
  await client.ask('auth:session', { sessionId })
  await (await all.sessions()).delete(sessionId)
  client.socket.emit('auth:refresh')
  await client.until(() => client.disconnects.length > 0)
  t.equal(client.of('auth:error').length, 1)
})

t.test('a login of this application lets nobody into another one by the id that it recovers with', async (t) => {
  const client = await all.connect(0)
  t.match(await client.ask('auth:session', { sessionId: await all.keepSession(someone('ina')) }), { status: 'success' })
  t.match(await client.ask('room:join', { room: 'project:p' }), { status: 'success' })
  const { _pid: pid } = client.socket as unknown as { _pid: string }
  const elsewhere = await all.connectTo(all.brokers[1].port, { auth: { pid } }, '/portal')
  t.equal(elsewhere.socket.recovered, false)
  t.match(await elsewhere.ask('join_project', { project_name: 'p' }), { status: 'error', error_code: 'AUTH_MISSING' })
  const back = await all.connect(1, { auth: { pid } })
  t.match(await back.ask('auth:check'), { status: 'success' })
})
