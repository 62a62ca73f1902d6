import t, { type Test } from 'tap'
import {
  type Answer,
  address,
  alive,
  call,
  code,
  Frames,
  gone,
  type Handshake,
  openSession,
  type Packet,
  Polling,
  payload,
  sleep,
  split,
  TRANSPORTS,
} from './protocol-clients.ts'
import { startServer } from './protocol-server.ts'

/**
 * Engine.IO protocol, revision 4 (https://github.com/socketio/engine.io-protocol), clause by clause. Packets of
 * Socket.IO stand in for messages: `message` comes back as `message-back`. What the text leaves open is asked as the
 * reference server answers it, and says so.
 */

const server = await startServer()
t.teardown(() => server.stop())
const { url } = server

const BYTES = Buffer.from([1, 2, 3, 4])
const PLACEHOLDER = '{"_placeholder":true,"num":0}'
const OPEN_KEYS = ['maxPayload', 'pingInterval', 'pingTimeout', 'sid', 'upgrades']

/** A session over HTTP that is connected to the main namespace. */
async function polling(at = url): Promise<Polling> {
  const session = await Polling.open(at)
  await session.post('40')
  await session.take(2)
  return session
}

/** A session over WebSocket that is connected to the main namespace. */
async function websocket(t: Test, at = url): Promise<{ frames: Frames; opened: Handshake }> {
  const session = await Frames.open(at)
  t.teardown(() => session.frames.end())
  session.frames.send('40')
  await session.frames.take(2)
  return session
}

/** A second transport for a session, probed and not yet upgraded to. */
async function probed(t: Test, session: Polling): Promise<Frames> {
  const frames = await Frames.join(url, session.sid)
  t.teardown(() => frames.end())
  frames.send('2probe')
  t.equal(await frames.next(), '3probe')
  return frames
}

async function upgraded(t: Test, session: Polling): Promise<Frames> {
  const frames = await probed(t, session)
  frames.send('5')
  return frames
}

/** That a WebSocket connection with this query is closed, at once or after its handshake, without a word. */
async function refused(query: Readonly<Record<string, string | undefined>>): Promise<void> {
  const frames = new Frames(address(url, query))
  await frames.closed()
  await frames.next().then(
    (packet) => {
      throw new Error(`it was told ${packet}`)
    },
    () => {},
  )
}

/** That a session works, and that nothing came that was not asked for. */
async function worksOver(t: Test, session: Polling | Frames): Promise<void> {
  const question = '4277["message-with-ack","works"]'
  if (session instanceof Polling) t.equal((await session.post(question)).body, 'ok')
  else session.send(question)
  t.same(await session.take(1), ['4377["works"]'])
}

function messages(from: number, to: number, type = 'message'): string[] {
  return Array.from({ length: to - from + 1 }, (_, n) => `42["${type}",${from + n}]`)
}

function refusal(t: Test, answer: Answer, expected: number): void {
  t.equal(answer.status, 400)
  t.equal(code(answer), expected)
  t.type(JSON.parse(answer.body).message, 'string')
}

// Engine.IO 4, "Handshake"

