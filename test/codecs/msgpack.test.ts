import { Packr } from 'msgpackr'
import t from 'tap'
import { msgpack } from '../../src/codecs/msgpack.ts'

const frame = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer

t.test("a client's small frame cannot unfold into a huge message", async (t) => {
  let tree: unknown[] = ['x']
  for (let level = 0; level < 40; level++) tree = [tree, tree]
  const bytes = new Packr({ useRecords: false, structuredClone: true }).pack({
    type: 'ai_chat_message',
    data: { tree },
  })
  t.ok(bytes.length < 1_000)
  t.throws(() => msgpack.decode(frame(bytes), true))
})

t.test('frames are plain maps, which any msgpack library reads', async (t) => {
  const plain = new Packr({ useRecords: false })
  const event = {
    type: 'thing',
    data: { n: 1, list: [{ a: 1 }, { a: 2 }] },
    timestamp: '2026-01-02T03:04:05.678Z',
    id: 7,
  }
  t.strictSame(plain.unpack(msgpack.encodeEvent(event, 'e-5')), {
    type: 'thing',
    data: event.data,
    timestamp: event.timestamp,
    source_id: 7,
    id: 'e-5',
  })
  t.strictSame(
    plain.unpack(msgpack.encodeMessage({ type: 'pong', data: { client_id: 1 }, timestamp: event.timestamp, id: 1 })),
    { type: 'pong', id: 1, data: { client_id: 1 }, timestamp: event.timestamp },
  )
  t.strictSame(msgpack.decode(frame(plain.pack({ type: 'ping', data: {}, id: 1 })), true), {
    type: 'ping',
    data: {},
    id: 1,
  })
  t.throws(() => msgpack.decode(frame(Buffer.from('{}')), false), /binary/)
})
