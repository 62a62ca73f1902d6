import t from 'tap'
import { codingAssistant } from '../../src/applications/coding-assistant.ts'
import { CodingAssistant, counts, first, PROJECT, settle, someone } from '../support/coding-assistant.ts'
import { eventually } from '../support/client.ts'
import { type SocketIoClient, TRANSPORTS } from '../support/socketio-client.ts'

const all = await CodingAssistant.start()
const room = `project:${PROJECT}`
const POSITION = /^[a-z0-9]+-\d+$/

/** For every event of the contract: data of the document's shape, and the room that it goes to. */
const EXAMPLES: Readonly<Record<string, readonly [data: Record<string, unknown>, room: string]>> = {
  'auth:login': [{ user: { id: 'user-456', name: 'Ann' } }, 'user:user-456'],
  'auth:logout': [{ userId: 'user-456' }, 'user:user-456'],
  'auth:session': [{ userId: 'user-456', session: { id: 's' } }, 'user:user-456'],
  'project:created': [{ project: { id: PROJECT, name: 'P' } }, room],
  'project:updated': [
    {
      projectId: PROJECT,
      userId: 'user-456',
      update: { type: 'name', value: 'Q' },
      project: { id: PROJECT, name: 'Q' },
    },
    room,
  ],
  'project:deleted': [{ projectId: PROJECT }, room],
  'file:created': [
    { projectId: PROJECT, userId: 'user-456', file: { name: 'a.ts', path: 'src/a.ts' }, filePath: 'src/a.ts' },
    room,
  ],
  'file:updated': [{ projectId: PROJECT, file: { name: 'a.ts', path: 'src/a.ts' }, filePath: 'src/a.ts' }, room],
  'file:deleted': [{ projectId: PROJECT, filePath: 'src/a.ts' }, room],
  'file:locked': [{ projectId: PROJECT, filePath: 'src/a.ts', lockType: 'exclusive', userId: 'user-456' }, room],
  'file:unlocked': [{ projectId: PROJECT, filePath: 'src/a.ts', lockType: 'exclusive', userId: 'user-456' }, room],
  'ai:message': [{ projectId: PROJECT, message: 'hello' }, room],
  'ai:response': [{ projectId: PROJECT, response: { text: 'hi', actions: [] } }, room],
  'ai:processing': [{ userId: 'user-456', status: 'progress', progress: 50 }, 'user:user-456'],
  'user:joined': [{ user: { id: 'user-456', name: 'Ann' }, projectId: PROJECT }, room],
  'user:left': [{ user: { id: 'user-456', name: 'Ann' }, projectId: PROJECT }, room],
  'user:typing': [{ user: { id: 'user-456' }, projectId: PROJECT }, room],
  'user:presence': [{ userId: 'user-456', status: 'online' }, 'user:user-456'],
}

