import t, { type Test } from 'tap'
import { openSession, type Packet, type Session, sleep, TRANSPORTS, type Transport } from './protocol-clients.ts'
import { startServer } from './protocol-server.ts'

/**
 * Socket.IO protocol, revision 5 (https://github.com/socketio/socket.io-protocol), clause by clause and over both
 * transports. What the text leaves open is asked as the reference server answers it, and says so.
 */

const server = await startServer()
t.teardown(() => server.stop())

const FIRST = Buffer.from([1, 2, 3])
const SECOND = Buffer.from([4, 5, 6, 7])
const ONE = '{"_placeholder":true,"num":0}'
const TWO = '{"_placeholder":true,"num":1}'

async function open(t: Test, transport: Transport): Promise<Session> {
  const session = await openSession(transport, server.url)
  t.teardown(() => session.end())
  return session
}

/** Connects to a namespace, however much more the server adds to its welcome. @returns its session id */
async function join(session: Session, namespace = ''): Promise<string> {
  await session.send(`40${namespace}`)
  const [connected, auth] = await session.take(2)
  const prefix = `40${namespace}`
  if (!String(connected).startsWith(prefix) || !String(auth).startsWith(`42${namespace}["auth",{}`))
    throw new Error(`not connected: ${connected} ${auth}`)
  return JSON.parse(String(connected).slice(prefix.length)).sid
}

/** A frame that begins so; the position that recovery starts from follows as the last argument. */
function greeting(start: string): RegExp {
  return new RegExp(`^${start.replace(/[[\]{}/.]/g, '\\$&')},"[a-z0-9]+-\\d+"\\]$`)
}

/** A session that is connected to these namespaces. */
async function joined(t: Test, transport: Transport, ...namespaces: string[]): Promise<Session> {
  const session = await open(t, transport)
  for (const namespace of namespaces.length > 0 ? namespaces : ['']) await join(session, namespace)
  return session
}

/** That the connection works, and that nothing came that was not asked for. */
async function works(t: Test, session: Session, namespace = ''): Promise<void> {
  await session.send(`42${namespace}77["message-with-ack","works"]`)
  t.equal(await session.next(), `43${namespace}77["works"]`)
}

