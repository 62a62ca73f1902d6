import { JSONCodec } from 'nats'
import t, { type Test } from 'tap'
import { geminiSessions } from '../../src/applications/gemini-sessions.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import {
  addressOf,
  ask,
  connect as open,
  connectAdmin,
  join,
  nth,
  type Options,
  publish as publishTo,
  type Request,
  serve as serveOn,
  someone,
} from '../support/gemini.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, TRANSPORTS } from '../support/socketio-client.ts'
import { EXAMPLES } from './gemini-sessions-events.ts'

const codec = JSONCodec()
const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url, COMMAND_TIMEOUT_MS: 400 })
const other = await TestBroker.start({ NATS_URL: nats.url, COMMAND_TIMEOUT_MS: 400 })
t.teardown(async () => {
  await broker.stop()
  await other.stop()
  await nats.stop()
})
const publish = (type: string, data: object, rest: object = {}) => publishTo(nats, type, data, rest)
const sessionRecords = await (await nats.jetstream()).views.kv('roomcast_sessions')
const FORWARDED: readonly [command: string, data: object | undefined][] = [
  ['chat:message', { content: 'hello' }],
  ['chat:cancel', undefined],
  ['tool:execute', { name: 'readFile', args: { path: '/x' }, callId: 'c1' }],
  ['tool:approve', { callId: 'c1' }],
  ['tool:reject', { callId: 'c1', reason: 'no' }],
  ['tool:list', undefined],
]

async function connect(t: Test, at: TestBroker, options: Options = {}): Promise<SocketIoClient> {
  const client = await open(at, options)
  t.teardown(() => client.close())
  return client
}

async function serve(t: Test, command: string, answer: (request: Request) => unknown) {
  const service = await serveOn(nats, command, answer)
  t.teardown(() => service.stop())
  return service
}

t.test('the examples cover every event that goes to a session', async (t) => {
  t.same(
    Object.keys(EXAMPLES).sort(),
    Object.keys(geminiSessions.events)
      .filter((type) => type !== 'system:broadcast' && type !== 'monitoring:event')
      .sort(),
  )
})