t.test('the examples cover every event of the contract', async (t) => {
  t.same(Object.keys(EXAMPLES).sort(), Object.keys(codingAssistant.events).sort())
})

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  t.test(`by ${name}: every event reaches its room, as data, then about it, then its position`, async (t) => {
    const timestamp = '2024-01-20T12:00:00Z'
    const [own, project, both, elsewhere] = await Promise.all([
      all.login(0, 'user-456', ['user:user-456'], { transports }),
      all.login(0, someone('viewer'), [room], { transports }),
      all.login(1, 'user-456', [room, 'user:user-456'], { transports }),
      all.login(1, someone('viewer'), ['project:other', 'notifications'], { transports }),
    ])
    const before = [own, project, both, elsewhere].map(({ arrivals }) => arrivals.length)
    for (const [type, [data]] of Object.entries(EXAMPLES))
      await all.publish(type, data, { timestamp, source: 'tests', id: 'c-1' })
    await all.publish('project:deleted', { projectId: 'end' }, { rooms: [room, 'user:user-456', 'notifications'] })
    for (const [i, [client, rooms]] of (
      [
        [own, ['user:user-456']],
        [project, [room]],
        [both, [room, 'user:user-456']],
        [elsewhere, []],
      ] as [SocketIoClient, string[]][]
    ).entries()) {
      await client.until(() => client.of('project:deleted').some(([data]) => data.projectId === 'end'))
      const expected = Object.entries(EXAMPLES).filter(([, [, home]]) => rooms.includes(home))
      const got = client.arrivals
        .slice(before[i])
        .filter(({ args: [data, about] }) => data.projectId !== 'end' && about.metadata !== undefined)
      t.same(
        got.map(({ event, args: [data] }) => [event, data]),
        expected.map(([type, [data]]) => [type, data]),
        `${rooms}`,
      )
      for (const { args } of got) {
        t.equal(args.length, 3)
        const { userId, projectId } = {
          userId: args[0].userId ?? args[0].user?.id,
          projectId: args[0].projectId ?? args[0].project?.id,
        }
        t.same(args[1], {
          timestamp,
          ...(userId ? { userId } : {}),
          ...(projectId ? { projectId } : {}),
          metadata: { source: 'tests', priority: 'medium', correlationId: 'c-1' },
        })
        t.match(args[2], POSITION)
      }
      client.close()
    }
  })

  t.test(`by ${name}: every command has its answer`, async (t) => {
    const [ann, bob] = [someone('ann'), someone('bob')]
    const project = someone('project')
    const place = `project:${project}`
    const options = { transports, claims: { name: 'Ann A.' } }
    const sender = await all.login(0, ann, [], options)
    const other = await all.login(1, bob, [], { transports })
    const emit = (command: string, data?: object) => sender.socket.emit(command, ...(data ? [data] : []))
    for (const client of [sender, other])
      client.socket.emit('project:join', { projectId: project, userId: client === sender ? ann : bob })
    for (const client of [sender, other]) t.same(await first(client, 'room:joined'), { room: place })
    emit('user:join', { userId: ann })
    t.same(await first(sender, 'room:joined', 2), { room: `user:${ann}` })
    emit('room:join', { room: 'notifications', userId: ann })
    t.same(await first(sender, 'room:joined', 3), { room: 'notifications' })

    emit('project:update', {
      projectId: project,
      userId: 'somebody-else',
      update: { type: 'description', value: 'new' },
      project: { name: 'P' },
    })
    for (const client of [sender, other])
      t.same(await first(client, 'project:updated'), {
        projectId: project,
        userId: ann,
        update: { type: 'description', value: 'new' },
        project: { id: project, name: 'P', description: 'new' },
      })
    for (const action of ['created', 'updated', 'deleted']) {
      emit('file:change', { projectId: project, userId: ann, file: { path: 'src/App.jsx', action, timestamp: 'now' } })
      for (const client of [sender, other])
        t.same(await first(client, `file:${action}`), {
          projectId: project,
          userId: ann,
          file: { name: 'App.jsx', path: 'src/App.jsx', action, timestamp: 'now' },
          filePath: 'src/App.jsx',
        })
    }
    emit('file:lock', { projectId: project, userId: ann, filePath: 'a', lockType: 'exclusive' })
    for (const client of [sender, other])
      t.same(await first(client, 'file:locked'), {
        projectId: project,
        filePath: 'a',
        lockType: 'exclusive',
        userId: ann,
      })
    emit('file:unlock', { projectId: project, userId: ann, filePath: 'a' })
    for (const client of [sender, other])
      t.same(await first(client, 'file:unlocked'), {
        projectId: project,
        filePath: 'a',
        lockType: 'exclusive',
        userId: ann,
      })

    emit('ai:message', { message: 'hello', projectId: project, userId: ann, context: { language: 'javascript' } })
    for (const client of [sender, other])
      t.match(await first(client, 'ai:message'), {
        messageId: /^[0-9a-f-]{36}$/,
        message: 'hello',
        projectId: project,
        userId: ann,
        context: { language: 'javascript' },
      })
    emit('ai:status', { status: 'progress', progress: 50, message: 'Generating' })
    await other.until(() => other.of('ai:processing').length === 1)
    t.same(other.of('ai:processing')[0]?.[0], { status: 'progress', progress: 50, message: 'Generating', userId: ann })

    const timestamp = '2024-01-20T12:00:00Z'
    emit('user:presence', { userId: ann, status: 'online', activity: 'editing App.jsx', timestamp })
    t.same(await first(other, 'user:presence'), {
      userId: ann,
      user: { id: ann, name: 'Ann A.' },
      status: 'online',
      activity: 'editing App.jsx',
      timestamp,
    })
    emit('user:typing', { userId: ann, projectId: project, isTyping: true })
    t.same(await first(other, 'user:typing'), {
      userId: ann,
      user: { id: ann, name: 'Ann A.' },
      projectId: project,
      isTyping: true,
    })
    emit('user:typing', { isTyping: false })
    t.same(await first(other, 'user:typing', 2), { userId: ann, user: { id: ann, name: 'Ann A.' }, isTyping: false })

    emit('test:ping')
    t.match(await first(sender, 'test:pong'), { timestamp: String })
    emit('test:event', { message: 'Hello Server' })
    t.same(await first(sender, 'test:response'), { message: 'Hello Server' })
    emit('auth:check')
    t.match(await first(sender, 'auth:success', 2), { user: { id: ann, name: 'Ann A.' } })
    emit('auth:refresh')
    t.match(await first(sender, 'auth:session'), {
      session: { userId: ann, user: { id: ann }, projectAccess: ['*'], expiresAt: String },
    })

    emit('batch:update', {
      updates: [
        { event: 'file:change', data: { projectId: project, file: { path: 'b', action: 'created' } } },
        { event: 'project:update', data: { projectId: project, update: { type: 'x', value: 1 } } },
      ],
    })
    t.match(await first(other, 'file:created', 2), { filePath: 'b' })
    t.match(await first(other, 'project:updated', 2), { update: { type: 'x', value: 1 } })

    emit('room:leave', { room: 'notifications', userId: ann })
    t.same(await first(sender, 'room:left'), { room: 'notifications' })
    emit('user:leave', { userId: ann })
    t.same(await first(sender, 'room:left', 2), { room: `user:${ann}` })
    emit('project:leave', { projectId: project, userId: ann })
    t.same(await first(sender, 'room:left', 3), { room: place })
    emit('room:join', { room: 'x' })
    emit('room:join', { room: place })
    await first(sender, 'room:joined', 5)
    emit('room:leaveAll', { userId: ann })
    await sender.until(() => sender.of('room:left').length === 5)
    t.same(
      sender
        .of('room:left')
        .slice(3)
        .map(([data]) => data.room)
        .sort(),
      [place, 'x'].sort(),
    )
    t.same(counts(sender, 'user:presence', 'user:typing'), [0, 0], 'not to the sender')
    emit('auth:logout')
    t.same(await first(sender, 'auth:logout'), { userId: ann })
    t.same(sender.of('room:error'), [])
    for (const { args } of sender.arrivals)
      t.match(args[1], { timestamp: String }, 'every handler gets what the message is about second')
    for (const client of [sender, other]) client.close()
  })
}