for (const transport of TRANSPORTS) {
  // Socket.IO 5, "Connection to a namespace"

  t.test(`${transport}: CONNECT to the main namespace is answered by CONNECT with a session id`, async (t) => {
    const session = await open(t, transport)
    await session.send('40')
    const connected = String(await session.next())
    t.match(connected, /^40\{/)
    const data = JSON.parse(connected.slice(2))
    // `pid` is for connection state recovery; the text knows `sid` alone.
    t.same(Object.keys(data), ['sid', 'pid'])
    t.type(data.sid, 'string')
    t.not(data.sid, '')
    t.match(await session.next(), greeting('42["auth",{}'))
    await works(t, session)
  })

  t.test(`${transport}: CONNECT to the main namespace may carry a payload`, async (t) => {
    const session = await open(t, transport)
    await session.send('40{"token":"123","more":{"a":[1,null]}}')
    t.match(await session.next(), /^40\{"sid":"[^"]+","pid":"[^"]+"\}$/)
    t.match(await session.next(), greeting('42["auth",{"token":"123","more":{"a":[1,null]}}'))
  })

  t.test(`${transport}: CONNECT to a custom namespace is answered in that namespace`, async (t) => {
    const session = await open(t, transport)
    await session.send('40/custom,')
    t.match(await session.next(), /^40\/custom,\{"sid":"[^"]+","pid":"[^"]+"\}$/)
    t.match(await session.next(), greeting('42/custom,["auth",{}'))
    await works(t, session, '/custom,')
  })

  t.test(`${transport}: CONNECT to a custom namespace may carry a payload`, async (t) => {
    const session = await open(t, transport)
    await session.send('40/custom,{"token":"abc"}')
    t.match(await session.next(), /^40\/custom,\{"sid":"[^"]+","pid":"[^"]+"\}$/)
    t.match(await session.next(), greeting('42/custom,["auth",{"token":"abc"}'))
  })

  // The text writes the comma; the reference and its test-suite do without where nothing follows.
  t.test(`${transport}: the comma after a namespace may be missing where nothing follows`, async (t) => {
    const session = await open(t, transport)
    await session.send('40/custom')
    t.match(await session.next(), /^40\/custom,\{"sid":"[^"]+","pid":"[^"]+"\}$/)
    t.match(await session.next(), greeting('42/custom,["auth",{}'))
  })

  t.test(`${transport}: a client may be connected to several namespaces over one connection`, async (t) => {
    const session = await open(t, transport)
    await join(session)
    await join(session, '/custom,')
    await session.send('42["message","main"]')
    t.equal(await session.next(), '42["message-back","main"]')
    await session.send('42/custom,["message","custom"]')
    t.equal(await session.next(), '42/custom,["message-back","custom"]')
  })

  t.test(
    `${transport}: the session ids of namespaces differ from each other, from the connection's and from other clients'`,
    async (t) => {
      const session = await open(t, transport)
      const other = await open(t, transport)
      const sids = [session.sid, await join(session), await join(session, '/custom,'), other.sid, await join(other)]
      t.equal(new Set(sids).size, sids.length, sids.join(' '))
    },
  )

  t.test(
    `${transport}: CONNECT to a namespace that does not exist is answered by CONNECT_ERROR, and no more than that`,
    async (t) => {
      const session = await open(t, transport)
      await session.send('40/random,')
      t.equal(await session.next(), '44/random,{"message":"Invalid namespace"}')
      await session.send('40/random,{"token":"123"}')
      t.equal(await session.next(), '44/random,{"message":"Invalid namespace"}')
      await join(session)
      await works(t, session)
    },
  )

  for (const namespace of [
    '/random/custom,',
    '/Custom,',
    '/custom/,',
    '/__proto__,',
    '/constructor,',
    '/custom?token=1,',
  ]) {
    t.test(`${transport}: the namespace ${namespace} is none that exists`, async (t) => {
      const session = await open(t, transport)
      await session.send(`40${namespace}`)
      t.equal(await session.next(), `44${namespace}{"message":"Invalid namespace"}`)
    })
  }

  // "If the server does not receive a CONNECT packet first, then it MUST close the connection immediately."
  for (const [what, packet] of Object.entries({
    EVENT: '42["message"]',
    'EVENT with an ack id': '421["message-with-ack"]',
    DISCONNECT: '41',
    ACK: '431[]',
    CONNECT_ERROR: '44{"message":"no"}',
  })) {
    t.test(`${transport}: ${what} before CONNECT closes the connection`, async (t) => {
      const session = await open(t, transport)
      await session.send(packet)
      await session.closed()
    })
  }

  t.test(`${transport}: BINARY_EVENT before CONNECT closes the connection`, async (t) => {
    const session = await open(t, transport)
    await session.send(`451-["message",${ONE}]`, FIRST)
    await session.closed()
  })

  // "Once the connection to a namespace is established, the client and the server can begin exchanging data"
  t.test(`${transport}: EVENT in a namespace that the client is not connected to closes the connection`, async (t) => {
    const session = await joined(t, transport)
    await session.send('42/custom,["message"]')
    await session.closed()
  })

  t.test(`${transport}: EVENT in a namespace that refused the client closes the connection`, async (t) => {
    const session = await joined(t, transport)
    await session.send('40/random,')
    t.equal(await session.next(), '44/random,{"message":"Invalid namespace"}')
    await session.send('42/random,["message"]')
    await session.closed()
  })

  // Not in the text: as the reference does.
  t.test(`${transport}: a second CONNECT to the same namespace closes the connection`, async (t) => {
    const session = await joined(t, transport)
    await session.send('40')
    await session.closed()
  })

  // Not in the text: as the reference does. CONNECT_ERROR is the server's.
  t.test(`${transport}: CONNECT_ERROR from a client closes the connection`, async (t) => {
    const session = await joined(t, transport)
    await session.send('44{"message":"no"}')
    await session.closed()
  })

  // Socket.IO 5, "Sending and receiving data"

  for (const [what, args] of Object.entries({
    'no arguments': '',
    'arguments of several types': ',1,"2",{"3":[true]}',
    'null, empty and nested arguments': ',null,"",0,false,[],{},[[{"a":{"b":[null]}}]]',
    'text beyond ASCII': ',"€ 😀 שלום \\u0000\\n\\"\\\\"',
    'text that looks like a packet': ',"42[\\"message\\"]","/custom,","1-"',
    'an event name within an argument': ',["connect_error"]',
    'a long text': `,"${'x'.repeat(50_000)}"`,
  })) {
    t.test(`${transport}: EVENT with ${what} arrives and is answered with the same`, async (t) => {
      const session = await joined(t, transport)
      await session.send(`42["message"${args}]`)
      t.equal(await session.next(), `42["message-back"${args}]`)
    })
  }

  t.test(`${transport}: EVENTs arrive in the order in which they were sent`, async (t) => {
    const session = await joined(t, transport)
    const numbers = Array.from({ length: 100 }, (_, n) => n)
    await session.send(...numbers.map((n) => `42["message",${n}]`))
    t.same(
      await session.take(100),
      numbers.map((n) => `42["message-back",${n}]`),
    )
  })

  t.test(`${transport}: EVENTs of two namespaces do not mix`, async (t) => {
    const session = await joined(t, transport, '', '/custom,')
    await session.send('42["message",1]', '42/custom,["message",2]', '42["message",3]', '42/custom,["message",4]')
    t.same(await session.take(4), [
      '42["message-back",1]',
      '42/custom,["message-back",2]',
      '42["message-back",3]',
      '42/custom,["message-back",4]',
    ])
  })

  t.test(`${transport}: EVENT of one client goes to no other`, async (t) => {
    const session = await joined(t, transport)
    const other = await joined(t, transport)
    await session.send('42["message","mine"]')
    t.equal(await session.next(), '42["message-back","mine"]')
    await works(t, other)
  })

  for (const namespace of ['', '/custom,']) {
    const where = namespace === '' ? 'the main namespace' : 'a custom namespace'

    t.test(`${transport}: BINARY_EVENT with one attachment, in ${where}`, async (t) => {
      const session = await joined(t, transport, namespace)
      await session.send(`451-${namespace}["message",${ONE}]`, FIRST)
      t.same(await session.take(2), [`451-${namespace}["message-back",${ONE}]`, FIRST])
    })

    t.test(`${transport}: BINARY_EVENT with two attachments, in ${where}`, async (t) => {
      const session = await joined(t, transport, namespace)
      await session.send(`452-${namespace}["message",${ONE},"between",${TWO}]`, FIRST, SECOND)
      t.same(await session.take(3), [`452-${namespace}["message-back",${ONE},"between",${TWO}]`, FIRST, SECOND])
    })
  }

  t.test(`${transport}: attachments are found within objects and arrays`, async (t) => {
    const session = await joined(t, transport)
    await session.send(`452-["message",{"a":[1,${ONE}],"b":{"c":${TWO}}}]`, FIRST, SECOND)
    t.same(await session.take(3), [`452-["message-back",{"a":[1,${ONE}],"b":{"c":${TWO}}}]`, FIRST, SECOND])
  })

  t.test(`${transport}: a placeholder names its attachment by number, not by place`, async (t) => {
    const session = await joined(t, transport)
    await session.send(`452-["message",${TWO},${ONE}]`, FIRST, SECOND)
    t.same(await session.take(3), [`452-["message-back",${ONE},${TWO}]`, SECOND, FIRST])
  })

  t.test(`${transport}: attachments of every byte, of none, and of many`, async (t) => {
    const session = await joined(t, transport)
    for (const bytes of [
      Buffer.from(Array.from({ length: 256 }, (_, n) => n)),
      Buffer.alloc(0),
      Buffer.alloc(50_000, 0xff),
    ]) {
      await session.send(`451-["message",${ONE}]`, bytes)
      t.same(await session.take(2), [`451-["message-back",${ONE}]`, bytes])
    }
  })

  t.test(`${transport}: BINARY_EVENTs one after the other keep their own attachments`, async (t) => {
    const session = await joined(t, transport, '', '/custom,')
    await session.send(
      `451-["message",${ONE}]`,
      FIRST,
      '42["message","text"]',
      `451-/custom,["message",${ONE}]`,
      SECOND,
    )
    t.same(await session.take(5), [
      `451-["message-back",${ONE}]`,
      FIRST,
      '42["message-back","text"]',
      `451-/custom,["message-back",${ONE}]`,
      SECOND,
    ])
  })

  // Socket.IO 5, "Acknowledgement"

  for (const id of ['1', '0', '12', '456', '2147483648', '9007199254740991']) {
    t.test(`${transport}: EVENT with the id ${id} is answered by ACK with the id ${id}`, async (t) => {
      const session = await joined(t, transport)
      await session.send(`42${id}["message-with-ack",1,"2",{"3":[false]}]`)
      t.equal(await session.next(), `43${id}[1,"2",{"3":[false]}]`)
    })
  }

  t.test(`${transport}: the payload of ACK may be an empty array`, async (t) => {
    const session = await joined(t, transport)
    await session.send('4212["message-with-ack"]')
    t.equal(await session.next(), '4312[]')
  })

  t.test(`${transport}: EVENT with an id in a custom namespace is answered by ACK in that namespace`, async (t) => {
    const session = await joined(t, transport, '/custom,')
    await session.send('42/custom,13["message-with-ack","bar"]')
    t.equal(await session.next(), '43/custom,13["bar"]')
  })

  t.test(`${transport}: the same id may be in use in two namespaces`, async (t) => {
    const session = await joined(t, transport, '', '/custom,')
    await session.send('425["message-with-ack","main"]', '42/custom,5["message-with-ack","custom"]')
    t.same(await session.take(2), ['435["main"]', '43/custom,5["custom"]'])
  })

  t.test(`${transport}: EVENT without an id is not acknowledged`, async (t) => {
    const session = await joined(t, transport)
    await session.send('42["message"]')
    t.equal(await session.next(), '42["message-back"]')
    await works(t, session)
  })

  for (const namespace of ['', '/custom,']) {
    t.test(
      `${transport}: BINARY_EVENT with an id is answered by BINARY_ACK with the same id, in ${namespace || '/'}`,
      async (t) => {
        const session = await joined(t, transport, namespace)
        await session.send(`452-${namespace}789["message-with-ack",${ONE},${TWO}]`, FIRST, SECOND)
        t.same(await session.take(3), [`462-${namespace}789[${ONE},${TWO}]`, FIRST, SECOND])
        await session.send(`451-${namespace}0["message-with-ack",${ONE}]`, FIRST)
        t.same(await session.take(2), [`461-${namespace}0[${ONE}]`, FIRST])
      },
    )
  }

  // Not in the text: as the reference does.
  t.test(`${transport}: ACK and BINARY_ACK that answer nothing are ignored`, async (t) => {
    const session = await joined(t, transport)
    await session.send('43999["nothing"]', '430[]', `461-998[${ONE}]`, FIRST)
    await works(t, session)
  })

  // Socket.IO 5, "Disconnection from a namespace"

  for (const [left, kept] of [
    ['/custom,', ''],
    ['', '/custom,'],
  ] as const) {
    t.test(
      `${transport}: DISCONNECT from ${left || '/'} is not answered and leaves ${kept || '/'} connected`,
      async (t) => {
        const session = await joined(t, transport, left, kept)
        await session.send(`41${left}`)
        await works(t, session, kept)
      },
    )

    t.test(`${transport}: after DISCONNECT from ${left || '/'} its events are those of a stranger`, async (t) => {
      const session = await joined(t, transport, left, kept)
      await session.send(`41${left}`)
      await works(t, session, kept)
      await session.send(`42${left}["message"]`)
      await session.closed()
    })

    t.test(
      `${transport}: after DISCONNECT from ${left || '/'} a client may CONNECT again, with another session id`,
      async (t) => {
        const session = await open(t, transport)
        await join(session, kept)
        const before = await join(session, left)
        await session.send(`41${left}`)
        await works(t, session, kept)
        t.not(await join(session, left), before)
        await works(t, session, left)
      },
    )
  }

  t.test(`${transport}: the comma of DISCONNECT may be missing`, async (t) => {
    const session = await joined(t, transport, '', '/custom,')
    await session.send('41/custom')
    await works(t, session)
    t.not(await join(session, '/custom,'), '')
  })

  // Socket.IO 5, "Packet encoding": what is not of that format closes the connection, and nobody else's. "The payload
  // is mandatory and MUST be a non-empty array. If that's not the case, then the receiver MUST close the connection."

  const invalid: Readonly<Record<string, readonly Packet[]>> = {
    'no packet type': ['4'],
    'a packet type that is no digit': ['4abc'],
    'an unknown packet type': ['49'],
    'the packet type after the last': ['47["message"]'],
    'CONNECT with an array': ['40/random,[]'],
    'CONNECT with a string': ['40/random,"token"'],
    'CONNECT with null': ['40/random,null'],
    'CONNECT with half an object': ['40/random,{"token":'],
    'DISCONNECT with a payload': ['41{"a":1}'],
    // The reference ignores the next three.
    'EVENT without a payload': ['42'],
    'EVENT with an id and without a payload': ['4212'],
    'EVENT with a namespace and without a payload': ['42/custom,'],
    'EVENT with an object': ['42{}'],
    'EVENT with a string': ['42"message"'],
    'EVENT with null': ['42null'],
    'EVENT with an empty array': ['42[]'],
    'EVENT with an empty array and an id': ['421[]'],
    'EVENT with half an array': ['42["x"'],
    'EVENT with an id and half an array': ['420['],
    'EVENT with text after its array': ['42["message"]x'],
    'EVENT with an id that is no number': ['42abc["message-with-ack",1,"2",{"3":[false]}]'],
    'EVENT with an id below zero': ['42-1["message-with-ack"]'],
    'EVENT whose name is null': ['42[null]'],
    'EVENT whose name is an object': ['42[{"message":1}]'],
    'EVENT whose name is true': ['42[true,"message"]'],
    'ACK with an object': ['431{}'],
    'ACK with half an array': ['431["x"'],
    'BINARY_EVENT without a number of attachments': ['45["message"]'],
    'BINARY_EVENT with a dash but no number of attachments': [`45-["message",${ONE}]`, FIRST],
    'BINARY_EVENT with a number of attachments that is none': [`45x-["message",${ONE}]`, FIRST],
    'BINARY_EVENT with a fraction of an attachment': [`451.5-["message",${ONE}]`, FIRST],
    'BINARY_EVENT with a number of attachments below zero': [`45-1-["message",${ONE}]`, FIRST],
    'BINARY_EVENT with an object': [`451-{"message":${ONE}}`, FIRST],
    'BINARY_EVENT with an empty array': ['451-[]', FIRST],
    'BINARY_EVENT with too few attachments': [`452-["message",${ONE},${TWO}]`, FIRST, '42["message"]'],
    'BINARY_EVENT without its attachment': [`451-["message",${ONE}]`, '42["message"]'],
    'BINARY_EVENT in place of an attachment': [`451-["message",${ONE}]`, `451-["message",${ONE}]`],
    'BINARY_EVENT with too many attachments': [`451-["message",${ONE}]`, FIRST, SECOND],
    'BINARY_EVENT with a placeholder beyond its attachments': [`451-["message",${TWO}]`, FIRST],
    'BINARY_EVENT with a placeholder below zero': ['451-["message",{"_placeholder":true,"num":-1}]', FIRST],
    'BINARY_EVENT with a placeholder whose number is text': ['451-["message",{"_placeholder":true,"num":"0"}]', FIRST],
    'BINARY_EVENT with a placeholder without a number': ['451-["message",{"_placeholder":true}]', FIRST],
    'BINARY_EVENT with a million attachments': [`451000000-["message",${ONE}]`, FIRST],
    'BINARY_EVENT with a reserved name': [`451-["connect_error",${ONE}]`, FIRST],
    'an attachment where none is expected': [FIRST],
    ...Object.fromEntries(
      ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'].map((name) => [
        `EVENT with the reserved name ${name}`,
        [`42["${name}"]`],
      ]),
    ),
  }

  t.test(`${transport}: invalid packets`, async (t) => {
    const bystander = await joined(t, transport, '', '/custom,')
    for (const [what, packets] of Object.entries(invalid)) {
      t.test(`${transport}: ${what} closes the connection, and no other`, async (t) => {
        const session = await joined(t, transport, '', '/custom,')
        await session.send(...packets)
        await session.closed()
        await works(t, bystander)
        await works(t, bystander, '/custom,')
      })
    }
  })

  t.test(`${transport}: a connection that ends before all attachments came disturbs nobody`, async (t) => {
    const bystander = await joined(t, transport)
    const session = await joined(t, transport)
    await session.send(`452-["message",${ONE},${TWO}]`, FIRST)
    session.end()
    await works(t, bystander)
    const next = await joined(t, transport)
    await works(t, next)
  })
}

// Socket.IO 5, "Connection to a namespace": "At the beginning of a Socket.IO session, the client MUST send a CONNECT
// packet"
t.test('a client that does not CONNECT in time is closed, one that does is not', async (t) => {
  const server = await startServer({ SOCKETIO_CONNECT_TIMEOUT_MS: 1_000 })
  t.teardown(() => server.stop())
  for (const transport of TRANSPORTS) {
    t.test(transport, async (t) => {
      const punctual = await openSession(transport, server.url)
      const silent = await openSession(transport, server.url)
      t.teardown(() => {
        punctual.end()
        silent.end()
      })
      await join(punctual)
      await silent.closed()
      await sleep(500)
      await works(t, punctual)
    })
  }
})
