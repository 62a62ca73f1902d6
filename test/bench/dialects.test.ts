import t from 'tap'
import type { DialectConnection } from '../../bench/load/dialects/dialect.ts'
import { dialectOf } from '../../bench/load/dialects/dialects.ts'
import type { Target } from '../../bench/load/dialects/target.ts'

/** What a dialect does to its connection, written down. */
function listener(events: (text: string) => boolean) {
  const did: string[] = []
  const connection = {
    token: 'T',
    series: 3,
    pid: '',
    rest: Buffer.alloc(0),
    position: undefined as string | undefined,
    event(bytes: Buffer, start: number, end: number) {
      const text = bytes.toString('latin1', start, end)
      if (!events(text)) return false
      did.push(`event ${text}`)
      return true
    },
    ready: () => did.push('ready'),
    refuse: (reason: string) => did.push(`refused ${reason}`),
    toldMissed: () => did.push('told missed'),
    sendText: (text: string) => did.push(`says ${text}`),
    sendBinary: (bytes: Uint8Array) => did.push(`says ${Buffer.from(bytes)}`),
  }
  return { did, connection: connection as DialectConnection }
}

function frame(target: Target, connection: DialectConnection, ...frames: string[]): void {
  const dialect = dialectOf(target)
  for (const text of frames) dialect.frame(connection, Buffer.from(text), 0, Buffer.byteLength(text))
}

t.test(
  'Roomcast and Socket.IO: rooms are joined and left, commands sent, and their answers are no events',
  async (t) => {
    const targets: readonly Target[] = [
      { dialect: 'roomcast', port: 1, path: '/', subscribe: '{"rooms":["room:3"]}' },
      { dialect: 'socketio', port: 1, path: '/', namespace: '/bench', subscribe: 'room:{series}' },
    ]
    const expected = [
      [
        'says {"type":"subscribe","data":{"rooms":["room:9"]}}',
        'says {"type":"unsubscribe","data":{"rooms":["room:9"]}}',
        'says {"type":"note","data":{}}',
        'says {"type":"say","data":{"room":"room:9"}}',
      ],
      [
        'says 42/bench,1["join",{"room":"room:9"}]',
        'says 42/bench,1["leave",{"room":"room:9"}]',
        'says 42/bench,2["note",{}]',
        'says 42/bench,["say",{"room":"room:9"}]',
      ],
    ]
    for (const [i, target] of targets.entries()) {
      const { did, connection } = listener(() => false)
      const dialect = dialectOf(target)
      dialect.visit?.(connection, 'room:9', true)
      dialect.visit?.(connection, 'room:9', false)
      dialect.talk?.(connection, 'room:9')
      frame(
        target,
        connection,
        ...(i === 0
          ? ['{"type":"unsubscribed","data":{}}', '{"type":"noted","data":{}}', '{"type":"said","data":{}}']
          : ['43/bench,1[{"room":"room:9"}]', '43/bench,2["noted"]', '42/bench,["said",{}]']),
      )
      t.same(did, expected[i])
    }
  },
)

t.test('NATS: protocol lines are read wherever frames cut them', async (t) => {
  const stream =
    'INFO {"max_payload":1}\r\nPONG\r\nMSG a.b 1 5\r\nfirst\r\nMSG a.b 1 _INBOX.x 12\r\nMSG b 1 2\r\nx\r\nPING\r\n'
  const expected = [
    'says CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":1}\r\nSUB a.b 1\r\nPING\r\n',
    'ready',
    'event first',
    'event MSG b 1 2\r\nx',
    'says PONG\r\n',
  ]
  for (let cut = 0; cut <= stream.length; cut++) {
    const { did, connection } = listener(() => true)
    frame(
      { dialect: 'nats', port: 1, path: '/', subscribe: 'a.b' },
      connection,
      stream.slice(0, cut),
      stream.slice(cut),
    )
    if (JSON.stringify(did) !== JSON.stringify(expected)) t.same(did, expected, `cut at ${cut}`)
  }
})

t.test('Centrifugo: several messages in a frame, pings are answered', async (t) => {
  const { did, connection } = listener((text) => text.startsWith('{"push"'))
  const target: Target = { dialect: 'centrifugo', port: 1, path: '/', subscribe: 'events.x' }
  dialectOf(target).opened(connection)
  frame(
    target,
    connection,
    '{"id":1,"connect":{"client":"c"}}',
    '{"id":2,"subscribe":{}}',
    '{"push":1}\n{"push":2}\n{}',
    '{"id":2,"error":{"code":103}}',
  )
  t.same(did, [
    'says {"id":1,"connect":{"token":"T","name":"bench"}}',
    'says {"id":2,"subscribe":{"channel":"events.x"}}',
    'ready',
    'event {"push":1}',
    'event {"push":2}',
    'says {}',
    'refused {"id":2,"error":{"code":103}}',
  ])
})

t.test('Socket.IO: connects, joins its room, recovers with its position, answers pings', async (t) => {
  const { did, connection } = listener((text) => text.includes('["own"'))
  const target: Target = { dialect: 'socketio', port: 1, path: '/', namespace: '/bench', subscribe: 'room:{series}' }
  frame(
    target,
    connection,
    '0{"sid":"s"}',
    '40/bench,{"sid":"s","pid":"p"}',
    '43/bench,0[{}]',
    '42/bench,["own",{}]',
    '2',
  )
  t.equal(connection.pid, 'p')
  Object.assign(connection, { position: 'e-7' })
  frame(target, connection, '0{"sid":"s"}')
  t.same(did, [
    'says 40/bench,{"token":"T"}',
    'says 42/bench,0["join",{"room":"room:3"}]',
    'ready',
    'event 42/bench,["own",{}]',
    'says 3',
    'says 40/bench,{"token":"T","pid":"p","offset":"e-7"}',
  ])
})

t.test(
  "Roomcast's raw protocol: subscribes, goes on after its position, hears what is refused and missed",
  async (t) => {
    const { did, connection } = listener(() => false)
    const target: Target = { dialect: 'roomcast', port: 1, path: '/ws', subscribe: '{"rooms":["room:{series}"]}' }
    const dialect = dialectOf(target)
    t.equal(dialect.pathOf(connection), '/ws?token=T')
    dialect.opened(connection)
    Object.assign(connection, { position: 'e-7' })
    dialect.opened(connection)
    frame(
      target,
      connection,
      '{"type":"connection_established","data":{}}',
      '{"type":"subscribed","data":{}}',
      '{"type":"events_missed","data":{}}',
      '{"type":"error","data":{}}',
    )
    t.same(did, [
      'says {"type":"subscribe","data":{"rooms":["room:3"]}}',
      'says {"type":"subscribe","data":{"rooms":["room:3"],"since":"e-7"}}',
      'ready',
      'told missed',
      'refused {"type":"error","data":{}}',
    ])
  },
)