t.test('handshake: a GET opens a session over polling', async (t) => {
  const answer = await call(address(url, { EIO: '4', transport: 'polling' }))
  t.equal(answer.status, 200)
  t.match(answer.headers['content-type'], /^text\/plain; *charset=utf-8$/i)
  t.match(answer.body, /^0\{/)
  const opened: Handshake = JSON.parse(answer.body.slice(1))
  t.same(Object.keys(opened).sort(), OPEN_KEYS)
  t.type(opened.sid, 'string')
  t.not(opened.sid, '')
  t.same(opened.upgrades, ['websocket'])
  t.ok(opened.pingInterval > 0)
  t.ok(opened.pingTimeout > 0)
  t.ok(opened.maxPayload >= 1_000_000)
})

t.test('handshake: a WebSocket connection opens a session', async (t) => {
  const frames = new Frames(address(url, { EIO: '4', transport: 'websocket' }))
  t.teardown(() => frames.end())
  const packet = String(await frames.next())
  t.match(packet, /^0\{/)
  const opened: Handshake = JSON.parse(packet.slice(1))
  t.same(Object.keys(opened).sort(), OPEN_KEYS)
  t.type(opened.sid, 'string')
  t.not(opened.sid, '')
  t.same(opened.upgrades, [], 'there is nothing to upgrade to')
})

t.test('handshake: it tells the settings that hold', async (t) => {
  const server = await startServer({
    SOCKETIO_PING_INTERVAL_MS: 300,
    SOCKETIO_PING_TIMEOUT_MS: 200,
    MAX_PAYLOAD_BYTES: 100_000,
  })
  t.teardown(() => server.stop())
  const { frames, opened } = await Frames.open(server.url)
  t.teardown(() => frames.end())
  for (const { pingInterval, pingTimeout, maxPayload } of [opened, (await Polling.open(server.url)).opened])
    t.same({ pingInterval, pingTimeout, maxPayload }, { pingInterval: 300, pingTimeout: 200, maxPayload: 100_000 })
})

t.test('handshake: every session has an id of its own', async (t) => {
  const sids = await Promise.all(Array.from({ length: 50 }, async () => (await Polling.open(url)).sid))
  t.equal(new Set(sids).size, 50)
})

// Engine.IO 4, "Query parameters"

t.test('query: order and further parameters do not matter', async (t) => {
  t.equal((await call(address(url, { t: 'N8hyd6w', transport: 'polling', b64: '1', EIO: '4' }))).status, 200)
})

for (const [what, EIO] of [
  ['missing', undefined],
  ['empty', ''],
  ['no number', 'abc'],
  ['of an older revision', '3'],
  ['of a newer revision', '5'],
  ['a prefix only', '44'],
] as const) {
  // "If a mandatory query parameter is missing, then the server MUST respond with an HTTP 400 error status."
  t.test(`query: EIO that is ${what} is refused over polling`, async (t) => {
    refusal(t, await call(address(url, { EIO, transport: 'polling' })), 5)
  })

  // "If a mandatory query parameter is missing, then the server MUST close the WebSocket connection."
  t.test(`query: EIO that is ${what} is refused over websocket`, async () => {
    await refused({ EIO, transport: 'websocket' })
  })
}

for (const [what, transport] of [
  ['missing', undefined],
  ['empty', ''],
  ['unknown', 'abc'],
  ['in capitals', 'POLLING'],
  ['a name that every object has', 'constructor'],
  ['one that this server lacks', 'webtransport'],
] as const) {
  t.test(`query: a transport that is ${what} is refused`, async (t) => {
    refusal(t, await call(address(url, { EIO: '4', transport })), 0)
    await refused({ EIO: '4', transport })
  })
}

t.test('query: a session cannot be used with another revision', async (t) => {
  const session = await polling()
  for (const EIO of ['3', undefined])
    t.equal((await call(address(url, { EIO, transport: 'polling', sid: session.sid }))).status, 400)
  await worksOver(t, session)
})

// "The server MUST return an HTTP 400 response if the session ID is not known."
for (const sid of ['unknown', '__proto__', 'constructor', 'x'.repeat(2_000)]) {
  t.test(`query: the unknown sid ${sid.slice(0, 20)} is refused`, async (t) => {
    const at = address(url, { EIO: '4', transport: 'polling', sid })
    refusal(t, await call(at), 1)
    refusal(t, await call(at, { method: 'POST', body: '4hello' }), 1)
    await refused({ EIO: '4', transport: 'websocket', sid })
  })
}

// "To establish a connection, the client MUST send an HTTP GET request to the server"
for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
  t.test(`handshake: ${method} without a sid is refused`, async (t) => {
    refusal(t, await call(address(url, { EIO: '4', transport: 'polling' }), { method }), 2)
  })
}

t.test('handshake: a GET for websocket without an Upgrade header is refused', async (t) => {
  refusal(t, await call(address(url, { EIO: '4', transport: 'websocket' })), 3)
})

t.test(
  'upgrade: a GET for websocket with the sid of a polling session, without an Upgrade header, is refused and changes nothing',
  async (t) => {
    const session = await polling()
    refusal(t, await call(address(url, { EIO: '4', transport: 'websocket', sid: session.sid })), 3)
    await worksOver(t, session)
  },
)

// Engine.IO 4, "Heartbeat"

t.test('heartbeat: pings keep coming, and pongs keep the session', async (t) => {
  const server = await startServer({ SOCKETIO_PING_INTERVAL_MS: 200, SOCKETIO_PING_TIMEOUT_MS: 1_000 })
  t.teardown(() => server.stop())
  // So many that a session whose pongs do not count would be closed by now.
  const COUNT = 10

  t.test('over websocket', async (t) => {
    const { frames } = await Frames.open(server.url)
    t.teardown(() => frames.end())
    await pongs(frames)
  })

  t.test('over websocket after an upgrade', async (t) => {
    const session = await Polling.open(server.url)
    const frames = await Frames.join(server.url, session.sid)
    t.teardown(() => frames.end())
    frames.send('2probe')
    t.equal(await frames.next(), '3probe')
    frames.send('5')
    await pongs(frames)
  })

  t.test('over polling', async (t) => {
    const session = await Polling.open(server.url)
    for (let n = 0; n < COUNT; n++) {
      t.same(await session.take(1), ['2'])
      t.equal((await session.post('3')).body, 'ok')
    }
    t.same(await session.take(1), ['2'])
  })

  async function pongs(frames: Frames): Promise<void> {
    for (let n = 0; n < COUNT; n++) {
      if ((await frames.next()) !== '2') throw new Error('something else than a ping')
      frames.send('3')
    }
    frames.answersPings = true
    frames.send('40')
    if (!String((await frames.take(2))[0]).startsWith('40{')) throw new Error('it does not work any more')
  }
})

// "If the server does not receive a pong packet back, then it SHOULD consider that the connection is closed."
t.test('heartbeat: a session without pongs is closed', async (t) => {
  const server = await startServer({ SOCKETIO_PING_INTERVAL_MS: 300, SOCKETIO_PING_TIMEOUT_MS: 200 })
  t.teardown(() => server.stop())

  t.test('over websocket', async (t) => {
    const { frames, opened } = await Frames.open(server.url)
    t.teardown(() => frames.end())
    t.equal(await frames.next(), '2')
    await frames.closed()
    await gone(server.url, opened.sid, 'websocket')
  })

  t.test('over polling, with a GET pending', async (t) => {
    const session = await Polling.open(server.url)
    t.same(await session.take(1), ['2'])
    // The pending one may be told of the end; the one after it is refused.
    const last = await session.poll()
    t.ok(last.status === 400 || /^[16]$/.test(last.body), last.body)
    refusal(t, await session.poll(), 1)
  })

  t.test('over polling, with no GET at all', async (t) => {
    const session = await Polling.open(server.url)
    await sleep(1_500)
    refusal(t, await session.poll(), 1)
  })

  t.test('over websocket after an upgrade', async (t) => {
    const session = await Polling.open(server.url)
    const frames = await Frames.join(server.url, session.sid)
    t.teardown(() => frames.end())
    frames.send('2probe', '5')
    await frames.closed()
    await gone(server.url, session.sid, 'websocket')
  })

  t.test('messages are no pongs', async (t) => {
    const { frames, opened } = await Frames.open(server.url)
    const talk = setInterval(() => frames.send('42["message"]'), 50)
    t.teardown(() => {
      clearInterval(talk)
      frames.end()
    })
    frames.send('40')
    await frames.closed()
    await gone(server.url, opened.sid, 'websocket')
  })
})

// Engine.IO 4, "From v3 to v4": "The ping packets are now sent by the server". The reference closes.
t.test('heartbeat: a ping from the client closes the session', async (t) => {
  for (const transport of TRANSPORTS) {
    const session = await openSession(transport, url)
    t.teardown(() => session.end())
    await session.send('2')
    await session.closed()
  }
})

// Engine.IO 4, "Protocol": "close: Used to indicate that a transport can be closed."

t.test('close: over polling it answers the pending GET and ends the session', async (t) => {
  const session = await polling()
  const pending = session.poll()
  await sleep(100)
  t.equal((await session.post('1')).body, 'ok')
  const answer = await pending
  t.equal(answer.status, 200)
  t.match(answer.body, /^[16]$/, 'the reference says noop')
  refusal(t, await session.poll(), 1)
  refusal(t, await session.post('42["message"]'), 1)
})

t.test('close: over polling with no GET pending it ends the session', async (t) => {
  const session = await polling()
  t.equal((await session.post('1')).body, 'ok')
  refusal(t, await session.poll(), 1)
  refusal(t, await session.post('42["message"]'), 1)
})

// The reference does nothing here: its session ends for want of a pong.
t.test('close: over websocket it closes the connection and ends the session', async (t) => {
  const { frames, opened } = await websocket(t)
  frames.send('1')
  await frames.closed()
  await gone(url, opened.sid, 'websocket')
})

t.test('close: a WebSocket connection that breaks ends the session', async (t) => {
  const { frames, opened } = await websocket(t)
  t.equal(await alive(url, opened.sid), true)
  frames.end()
  await gone(url, opened.sid, 'websocket')
})

// Engine.IO 4, "Sending data" and "Receiving data"

t.test('polling: a POST is answered "ok"', async (t) => {
  const session = await polling()
  const answer = await session.post('42["message"]')
  t.equal(answer.status, 200)
  t.equal(answer.body, 'ok')
})

t.test('polling: a GET waits until there is something', async (t) => {
  const session = await polling()
  let answered = false
  const pending = session.poll().finally(() => {
    answered = true
  })
  await sleep(200)
  t.equal(answered, false)
  await session.post('42["message","now"]')
  const answer = await pending
  t.equal(answer.status, 200)
  t.match(answer.headers['content-type'], /^text\/plain; *charset=utf-8$/i)
  t.equal(answer.body, '42["message-back","now"]')
})

// Engine.IO 4, "Packet encoding": "The packets are separated by the record separator character: \x1e"
t.test('polling: several packets in one POST, and in one response', async (t) => {
  const session = await polling()
  t.equal((await session.post(payload(messages(1, 3)))).body, 'ok')
  await sleep(200)
  t.equal((await session.poll()).body, payload(messages(1, 3, 'message-back')))
})

// "Binary payloads MUST be base64-encoded and prefixed with a b character"
t.test('polling: binary as base64, in both directions', async (t) => {
  const session = await polling()
  t.equal((await session.post(`451-["message",${PLACEHOLDER}]\x1ebAQIDBA==\x1e42["message","after"]`)).body, 'ok')
  await sleep(200)
  t.equal((await session.poll()).body, `451-["message-back",${PLACEHOLDER}]\x1ebAQIDBA==\x1e42["message-back","after"]`)
})

// "The character encoding is UTF-8 for plain text"
t.test('polling: text is UTF-8, wherever the network cuts it', async (t) => {
  const session = await polling()
  const bytes = Buffer.from('42["message","€😀"]')
  const cut = bytes.indexOf(Buffer.from('😀')) + 2
  const body = (async function* () {
    yield bytes.subarray(0, cut)
    await sleep(100)
    yield bytes.subarray(cut)
  })()
  t.equal(
    (await call(session.address, { method: 'POST', headers: { 'Content-Length': bytes.length }, body })).body,
    'ok',
  )
  t.equal((await session.poll()).body, '42["message-back","€😀"]')
})

// "a client MUST NOT have more than one active GET request. Should it happen, the server MUST return an HTTP 400 error
// status and close the session."
t.test('polling: a second GET at the same time is refused, and closes the session', async (t) => {
  const bystander = await polling()
  const session = await polling()
  const first = session.poll()
  await sleep(100)
  t.equal((await session.poll()).status, 400)
  const answer = await first
  t.equal(answer.status, 200)
  t.equal(answer.body, '1')
  refusal(t, await session.poll(), 1)
  await worksOver(t, bystander)
})

// "a client MUST NOT have more than one active POST request. Should it happen, the server MUST return an HTTP 400 error
// status and close the session."
t.test('polling: a second POST at the same time is refused, and closes the session', async (t) => {
  const bystander = await polling()
  const session = await polling()
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const bytes = Buffer.from('42["message","slow"]')
  const body = (async function* () {
    yield bytes.subarray(0, 5)
    await released
    yield bytes.subarray(5)
  })()
  const first = call(session.address, { method: 'POST', headers: { 'Content-Length': bytes.length }, body }).then(
    ({ status }) => status,
    () => 'closed',
  )
  await sleep(200)
  t.equal((await session.post('42["message","fast"]')).status, 400)
  release()
  t.not(await first, 200)
  refusal(t, await session.poll(), 1)
  await worksOver(t, bystander)
})

// Not in the text, but in its test-suite.
t.test('polling: a GET that the client gives up closes the session', async () => {
  const session = await polling()
  const stop = new AbortController()
  session.poll(stop.signal).catch(() => {})
  await sleep(100)
  stop.abort()
  await sleep(100)
  await gone(url, session.sid, 'polling')
})

for (const [what, body] of Object.entries({
  'an unknown type': 'abc',
  'the type after the last': '7',
  'no type': '',
  'an unknown type after a good packet': '42["message"]\x1eabc',
  'an empty packet between good ones': '42["message"]\x1e\x1e42["message"]',
})) {
  // In the test-suite of the text: "closes the session upon invalid packet format"
  t.test(`polling: a packet with ${what} closes the session`, async (t) => {
    const bystander = await polling()
    const session = await polling()
    await session.post(body).catch(() => {})
    await gone(url, session.sid, 'polling')
    refusal(t, await session.poll(), 1)
    await worksOver(t, bystander)
  })
}

// Engine.IO 4, "Handshake": maxPayload, "The maximum number of bytes per chunk"
t.test('payload: more than maxPayload is refused', async (t) => {
  const MAX = 100_000
  const server = await startServer({ MAX_PAYLOAD_BYTES: MAX })
  t.teardown(() => server.stop())

  /** A message of so many bytes; of a few more if the character has several. */
  const message = (bytes: number, character = 'x') =>
    `42["message","${character.repeat(Math.ceil((bytes - 16) / Buffer.byteLength(character)))}"]`
  const status = (session: Polling, body: string | AsyncIterable<Buffer>) =>
    call(session.address, { method: 'POST', body }).then(
      ({ status }) => status,
      () => 'closed',
    )

  t.test('over polling, as much as that is taken', async (t) => {
    const session = await polling(server.url)
    const body = message(MAX)
    t.equal(Buffer.byteLength(body), MAX)
    t.equal(await status(session, body), 200)
    t.equal(String((await session.take(1))[0]).length, body.length + '-back'.length)
  })

  t.test('over polling, more is answered 413 or the connection closed', async (t) => {
    const bystander = await polling(server.url)
    for (const body of [message(MAX + 1), message(MAX * 20), payload([message(MAX - 100), message(MAX - 100)])])
      t.match(String(await status(await polling(server.url), body)), /^(413|closed)$/)
    await worksOver(t, bystander)
  })

  t.test('over polling, bytes count, not characters', async (t) => {
    const body = message(MAX + 100, '€')
    t.ok(body.length < MAX)
    t.match(String(await status(await polling(server.url), body)), /^(413|closed)$/)
  })

  t.test('over polling, a body whose length is not told beforehand counts too', async (t) => {
    const body = (async function* () {
      for (let n = 0; n < 10; n++) yield Buffer.alloc(MAX / 5, 'x')
    })()
    t.match(String(await status(await polling(server.url), body)), /^(413|closed)$/)
  })

  t.test('over websocket, as much as that is taken', async (t) => {
    const { frames } = await websocket(t, server.url)
    const body = message(MAX)
    frames.send(body)
    t.equal(String(await frames.next()).length, body.length + '-back'.length)
  })

  t.test('over websocket, more closes the connection', async (t) => {
    const bystander = await websocket(t, server.url)
    for (const packets of [[message(MAX + 1)], [`451-["message",${PLACEHOLDER}]`, Buffer.alloc(MAX + 1)]]) {
      const { frames, opened } = await websocket(t, server.url)
      frames.send(...packets)
      await frames.closed()
      await gone(server.url, opened.sid, 'websocket')
    }
    await worksOver(t, bystander.frames)
  })
})

// Engine.IO 4, "WebSocket"

// "Each packet (read or write) is sent its own WebSocket frame."
t.test('websocket: each packet is a frame of its own', async (t) => {
  const { frames } = await websocket(t)
  frames.send(...messages(1, 20))
  t.same(await frames.take(20), messages(1, 20, 'message-back'))
})

// "Binary payloads are sent as is, without modification."
t.test('websocket: binary goes as it is, in both directions', async (t) => {
  const { frames } = await websocket(t)
  frames.send(`451-["message",${PLACEHOLDER}]`, BYTES, '42["message","after"]')
  t.same(await frames.take(3), [`451-["message-back",${PLACEHOLDER}]`, BYTES, '42["message-back","after"]'])
})

for (const [what, packet] of Object.entries({
  'an unknown type': 'abc',
  'the type after the last': '7',
  'no type': '',
})) {
  t.test(`websocket: a packet with ${what} closes the connection`, async (t) => {
    const bystander = await websocket(t)
    const { frames, opened } = await websocket(t)
    frames.send(packet)
    await frames.closed()
    await gone(url, opened.sid, 'websocket')
    await worksOver(t, bystander.frames)
  })
}

// "A client MUST NOT open more than one WebSocket connection per session. Should it happen, the server MUST close the
// WebSocket connection." The reference keeps it waiting for a probe.
t.test('websocket: a second connection for a session that began over websocket is closed', async (t) => {
  const { frames, opened } = await websocket(t)
  await refused({ EIO: '4', transport: 'websocket', sid: opened.sid })
  await worksOver(t, frames)
})

// Engine.IO 4, "Query parameters": a session has one transport. The reference: 400, code 3.
t.test(
  'websocket: HTTP requests for a session that began over websocket are refused, and change nothing',
  async (t) => {
    const { frames, opened } = await websocket(t)
    const at = address(url, { EIO: '4', transport: 'polling', sid: opened.sid })
    refusal(t, await call(at), 3)
    refusal(t, await call(at, { method: 'POST', body: '42["message","stray"]' }), 3)
    await worksOver(t, frames)
  },
)

// Engine.IO 4, "Upgrade"

t.test('upgrade: probe, answer, upgrade; then packets go over websocket', async (t) => {
  const session = await polling()
  const frames = await upgraded(t, session)
  await worksOver(t, frames)
  frames.send(`451-["message",${PLACEHOLDER}]`, BYTES)
  t.same(await frames.take(2), [`451-["message-back",${PLACEHOLDER}]`, BYTES])
})

t.test('upgrade: a session may upgrade before it has said anything', async (t) => {
  const session = await Polling.open(url)
  const frames = await upgraded(t, session)
  frames.send('40')
  t.match(await frames.next(), /^40\{"sid":/)
  t.match(await frames.next(), /^42\["auth",\{\},"[a-z0-9]+-\d+"\]$/)
})

t.test('upgrade: a client need not wait between its packets', async (t) => {
  const session = await polling()
  const frames = await Frames.join(url, session.sid)
  t.teardown(() => frames.end())
  frames.send('2probe', '5', ...messages(1, 3))
  t.same(await frames.take(4), ['3probe', ...messages(1, 3, 'message-back')])
})

// "send a noop packet to any pending GET request (if applicable) to cleanly close HTTP long-polling transport"
t.test('upgrade: the pending GET gets a noop', async (t) => {
  const session = await polling()
  const pending = session.poll()
  await sleep(100)
  const frames = await probed(t, session)
  const answer = await pending
  t.equal(answer.status, 200)
  t.equal(answer.body, '6')
  frames.send('5')
  await worksOver(t, frames)
})

t.test('upgrade: a GET that comes after the probe gets a noop', async (t) => {
  const session = await polling()
  const frames = await probed(t, session)
  const answer = await session.poll()
  t.equal(answer.status, 200)
  t.equal(answer.body, '6')
  frames.send('5')
  await worksOver(t, frames)
})

// "to ensure that no packet gets lost"
t.test('upgrade: packets that wait for a GET go over websocket after the upgrade, once and in order', async (t) => {
  const session = await polling()
  t.equal((await session.post(payload(messages(1, 100)))).body, 'ok')
  const frames = await upgraded(t, session)
  frames.send(...messages(101, 200))
  t.same(await frames.take(200), messages(1, 200, 'message-back'))
  await worksOver(t, frames)
})

t.test('upgrade: packets of its very moment arrive once and in order', async (t) => {
  for (let round = 0; round < 30; round++) {
    const session = await polling()
    const pending = session.poll()
    await sleep(round % 10)
    const posted = session.post(payload(messages(1, 5)))
    const frames = await probed(t, session)
    t.equal((await posted).body, 'ok')
    const answer = await pending
    t.equal(answer.status, 200)
    const got: Packet[] = split(answer.body).filter((packet) => packet !== '6')
    frames.send('5', ...messages(6, 10))
    got.push(...(await frames.take(10 - got.length)))
    t.same(got, messages(1, 10, 'message-back'))
    await worksOver(t, frames)
    frames.end()
  }
})

t.test('upgrade: binary packets are not torn from their text by it', async (t) => {
  const session = await polling()
  t.equal((await session.post(payload([`451-["message",${PLACEHOLDER}]`, BYTES]))).body, 'ok')
  const frames = await upgraded(t, session)
  t.same(await frames.take(2), [`451-["message-back",${PLACEHOLDER}]`, BYTES])
})

t.test('upgrade: until it is complete, packets go over polling', async (t) => {
  const session = await polling()
  const frames = await probed(t, session)
  await worksOver(t, session)
  await worksOver(t, session)
  frames.send('5')
  await worksOver(t, frames)
})

for (const [what, packet] of Object.entries({
  'a ping without "probe"': '2',
  'a ping with other text': '2other',
  'a message': '42["message"]',
  'an unknown packet': 'abc',
  'a close packet': '1',
})) {
  t.test(
    `upgrade: ${what} in place of the probe closes that connection; polling goes on, and may upgrade later`,
    async (t) => {
      const session = await polling()
      const frames = await Frames.join(url, session.sid)
      frames.send(packet)
      await frames.closed()
      await worksOver(t, session)
      await worksOver(t, await upgraded(t, session))
    },
  )
}

t.test('upgrade: abandoned before the probe, polling goes on, and may upgrade later', async (t) => {
  const session = await polling()
  const pending = session.poll()
  const frames = await Frames.join(url, session.sid)
  frames.end()
  await sleep(100)
  t.equal((await session.post('42["message","still"]')).body, 'ok')
  t.equal((await pending).body, '42["message-back","still"]')
  await worksOver(t, await upgraded(t, session))
})

t.test('upgrade: abandoned after the probe, polling goes on, and may upgrade later', async (t) => {
  const session = await polling()
  const pending = session.poll()
  const frames = await probed(t, session)
  t.equal((await pending).body, '6')
  frames.end()
  await sleep(100)
  await worksOver(t, session)
  await worksOver(t, session)
  await worksOver(t, await upgraded(t, session))
})

t.test('upgrade: for an unknown session it is refused', async () => {
  await refused({ EIO: '4', transport: 'websocket', sid: 'unknown' })
})

t.test('upgrade: for a closed session it is refused', async (t) => {
  const session = await polling()
  t.equal((await session.post('1')).body, 'ok')
  await refused({ EIO: '4', transport: 'websocket', sid: session.sid })
})

t.test('upgrade: the end of the session ends the connection that was probing', async (t) => {
  const session = await polling()
  const frames = await probed(t, session)
  t.equal((await session.post('1')).body, 'ok')
  await frames.closed()
})

// "A client MUST NOT open more than one WebSocket connection per session. Should it happen, the server MUST close the
// WebSocket connection."
t.test('upgrade: a second connection while another is probing is closed', async (t) => {
  const session = await polling()
  const frames = await probed(t, session)
  await refused({ EIO: '4', transport: 'websocket', sid: session.sid })
  frames.send('5')
  await worksOver(t, frames)
})

t.test('upgrade: a second connection after the upgrade is closed', async (t) => {
  const session = await polling()
  const frames = await upgraded(t, session)
  await worksOver(t, frames)
  await refused({ EIO: '4', transport: 'websocket', sid: session.sid })
  await worksOver(t, frames)
})

// In the test-suite of the text: "ignores HTTP requests with same sid after upgrade"
t.test('upgrade: HTTP requests after it are refused, and change nothing', async (t) => {
  const session = await polling()
  const frames = await upgraded(t, session)
  await worksOver(t, frames)
  refusal(t, await session.poll(), 3)
  refusal(t, await session.post('42["message","stray"]'), 3)
  await worksOver(t, frames)
})

t.test('upgrade: after it, the end of the connection is the end of the session', async (t) => {
  const session = await polling()
  const frames = await upgraded(t, session)
  await worksOver(t, frames)
  frames.end()
  await gone(url, session.sid, 'websocket')
})

// The reference does nothing here: its session ends for want of a pong.
t.test('upgrade: after it, a close packet closes the connection and ends the session', async (t) => {
  const session = await polling()
  const frames = await upgraded(t, session)
  frames.send('1')
  await frames.closed()
  await gone(url, session.sid, 'websocket')
})

// Pages of other origins. Not in the text: https://fetch.spec.whatwg.org/#http-cors-protocol

t.test('CORS: polling from a page', async (t) => {
  const ORIGIN = 'https://pages.example'
  const server = await startServer({ CORS_ORIGINS: ORIGIN })
  t.teardown(() => server.stop())
  const at = address(server.url, { EIO: '4', transport: 'polling' })
  const allowed = (answer: Answer) => answer.headers['access-control-allow-origin']
  const headers = {
    Origin: ORIGIN,
    'Access-Control-Request-Method': 'POST',
    'Access-Control-Request-Headers': 'content-type',
  }

  t.test('of an allowed origin may be read: the handshake, GET, POST and errors', async (t) => {
    const opened = await call(at, { headers: { Origin: ORIGIN } })
    t.equal(opened.status, 200)
    t.equal(allowed(opened), ORIGIN)
    const session = new Polling(server.url, JSON.parse(opened.body.slice(1)))
    const posted = await call(session.address, {
      method: 'POST',
      headers: { Origin: ORIGIN, 'Content-Type': 'text/plain;charset=UTF-8' },
      body: '40',
    })
    t.equal(posted.body, 'ok')
    t.equal(allowed(posted), ORIGIN)
    const polled = await call(session.address, { headers: { Origin: ORIGIN } })
    t.equal(polled.status, 200)
    t.equal(allowed(polled), ORIGIN)
    const error = await call(`${at}&sid=unknown`, { headers: { Origin: ORIGIN } })
    t.equal(error.status, 400)
    t.equal(allowed(error), ORIGIN)
  })

  t.test('of an allowed origin may ask beforehand, with and without a sid', async (t) => {
    for (const target of [at, `${at}&sid=unknown`]) {
      const answer = await call(target, { method: 'OPTIONS', headers })
      t.ok(answer.status === 204 || answer.status === 200, `${answer.status}`)
      t.equal(allowed(answer), ORIGIN)
      t.match(answer.headers['access-control-allow-methods'], /\bPOST\b/)
      t.match(answer.headers['access-control-allow-headers'], /\bcontent-type\b/i)
    }
  })

  t.test('of another origin may not be read', async (t) => {
    const origin = 'https://elsewhere.example'
    for (const answer of [
      await call(at, { headers: { Origin: origin } }),
      await call(at, { method: 'OPTIONS', headers: { ...headers, Origin: origin } }),
    ]) {
      t.not(allowed(answer), origin)
      t.not(allowed(answer), '*')
    }
  })

  t.test('of no origin at all is taken', async (t) => {
    t.equal((await call(at)).status, 200)
  })
})