for (const [name, transports] of Object.entries(TRANSPORTS)) {
  const scenario = (about: string, run: (t: Test) => Promise<void>) => t.test(`by ${name}: ${about}`, run)

  scenario('failed authentication is connect_error "Authentication failed"', async (t) => {
    for (const bad of [
      null,
      'nonsense',
      token('x', {}, 'another secret than the one of this broker'),
      token('x', { exp: 1_000 }),
    ]) {
      const client = new SocketIoClient(addressOf(broker), { token: bad, transports })
      t.teardown(() => client.close())
      await client.until(() => client.refusals.length > 0)
      t.equal(client.refusals[0]?.message, 'Authentication failed')
      t.notOk(client.socket.connected)
    }
  })

  scenario('joining a session: by the token, by its record, or not', async (t) => {
    const user = someone('owner')
    const [own, foreign] = [someone('own'), someone('foreign')]
    await sessionRecords.put(own, codec.encode({ ownerId: user }))
    await sessionRecords.put(foreign, codec.encode({ ownerId: 'somebody-else' }))
    await sessionRecords.put(`${foreign}-bad`, Buffer.from('no json'))
    const client = await connect(t, broker, { user, claims: { session_access: ['granted'] }, transports })
    t.same(await join(client, 'granted'), { sessionId: 'granted' })
    t.same(await join(client, own), { sessionId: own })
    t.match(await ask(client, 'error', 'join-session', { sessionId: someone('unknown') }), {
      message: 'Session not found',
    })
    t.match(await ask(client, 'error', 'join-session', { sessionId: foreign }), { message: 'Access denied' })
    t.match(await ask(client, 'error', 'join-session', { sessionId: `${foreign}-bad` }), { message: 'Access denied' })
    t.match(await ask(client, 'error', 'join-session', { sessionId: 'no session/id' }), {
      message: 'Session not found',
    })
    for (const data of [undefined, {}, { sessionId: 7 }, 'granted', null])
      t.match(
        await ask(client, 'error', 'join-session', data),
        { message: 'Invalid message format' },
        JSON.stringify(data),
      )
    t.same(await client.ask('join-session', { sessionId: own }), { status: 'success', sessionId: own })
    t.match(await client.ask('join-session', { sessionId: foreign }), {
      status: 'error',
      error_code: 'ROOM_ACCESS_DENIED',
      error_message: 'Access denied',
    })
    for (const claims of [{ session_access: ['*'] }, { roles: ['admin'] }]) {
      const trusted = await connect(t, broker, { claims, transports })
      t.same(await join(trusted, foreign), { sessionId: foreign })
    }
    await publish('gemini:content', { text: 'secret', sessionId: foreign })
    await publish('gemini:content', { text: 'open', sessionId: own })
    await nth(client, 'gemini:content')
    t.same(
      client.of('gemini:content').map(([data]) => data.text),
      ['open'],
    )
  })

  scenario('every event reaches its session on all nodes, with its bare data and its position', async (t) => {
    const [session, elsewhere] = [someone('session'), someone('session')]
    const members = await Promise.all([broker, other].map((at) => connect(t, at, { transports })))
    const outsider = await connect(t, other, { transports })
    const bystander = await connect(t, broker, { transports })
    for (const member of members) await join(member, session)
    await join(outsider, elsewhere)
    for (const [type, data] of Object.entries(EXAMPLES)) {
      await publish(type, { ...data, sessionId: session })
      await publish(type, data, { rooms: [`session:${session}`] })
      await publish(type, { ...data, sessionId: session }, { rooms: [`session:${elsewhere}`] })
      await publish(type, data)
    }
    await publish('system:broadcast', { message: 'the end' })
    const got = (client: SocketIoClient) =>
      client.arrivals.filter(({ event }) => event !== 'session-joined' && event !== 'system:broadcast')
    for (const client of [...members, outsider, bystander]) await nth(client, 'system:broadcast')
    for (const member of members) {
      t.same(
        got(member).map(({ event, args }) => [event, args[0]]),
        Object.entries(EXAMPLES).flatMap(([type, data]) => [
          [type, { ...data, sessionId: session }],
          [type, data],
        ]),
      )
      for (const { args } of got(member)) t.match(args.slice(1), [/^[A-Za-z0-9]+-\d+$/])
    }
    t.same(
      got(outsider).map(({ event, args }) => [event, args[0]]),
      Object.entries(EXAMPLES).map(([type, data]) => [type, { ...data, sessionId: session }]),
      "the producer's rooms come before the data",
    )
    t.same(got(bystander), [])
  })

  scenario('no session joined: an error, and nothing else happens', async (t) => {
    const client = await connect(t, broker, { transports })
    const service = await serve(t, '>', () => ({ ok: true }))
    for (const [command, data] of [
      ...FORWARDED,
      ['chat:clear', undefined],
      ['chat:get-history', undefined],
      ['chat:typing', { typing: true }],
    ] as const) {
      const args = data === undefined ? [] : [data]
      t.match(await ask(client, 'error', command, ...args), {
        message: /^No session joined/,
        code: 'NOT_JOINED',
        event: command,
      })
      t.match(
        await client.ask(command, ...args),
        { status: 'error', error_code: 'NOT_JOINED', error_message: /^No session joined/ },
        command,
      )
    }
    t.same(service.requests, [])
    t.same(new Set(client.arrivals.map(({ event }) => event)), new Set(['error']))
  })

  scenario('invalid input: an error that says so, to the acknowledgement as well', async (t) => {
    const client = await connect(t, broker, { transports })
    await join(client, someone('session'))
    const bad: [string, unknown[]][] = [
      ['chat:message', [undefined, {}, { content: '' }, { content: 7 }, 'hello', [], null, 5]],
      ['chat:typing', [undefined, {}, { typing: 'yes' }]],
      ['tool:execute', [undefined, {}, { name: '' }, { name: 'x', args: 'y' }, { name: 'x', callId: 5 }]],
      ['tool:approve', [undefined, {}, { callId: '' }, { callId: 5 }]],
      ['tool:reject', [undefined, {}, { callId: 'x', reason: 5 }]],
    ]
    for (const [command, cases] of bad) {
      for (const data of cases) {
        t.match(
          await ask(client, 'error', command, data),
          { message: 'Invalid message format', code: 'INVALID_MESSAGE', event: command, details: { faults: [String] } },
          `${command} ${JSON.stringify(data)}`,
        )
        t.match(await client.ask(command, data), {
          status: 'error',
          error_code: 'INVALID_MESSAGE',
          error_message: 'Invalid message format',
        })
      }
    }
    t.match(await ask(client, 'error', 'no:such-command', {}), { code: 'UNKNOWN_TYPE', message: String })
  })

  scenario('commands reach their services with the session joined last', async (t) => {
    const user = someone('user')
    const [one, two] = [someone('one'), someone('two')]
    const client = await connect(t, other, { user, transports })
    const service = await serve(t, '>', ({ type }) => ({
      ok: true,
      data:
        type === 'tool:list' ? { tools: [{ name: 'readFile', description: 'Reads', parameters: {} }] } : { done: type },
    }))
    await join(client, one)
    await join(client, two)
    for (const [command, data] of FORWARDED) client.socket.emit(command, ...(data === undefined ? [] : [data]))
    t.same(await nth(client, 'tool:list-response'), {
      tools: [{ name: 'readFile', description: 'Reads', parameters: {} }],
    })
    await eventually(() => service.requests.length === FORWARDED.length)
    const byType = new Map(service.requests.map((request) => [request.type, request]))
    for (const [command, data] of FORWARDED) {
      const { timestamp, ...request } = byType.get(command) as Request
      t.same(request, {
        type: command,
        data: data ?? {},
        user_id: user,
        connection_id: client.socket.id,
        session_id: two,
      })
      t.match(timestamp, /Z$/)
    }
    await join(client, one)
    t.same(await client.ask('chat:cancel'), { status: 'success', data: { done: 'chat:cancel' } })
    t.equal(service.requests[service.requests.length - 1]?.session_id, one, 'joined again, it is the last')
    t.same(client.of('error'), [])
  })

  scenario('a chat: message, streamed answer, history, clear, typing', async (t) => {
    const session = someone('session')
    const [ann, bob] = [
      await connect(t, broker, { user: someone('ann'), transports }),
      await connect(t, other, { user: someone('bob'), transports }),
    ]
    for (const client of [ann, bob]) await join(client, session)
    const words = Array.from({ length: 30 }, (_, i) => `word-${i} `)
    await serve(t, 'chat:message', ({ data, session_id }) => {
      void (async () => {
        for (const [i, text] of words.entries())
          await publish('gemini:content', { text, accumulated: words.slice(0, i + 1).join(''), sessionId: session_id })
        await publish('gemini:done', {
          fullResponse: `${words.join('')}to ${data.content}`,
          timestamp: new Date().toISOString(),
          sessionId: session_id,
        })
      })()
      return { ok: true }
    })
    t.same((await ask(ann, 'chat:history', 'chat:get-history')).history, [])
    ann.socket.emit('chat:message', { content: 'first' })
    for (const client of [ann, bob]) {
      await nth(client, 'gemini:done')
      t.same(
        client.of('gemini:content').map(([{ text }]) => text),
        words,
        'in order, whole',
      )
      t.match(await nth(client, 'chat:message'), { content: 'first', userId: /^ann/, timestamp: /Z$/ })
    }
    bob.socket.emit('chat:message', { content: 'second' })
    await nth(bob, 'gemini:done', 1)
    const answers = ['first', 'second'].map((content) => `${words.join('')}to ${content}`)
    for (const client of [ann, bob]) {
      const { history, timestamp, ...rest } = await ask(client, 'chat:history', 'chat:get-history')
      t.same(
        history.map(({ role, content }: { role: string; content: string }) => [role, content]),
        [
          ['user', 'first'],
          ['assistant', answers[0]],
          ['user', 'second'],
          ['assistant', answers[1]],
        ],
      )
      for (const entry of history)
        t.same([Object.keys(entry).sort(), /Z$/.test(entry.timestamp)], [['content', 'role', 'timestamp'], true])
      t.match(timestamp, /Z$/)
      t.same(rest, {})
    }
    bob.socket.emit('chat:clear')
    for (const client of [ann, bob]) {
      const cleared = await nth(client, 'chat:cleared')
      t.same(Object.keys(cleared), ['timestamp'])
      t.same((await ask(client, 'chat:history', 'chat:get-history')).history, [], 'on both nodes')
    }
    t.same(await client3(t, session, transports), [], 'for who comes later, too')
    ann.socket.emit('chat:message', { content: 'third' })
    await nth(ann, 'gemini:done', 2)
    t.equal((await ask(ann, 'chat:history', 'chat:get-history')).history.length, 2)
    ann.socket.emit('chat:typing', { typing: true })
    ann.socket.emit('chat:typing', { typing: false })
    await nth(bob, 'chat:typing', 1)
    t.same(
      bob.of('chat:typing').map(([data]) => data),
      [true, false].map((typing) => ({
        userId: (ann.of('chat:message')[0] as [{ userId: string }])[0].userId,
        typing,
      })),
    )
    t.same(ann.of('chat:typing'), [], 'the others, not the one who types')
  })

  scenario('without a service each forwarded command gets a clear error', async (t) => {
    const client = await connect(t, broker, { transports })
    await join(client, someone('session'))
    t.match(await ask(client, 'gemini:error', 'chat:message', { content: 'hello' }), {
      error: String,
      code: 'SERVICE_UNAVAILABLE',
    })
    t.match(await ask(client, 'tool:execution-error', 'tool:execute', { name: 'readFile', callId: 'c' }), {
      name: 'readFile',
      callId: 'c',
      error: /^Tool execution failed/,
      code: 'SERVICE_UNAVAILABLE',
      executionTime: Number,
    })
    for (const [command, data] of [
      ['chat:cancel', {}],
      ['tool:list', {}],
      ['tool:approve', { callId: 'c' }],
      ['tool:reject', { callId: 'c' }],
    ] as const) {
      t.match(await ask(client, 'error', command, data), {
        message: String,
        code: 'SERVICE_UNAVAILABLE',
        event: command,
      })
    }
    t.match(await client.ask('tool:list'), { status: 'error', error_code: 'SERVICE_UNAVAILABLE' })
    t.match(await client.ask('tool:execute', { name: 'x' }), { status: 'error', error_code: 'SERVICE_UNAVAILABLE' })
    t.same(await client.ask('chat:message', { content: 'stored all the same' }), { status: 'success' })
    t.equal((await ask(client, 'chat:history', 'chat:get-history')).history.length, 2)
  })
}

