import t, { type Test } from 'tap'
import { token } from '../support/broker.ts'
import { CodingAssistant, first, settle, someone } from '../support/coding-assistant.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

/** Two users with different rights: whoever attacks may be in the project `own`, whoever is attacked in `secret`. */
const all = await CodingAssistant.start()
const victim = await all.login(1, 'victim', ['project:secret', 'user:victim'])
const attacker = await all.login(0, 'attacker', [], { claims: { project_access: ['own'] } })
const before = victim.arrivals.length

/** Every way in which data can name somebody else's room. */
const ELSEWHERE = {
  project: { id: 'secret' },
  user: { id: 'victim', userId: 'victim' },
  id: 'secret',
  room: 'project:secret',
  rooms: ['project:secret', 'user:victim'],
  project_id: 'secret',
  user_id: 'victim',
  projectAccess: ['secret'],
  metadata: { projectId: 'secret' },
  data: { projectId: 'secret' },
}

/** Nothing came to the victim: something that was sent there later has come. */
async function untouched(t: Test, name: string): Promise<void> {
  await all.publish('project:deleted', { projectId: 'secret', last: name })
  await victim.until(() => victim.of('project:deleted').some(([{ last }]) => last === name))
  const strange = victim.arrivals
    .slice(before)
    .filter(({ event, args: [{ last }] }) => event !== 'project:deleted' || last === undefined)
  t.same(strange, [], name)
}

t.test('ai:status {project: {id}} reached a project that its sender may not be in', async (t) => {
  const answer = await attacker.ask('ai:status', { status: 'processing', ...ELSEWHERE, userId: 'victim' })
  t.match(answer, { status: 'success' }, 'what the command does not know is left out')
  await untouched(t, 'ai:status')
  t.match(await attacker.ask('ai:status', { status: 'processing', projectId: 'secret' }), {
    status: 'error',
    code: 'ROOM_ACCESS_DENIED',
  })
  await untouched(t, 'ai:status by projectId')
})

t.test(
  'in every command of Coding Assistant, whatever the data name beside it, nothing reaches another project or user',
  async (t) => {
    const commands: Record<string, object> = {
      'project:update': { projectId: 'own', update: { type: 'id', value: 'secret' } },
      'file:change': {
        projectId: 'own',
        file: {
          path: 'a.ts',
          action: 'updated',
          projectId: 'secret',
          project: { id: 'secret' },
          name: 'x',
          userId: 'victim',
        },
      },
      'file:lock': { projectId: 'own', filePath: 'a.ts' },
      'file:unlock': { projectId: 'own', filePath: 'a.ts' },
      'ai:message': { message: 'hello', context: ELSEWHERE },
      'ai:status': { status: 'processing' },
      'user:presence': { status: 'away' },
      'user:typing': {},
      'test:event': {},
    }
    const asked = Object.entries(commands).flatMap(([event, data]) => [
      { event, data: { ...ELSEWHERE, ...data } },
      { event, data: { ...data, userId: 'victim', ...ELSEWHERE } },
    ])
    for (const { event, data } of asked) await attacker.ask(event, data)
    await attacker.ask('batch:update', { updates: asked, ...ELSEWHERE })
    await untouched(t, 'each command, and all in a batch')
    for (const event of Object.keys(commands).filter(
      (name) => name !== 'test:event' && name !== 'ai:message' && name !== 'user:presence',
    )) {
      t.match(
        await attacker.ask(event, {
          status: 's',
          message: 'm',
          filePath: 'a',
          update: {},
          file: { path: 'a', action: 'updated' },
          projectId: 'secret',
        }),
        { status: 'error', code: 'ROOM_ACCESS_DENIED' },
        event,
      )
    }
    await untouched(t, 'each command, by its projectId')
  },
)

t.test(
  "project:update cannot say that its project is another one, nor set __proto__; file:change passes on the document's fields alone",
  async (t) => {
    const own = await all.login(0, someone('member'), ['project:own'])
    await attacker.ask(
      'project:update',
      JSON.parse(
        '{"projectId": "own", "update": {"type": "__proto__", "value": {"admin": true}}, "project": {"id": "secret", "name": "N"}}',
      ),
    )
    const updated = await first(own, 'project:updated')
    t.same(updated.project, { id: 'own', name: 'N' })
    t.equal(updated.userId, 'attacker')
    for (const type of ['id', 'projectId'])
      await attacker.ask('project:update', { projectId: 'own', update: { type, value: 'secret' } })
    await settle(attacker)
    await own.until(() => own.of('project:updated').length === 3)
    for (const [{ projectId, project }] of own.of('project:updated'))
      t.match({ projectId, project }, { projectId: 'own', project: { id: 'own', projectId: undefined } })
    await attacker.ask('file:change', {
      projectId: 'own',
      file: { path: 'src/a.ts', action: 'created', timestamp: 'now', name: 'harmless.txt', more: 'x' },
    })
    t.same((await first(own, 'file:created')).file, {
      name: 'a.ts',
      path: 'src/a.ts',
      action: 'created',
      timestamp: 'now',
    })
  },
)

