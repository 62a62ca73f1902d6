import { Packr } from 'msgpackr'
import t from 'tap'
import { BrokerError } from '../../src/errors.ts'
import { decodeEnvelope } from '../../src/log/event.ts'

const STORED_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
const packr = new Packr({ useRecords: false })

function read(body: unknown) {
  return decodeEnvelope(
    Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    false,
    'thing.of.subject',
    STORED_MS,
  )
}

function readPacked(body: unknown) {
  return decodeEnvelope(packr.pack(body), true, 'thing.of.subject', STORED_MS)
}

function fault(decode: () => unknown): BrokerError {
  try {
    decode()
  } catch (error) {
    if (error instanceof BrokerError) return error
    throw error
  }
  throw new Error('it was accepted')
}

t.test('what a producer leaves out has its default', async (t) => {
  for (const envelope of [read({ data: { a: 1 } }), readPacked({ data: { a: 1 } })]) {
    t.strictSame(envelope, { type: 'thing.of.subject', data: { a: 1 }, timestamp: '2026-01-02T03:04:05.678Z' })
  }
  t.strictSame(
    read({ data: {}, timestamp: null, id: null, source: null, user_id: null, rooms: null }),
    { type: 'thing.of.subject', data: {}, timestamp: '2026-01-02T03:04:05.678Z' },
    'null is left out',
  )
})

t.test('what a producer says is kept, and what nobody asked for is not', async (t) => {
  const given = {
    type: 'thing',
    data: { deep: { list: [1, null, 'ü'] } },
    timestamp: '2020-05-05T00:00:00Z',
    id: 'own-1',
    source: 'me',
    user_id: 'u1',
    rooms: ['a', 'b'],
  }
  t.strictSame(read({ ...given, more: 1 }), given)
  t.strictSame(readPacked({ ...given, more: 1 }), given)
  t.strictSame(read({ data: {}, id: 0, rooms: [] }), {
    type: 'thing.of.subject',
    data: {},
    timestamp: '2026-01-02T03:04:05.678Z',
    id: 0,
    rooms: [],
  })
})

t.test('a msgpack time is a timestamp like any other', async (t) => {
  t.equal(readPacked({ data: {}, timestamp: new Date(STORED_MS) }).timestamp, '2026-01-02T03:04:05.678Z')
})

t.test('each kind of bad body is refused with the reason', async (t) => {
  const bad: readonly (readonly [unknown, RegExp])[] = [
    ['', /^not JSON/],
    ['{', /^not JSON/],
    ['{"data":{}} x', /^not JSON/],
    ['null', /body is not an object/],
    ['5', /body is not an object/],
    ['"data"', /body is not an object/],
    ['[{"data":{}}]', /body is not an object/],
    [{}, /`data` is missing/],
    [{ data: null }, /`data` is missing/],
    [{ data: [] }, /`data` is missing/],
    [{ data: 'x' }, /`data` is missing/],
    [{ data: {}, type: 5 }, /`type` is not a string/],
    [{ data: {}, type: null }, /`type` is not a string/],
    [{ data: {}, id: {} }, /`id` is neither string nor number/],
    [{ data: {}, id: true }, /`id` is neither/],
    [{ data: {}, source: 1 }, /`source` is not a string/],
    [{ data: {}, user_id: 1 }, /`user_id` is not a string/],
    [{ data: {}, rooms: 'a' }, /`rooms` is not a list of strings/],
    [{ data: {}, rooms: ['a', 1] }, /`rooms` is not a list of strings/],
    [{ data: {}, timestamp: 1_700_000_000 }, /`timestamp` is not a string/],
  ]
  for (const [body, reason] of bad) {
    const error = fault(() => read(body))
    t.equal(error.code, 'INVALID_EVENT')
    t.match(error.message, reason)
  }
})

t.test('bytes that are no text or no msgpack are refused', async (t) => {
  t.match(fault(() => decodeEnvelope(Buffer.from([0x22, 0xff, 0xfe, 0x22]), false, 'thing', 0)).message, /^not JSON/)
  t.equal(fault(() => decodeEnvelope(Buffer.from([0xc1]), true, 'thing', 0)).code, 'INVALID_EVENT')
  for (const bytes of [[], [0x82, 0xa4], [0x91, 0x01, 0x02]])
    t.match(
      fault(() => decodeEnvelope(Buffer.from(bytes), true, 'thing', 0)),
      { code: 'INVALID_EVENT', message: /^not msgpack/ },
    )
  t.match(
    fault(() => decodeEnvelope(Buffer.from('{"data":{}}'), true, 'thing', 0)),
    { code: 'INVALID_EVENT' },
    'JSON under the msgpack mark',
  )
  t.match(fault(() => readPacked({ data: Buffer.from('x') })).message, /`data` is missing/)
})

t.test('a msgpack time that is no time is refused as any bad timestamp', async (t) => {
  t.match(
    fault(() => readPacked({ data: {}, timestamp: new Date(Number.NaN) })),
    { code: 'INVALID_EVENT', message: /`timestamp`/ },
  )
})

t.test('a small msgpack body cannot unfold into a huge one', async (t) => {
  let tree: unknown[] = ['x']
  for (let level = 0; level < 40; level++) tree = [tree, tree]
  const body = new Packr({ useRecords: false, structuredClone: true }).pack({ data: { tree } })
  t.ok(body.length < 1_000)
  t.match(
    fault(() => decodeEnvelope(body, true, 'thing', 0)),
    { code: 'INVALID_EVENT', message: /^not msgpack/ },
  )
})