async function client3(t: Test, session: string, transports: readonly string[]) {
  const client = await connect(t, other, { transports })
  await join(client, session)
  return (await ask(client, 'chat:history', 'chat:get-history')).history
}

t.test('a service that answers garbage, refuses, or never answers gives a clear error', async (t) => {
  const client = await connect(t, broker)
  await join(client, someone('session'))
  const errorOf: Readonly<Record<string, string>> = {
    'chat:message': 'gemini:error',
    'tool:execute': 'tool:execution-error',
  }
  const outcomes: [unknown, string][] = [
    [new Uint8Array(Buffer.from('garbage')), 'BAD_REPLY'],
    [new Uint8Array([0xff, 0x00]), 'BAD_REPLY'],
    [[], 'BAD_REPLY'],
    [{ ok: 'yes' }, 'BAD_REPLY'],
    [{ ok: false }, 'BAD_REPLY'],
    [{ ok: false, error: { code: 'QUOTA', message: 'No more today' } }, 'QUOTA'],
    [undefined, 'TIMEOUT'],
  ]
  for (const [reply, code] of outcomes) {
    const service = await serveOn(nats, '>', () => reply)
    for (const [command, data] of FORWARDED) {
      const answer = await ask(client, errorOf[command] ?? 'error', command, data ?? {})
      t.equal(answer.code, code, `${command} ${JSON.stringify(reply)}`)
      t.ok(String(answer.error ?? answer.message).length > 5, answer.error ?? answer.message)
    }
    service.stop()
    await (await nats.client()).flush()
  }
  for (const data of [undefined, null, {}, { tools: 'none' }, []]) {
    const service = await serveOn(nats, 'tool:list', () => ({ ok: true, data }))
    t.equal((await ask(client, 'error', 'tool:list')).code, 'BAD_REPLY', JSON.stringify(data))
    service.stop()
    await (await nats.client()).flush()
  }
  t.same(client.of('tool:list-response'), [])
})