t.test('rooms: projects and users as the claims say, any other for whoever is logged in', async (t) => {
  const user = someone('reader')
  const client = await all.login(0, user, [], { claims: { project_access: ['mine'] } })
  const rooms = ['project:mine', `user:${user}`, 'notifications', 'test-room', 'a b/c', 'team:7']
  for (const joined of rooms)
    t.same(await client.ask('room:join', { room: joined }), { status: 'success', room: joined })
  const refused: [string, object, string | null, string][] = [
    ['room:join', { room: 'project:theirs' }, 'project:theirs', 'ROOM_ACCESS_DENIED'],
    ['room:join', { room: 'user:boss' }, 'user:boss', 'ROOM_ACCESS_DENIED'],
    ['project:join', { projectId: 'theirs' }, 'project:theirs', 'ROOM_ACCESS_DENIED'],
    ['user:join', { userId: 'boss' }, 'user:boss', 'ROOM_ACCESS_DENIED'],
    ['room:join', { room: 'x'.repeat(257) }, 'x'.repeat(257), 'INVALID_MESSAGE'],
    ['room:join', { room: 'a\nb' }, 'a\nb', 'INVALID_ROOM'],
    ['room:join', {}, null, 'INVALID_MESSAGE'],
    ['project:join', {}, null, 'INVALID_MESSAGE'],
  ]
  for (const [i, [command, data, named, code]] of refused.entries()) {
    t.match(
      await client.ask(command, data),
      { status: 'error', code, message: String },
      `${command} ${JSON.stringify(data).slice(0, 60)}`,
    )
    t.match(await first(client, 'room:error', i + 1), { room: named, error: String, code })
  }
  for (const [command, data] of [
    ['project:update', { update: {} }],
    ['file:change', { file: { path: 'a', action: 'created' } }],
    ['file:lock', { filePath: 'a' }],
    ['file:unlock', { filePath: 'a' }],
    ['ai:message', { message: 'x' }],
    ['ai:status', { status: 'x' }],
    ['user:typing', {}],
  ] as const) {
    t.match(
      await client.ask(command, { projectId: 'theirs', ...data }),
      { status: 'error', code: 'ROOM_ACCESS_DENIED' },
      command,
    )
  }
  t.same(
    client.of('error').map(([{ code, event }]) => [code, event]),
    ['project:update', 'file:change', 'file:lock', 'file:unlock', 'ai:message', 'ai:status', 'user:typing'].map(
      (event) => ['ROOM_ACCESS_DENIED', event],
    ),
  )
  const admin = await all.login(1, someone('root'), ['project:theirs', 'user:boss'], {
    claims: { project_access: [], roles: ['admin'] },
  })
  t.equal(admin.of('room:error').length, 0)
})