t.test('an answer repeats a part of what was sent, never all of it', async (t) => {
  const long = 'x'.repeat(50_000)
  const asks: [string, unknown][] = [
    ['room:join', { room: long }],
    ['project:join', { projectId: long }],
    ['user:join', { userId: { deep: long } }],
    ['room:join', { room: [long] }],
    [long, {}],
    ['file:lock', { projectId: 'own', filePath: long }],
    ['batch:update', { updates: [{ event: long, data: long }] }],
  ]
  const from = attacker.arrivals.length
  for (const [event, data] of asks)
    t.ok(JSON.stringify(await attacker.ask(event, data)).length < 2_000, event.slice(0, 20))
  for (const { args } of attacker.arrivals.slice(from)) t.ok(JSON.stringify(args).length < 3_000)
})

t.test(
  'Orchestrator Portal and Gemini Sessions: messages go where their sender is, whatever the data name',
  async (t) => {
    const [broker] = all.brokers
    const chat = (name: string, user: string, access: string[]) =>
      SocketIoClient.connect(`http://127.0.0.1:${broker.port}/chat/${name}`, {
        token: token(user, { project_access: access }),
      })
    const [theirs, mine] = await Promise.all([chat('secret', 'pv', ['secret']), chat('own', 'pa', ['own'])])
    const session = (user: string, access: string[]) =>
      SocketIoClient.connect(`http://127.0.0.1:${broker.geminiSessionsPort}`, {
        token: token(user, { session_access: access }),
      })
    const [watched, other] = await Promise.all([session('gv', ['s-secret']), session('ga', ['s-own'])])
    const admin = await SocketIoClient.connect(`http://127.0.0.1:${broker.geminiSessionsPort}`, {
      token: token('boss', { roles: ['admin'] }),
    })
    t.teardown(() => {
      for (const client of [theirs, mine, watched, other, admin]) client.close()
    })
    await watched.ask('join-session', { sessionId: 's-secret' })
    await other.ask('join-session', { sessionId: 's-own' })
    await admin.ask('monitoring:subscribe', {})
    const attack = {
      project_name: 'secret',
      rooms: ['chat:secret', 'session:s-secret'],
      sessionId: 's-secret',
      room: 'session:s-secret',
      event: 'system:forged',
    }
    t.match(
      await mine.ask('send_message', { content: 'x', type: 'message', ...attack }),
      { error_code: 'INVALID_MESSAGE' },
      'no further fields',
    )
    t.match(
      await mine.ask('send_message', {
        content: 'x',
        type: 'message',
        attachments: [{ name: 'a', size: 1, type: 't', project_name: 'secret' }],
      }),
      { error_code: 'INVALID_MESSAGE' },
    )
    mine.socket.emit('typing_start', attack)
    t.match(await mine.ask('send_message', { content: 'hello', type: 'message' }), { status: 'success' })
    await mine.until(() => mine.of('message_received').length === 1)
    t.match(await other.ask('join-session', { sessionId: 's-secret' }), { status: 'error' })
    for (const [command, data] of Object.entries({
      'chat:message': { content: 'c' },
      'chat:clear': {},
      'chat:typing': { typing: true },
      'tool:approve': { callId: 'c' },
      'tool:reject': { callId: 'c' },
    }))
      await other.ask(command, { ...attack, ...data })
    t.match(await other.ask('monitoring:broadcast', { message: 'x', ...attack }), { error_code: 'ACCESS_DENIED' })
    await other.until(() => other.of('tool:rejected').length === 1)
    await admin.until(() =>
      admin
        .of('monitoring:event')
        .some(([{ data }]) => data.event === 'monitoring:broadcast' || data.event === 'tool:reject'),
    )
    t.notOk(
      admin.of('monitoring:event').some(([{ data }]) => data.event === 'system:forged'),
      'a command cannot pass for another event',
    )
    await chat('secret', 'pv', ['secret']).then((client) =>
      client.ask('send_message', { content: 'last', type: 'message' }).then(() => client.close()),
    )
    await theirs.until(() => theirs.of('message_received').length === 1)
    t.same(
      theirs.arrivals.map(({ event, args: [{ content }] }) => [event, content]),
      [['message_received', 'last']],
    )
    await watched.ask('chat:clear', {})
    await watched.until(() => watched.of('chat:cleared').length === 1)
    t.same(
      watched.arrivals.map(({ event }) => event).filter((event) => event !== 'session-joined'),
      ['chat:cleared'],
    )
  },
)