t.test('approving and rejecting a tool is told to the session, and to the service', async (t) => {
  const session = someone('session')
  const [user, reader] = [await connect(t, broker, { user: someone('approver') }), await connect(t, other)]
  for (const client of [user, reader]) await join(client, session)
  const service = await serve(t, '>', () => ({ ok: true }))
  t.same(await user.ask('tool:approve', { callId: 'call_1' }), { status: 'success' })
  user.socket.emit('tool:reject', { callId: 'call_2', reason: 'Security concern' })
  user.socket.emit('tool:reject', { callId: 'call_3' })
  for (const client of [user, reader]) {
    const { timestamp, ...approved } = await nth(client, 'tool:approved')
    t.match(approved, { callId: 'call_1', approvedBy: /^approver/ })
    t.same(Object.keys(approved), ['callId', 'approvedBy'])
    t.match(timestamp, /Z$/)
    const rejectedBy = approved.approvedBy
    await nth(client, 'tool:rejected', 1)
    t.same(
      client.of('tool:rejected').map(([data]) => data),
      [
        { callId: 'call_2', rejectedBy, reason: 'Security concern' },
        { callId: 'call_3', rejectedBy },
      ],
    )
  }
  await eventually(() => service.requests.length === 3)
  t.same(service.requests.map(({ type, data, session_id }) => [type, data.callId, session_id]).sort(), [
    ['tool:approve', 'call_1', session],
    ['tool:reject', 'call_2', session],
    ['tool:reject', 'call_3', session],
  ])
  t.same(user.of('error'), [])
})