t.test("bad data and unknown commands are the document's error", async (t) => {
  const client = await all.login(0, someone('sloppy'), [room])
  const bad: [string, unknown][] = [
    ['project:update', {}],
    ['file:change', { projectId: PROJECT, file: { path: 'a', action: 'renamed' } }],
    ['file:lock', { projectId: PROJECT, filePath: 'a', lockType: 'mine' }],
    ['ai:message', { message: '' }],
    ['ai:message', 'hello'],
    ['batch:update', { updates: 'all' }],
    ['batch:update', { updates: Array(101).fill({ event: 'test:ping' }) }],
  ]
  for (const [command, data] of bad)
    t.match(await client.ask(command, data), { status: 'error', code: 'INVALID_MESSAGE', message: String }, command)
  t.match(await client.ask('no:such'), { status: 'error', code: 'UNKNOWN_TYPE' })
  t.same(
    client.of('error').map(([{ event }]) => event),
    [...bad.map(([command]) => command), 'no:such'],
  )
  t.same(await client.ask('test:ping'), { status: 'success' })
})

t.test("presence: the others hear of a user's first connection and last, on all nodes, with id and name", async (t) => {
  const project = someone('project')
  const bob = someone('bob')
  const ann = await all.login(0, someone('ann'), [`project:${project}`])
  const one = await all.login(1, bob, [`project:${project}`], { claims: { name: 'Bob B.' } })
  t.same(await first(ann, 'user:joined'), { user: { id: bob, name: 'Bob B.' }, projectId: project })
  const two = await all.login(0, bob, [], { claims: { name: 'Bob B.' } })
  two.socket.emit('project:join', { projectId: project })
  await first(two, 'room:joined')
  one.socket.emit('project:leave', { projectId: project })
  await first(one, 'room:left')
  await settle(ann, two)
  t.same(counts(ann, 'user:joined', 'user:left'), [1, 0], 'still here by another connection')
  two.close()
  t.same(await first(ann, 'user:left'), { user: { id: bob, name: 'Bob B.' }, projectId: project })
  one.socket.emit('project:join', { projectId: project })
  await first(ann, 'user:joined', 2)
  one.socket.emit('auth:logout')
  await first(ann, 'user:left', 2)
  t.same(counts(ann, 'user:joined', 'user:left'), [2, 2])
})

t.test('presence and processing, which name no project, reach each user in shared projects once', async (t) => {
  const [p, q] = [`project:${someone('p')}`, `project:${someone('q')}`]
  const sender = await all.login(0, someone('sender'), [p, q, 'notifications'])
  const near = await all.login(0, someone('near'), [p, q])
  const far = await all.login(1, someone('far'), [q, p])
  const outside = await all.login(1, someone('outside'), ['notifications'])
  const before = await all.brokers[0].metric('events_total')
  sender.socket.emit('user:presence', { status: 'away' })
  for (const client of [near, far]) t.match(await first(client, 'user:presence'), { status: 'away', userId: /^sender/ })
  t.equal(await all.brokers[0].metric('events_total'), before, 'unstored')
  sender.socket.emit('ai:status', { status: 'started' })
  for (const client of [sender, near, far])
    t.match(await first(client, 'ai:processing'), { status: 'started', userId: /^sender/ })
  await settle(near, far, outside)
  t.same(
    [near, far, outside].map((client) => counts(client, 'user:presence', 'ai:processing')),
    [
      [1, 1],
      [1, 1],
      [0, 0],
    ],
  )
  const alone = await all.login(0, someone('alone'))
  alone.socket.emit('user:join', { userId: (await first(alone, 'auth:success')).user.id })
  alone.socket.emit('ai:status', { status: 'started' })
  t.match(await first(alone, 'ai:processing'), { status: 'started' }, "in no project: to the sender's own room")
})