t.test("a broadcast reaches every connection of this application, on all nodes, and nobody else's", async (t) => {
  const listeners = await Promise.all(
    [broker, other].flatMap((at) => Object.values(TRANSPORTS).map((transports) => connect(t, at, { transports }))),
  )
  const stranger = await SocketIoClient.connect(`http://127.0.0.1:${broker.port}/ws`)
  t.teardown(() => stranger.close())
  const admin = await connectAdmin(other)
  t.teardown(() => admin.close())
  const from = listeners[0]?.of('system:broadcast').length ?? 0
  admin.socket.emit('monitoring:broadcast', { message: 'System maintenance in 10 minutes', type: 'warning' })
  t.same(await admin.ask('monitoring:broadcast', { message: 'Done' }), { status: 'success' })
  for (const client of [...listeners, admin]) {
    await nth(client, 'system:broadcast', from + 1)
    t.match(
      client.of('system:broadcast').map(([data]) => data),
      [
        { message: 'System maintenance in 10 minutes', type: 'warning', from: /^admin/, timestamp: /Z$/ },
        { message: 'Done', type: 'info' },
      ],
    )
  }
  t.same(stranger.of('system:broadcast'), [])
  for (const data of [undefined, {}, { message: '' }, { message: 'x', type: 'shout' }])
    t.match(await ask(admin, 'error', 'monitoring:broadcast', data), { message: 'Invalid message format' })
})

t.test("a token that expires while connected ends the session by the document's error", async (t) => {
  const client = await connect(t, broker, { claims: { exp: Math.floor(Date.now() / 1000) + 2 } })
  await client.until(() => client.disconnects.length > 0)
  t.match(client.of('error')[0], [{ message: 'Authentication failed', code: 'AUTH_EXPIRED' }])
  t.same(client.disconnects, ['io server disconnect'])
})

t.test('a chat message that NATS takes for too large is refused by name', async (t) => {
  const client = await connect(t, broker)
  await join(client, someone('session'))
  t.match(await ask(client, 'error', 'chat:message', { content: 'x'.repeat(1_048_520) }), { code: 'PAYLOAD_TOO_LARGE' })
  t.same((await ask(client, 'chat:history', 'chat:get-history')).history, [])
})