t.test('a batch runs each command through its own checks, and holds no other', async (t) => {
  const project = someone('project')
  const client = await all.login(0, someone('batcher'), [`project:${project}`], {
    claims: { project_access: [project] },
  })
  const updates = [
    { event: 'project:update', data: { projectId: project, update: 1 } },
    { event: 'project:update', data: { projectId: 'theirs', update: 1 } },
    { event: 'file:change', data: {} },
    { event: 'batch:update', data: { updates: [] } },
    { event: 'auth:logout' },
    { event: 'no:such' },
    { event: 'room:join', data: { room: 'x' } },
    { event: 'room:join', data: { room: 'user:boss' } },
    { event: 'test:ping' },
  ]
  t.match(await client.ask('batch:update', { updates }), {
    status: 'success',
    results: [
      { status: 'success' },
      { code: 'ROOM_ACCESS_DENIED' },
      { code: 'INVALID_MESSAGE' },
      { code: 'INVALID_MESSAGE' },
      { code: 'INVALID_MESSAGE' },
      { code: 'UNKNOWN_TYPE' },
      { status: 'success', room: 'x' },
      { code: 'ROOM_ACCESS_DENIED' },
      { status: 'success' },
    ],
  })
  await first(client, 'project:updated')
  t.same(
    client.of('error').map(([{ code, event }]) => [code, event]),
    [
      ['ROOM_ACCESS_DENIED', 'project:update'],
      ['INVALID_MESSAGE', 'file:change'],
      ['INVALID_MESSAGE', 'batch:update'],
      ['UNKNOWN_TYPE', 'no:such'],
    ],
  )
  t.same(
    [
      counts(client, 'room:error', 'test:pong', 'room:joined', 'project:updated'),
      (await client.ask('auth:check')).status,
    ],
    [[1, 1, 2, 1], 'success'],
  )
})

t.test(
  'a broken connection comes back by itself as who it was, with what it missed, on another broker too',
  async (t) => {
    const project = someone('project')
    const place = `project:${project}`
    const user = someone('returner')
    const watcher = await all.login(1, someone('watcher'), [place])
    const client = await all.connect(0, { transports: ['websocket'] })
    client.socket.emit('auth:session', { sessionId: await all.keepSession(user) })
    client.socket.emit('project:join', { projectId: project })
    await first(client, 'room:joined')
    await all.publish('project:updated', { projectId: project, n: 1 })
    await first(client, 'project:updated')
    client.socket.io.reconnection(true)
    ;(client.socket.io as unknown as { uri: string }).uri = `http://127.0.0.1:${all.brokers[1].codingAssistantPort}`
    ;(client.socket.io.engine as unknown as { close(): void }).close()
    await all.publish('project:updated', { projectId: project, n: 2 })
    await client.connected(2)
    await all.publish('project:updated', { projectId: project, n: 3 })
    await client.until(() => client.of('project:updated').length === 3)
    t.same(
      client.of('project:updated').map(([{ n }]) => n),
      [1, 2, 3],
    )
    t.equal(client.connects[1]?.recovered, true)
    t.match(await client.ask('auth:check'), { status: 'success' })
    await eventually(() => watcher.of('user:joined').length >= 1)
    client.socket.emit('auth:logout')
    await first(client, 'auth:logout')
    ;(client.socket.io.engine as unknown as { close(): void }).close()
    await client.connected(3)
    t.match(
      await client.ask('auth:check'),
      { status: 'error', code: 'UNAUTHORIZED' },
      'who logged out comes back as nobody',
    )
  },
)
