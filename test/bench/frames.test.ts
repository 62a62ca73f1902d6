import { Packr } from 'msgpackr'
import t from 'tap'
import { clientFrame, FrameReader, TEXT } from '../../bench/load/frames.ts'
import { JsonNumbers, MsgpackNumbers, readEpoch, readSequence } from '../../bench/load/numbers.ts'
import { eventData } from '../../bench/events/payload.ts'

/** A frame as servers send it: without a mask. */
function serverFrame(payload: Buffer): Buffer {
  const { length } = payload
  if (length < 126) return Buffer.concat([Buffer.from([0x81, length]), payload])
  if (length < 65_536) return Buffer.concat([Buffer.from([0x81, 126, length >> 8, length & 0xff]), payload])
  const head = Buffer.alloc(10)
  head[0] = 0x81
  head[1] = 127
  head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, payload])
}

t.test('frames are the same wherever the stream of bytes is cut in two', async (t) => {
  const payloads = [0, 1, 125, 126, 300].map((length, i) => Buffer.alloc(length, 97 + i))
  const stream = Buffer.concat(payloads.map(serverFrame))
  for (let cut = 0; cut <= stream.length; cut++) {
    const seen: Buffer[] = []
    const reader = new FrameReader((opcode, bytes, start, end) => {
      if (opcode === TEXT) seen.push(Buffer.from(bytes.subarray(start, end)))
    })
    // In one buffer that is used again, as the client does.
    const shared = Buffer.alloc(stream.length)
    for (const part of [stream.subarray(0, cut), stream.subarray(cut)]) {
      part.copy(shared)
      reader.read(shared, 0, part.length)
    }
    if (!Buffer.concat(seen).equals(Buffer.concat(payloads)) || seen.length !== payloads.length) t.fail(`cut at ${cut}`)
  }
})

t.test('frames come one byte at a time, and long ones too', async (t) => {
  const long = Buffer.alloc(70_000, 120)
  const stream = Buffer.concat([serverFrame(Buffer.from('first')), serverFrame(long)])
  const lengths: number[] = []
  const reader = new FrameReader((_opcode, _bytes, start, end) => lengths.push(end - start))
  for (let i = 0; i < 20; i++) reader.read(stream, i, i + 1)
  reader.read(stream, 20, stream.length)
  t.same(lengths, [5, 70_000])
})

t.test('what clients send is masked by zeros', async (t) => {
  t.same([...clientFrame(TEXT, Buffer.from('hi'))], [0x81, 0x82, 0, 0, 0, 0, 104, 105])
  t.equal(clientFrame(TEXT, Buffer.alloc(200)).length, 208)
})

t.test('numbers are read off JSON, with and without a series, wherever they stand', async (t) => {
  const numbers = new JsonNumbers()
  for (const series of [0, 7, 1_234]) {
    const data = eventData({ idField: 'id', id: 'bench', n: 42, dueUs: 123_456_789.4, series }, 200)
    t.equal(data.length, 200)
    for (const prefix of ['', '42/ws,["agent.connected",']) {
      const frame = Buffer.from(`${prefix}{"type":"x","data":${data}}`)
      t.ok(numbers.read(frame, 0, frame.length))
      t.same({ n: numbers.n, t: numbers.t, k: numbers.k }, { n: 42, t: 123_456_789, k: series })
    }
  }
  const other = Buffer.from('{"type":"subscribed","data":{"events":["game_added"]}}')
  t.notOk(numbers.read(other, 0, other.length))
  const ping = Buffer.from('2')
  t.notOk(numbers.read(ping, 0, 1))
})

t.test('numbers are read off msgpack, of every width', async (t) => {
  const packr = new Packr({ useRecords: false })
  const numbers = new MsgpackNumbers()
  for (const n of [1, 127, 128, 255, 256, 65_535, 65_536, 4_000_000]) {
    for (const k of [undefined, 3, 300, 70_000]) {
      const data = {
        id: 'bench',
        n,
        t: 1_234_567_890_123,
        ...(k === undefined ? undefined : { k }),
        pad: 'xxxxxxxxxxxx',
      }
      const frame = Buffer.from(packr.pack({ type: 'x', data }))
      t.ok(numbers.read(frame, 0, frame.length))
      t.same({ n: numbers.n, t: numbers.t, k: numbers.k }, { n, t: 1_234_567_890_123, k: k ?? 0 })
    }
  }
  const other = Buffer.from(packr.pack({ type: 'subscribed', data: { events: ['game_added'] } }))
  t.notOk(numbers.read(other, 0, other.length))
})

t.test("positions are read off a frame's tail", async (t) => {
  const json = Buffer.from('{"type":"x","id":"e5e2b6f3756-12345"}')
  t.equal(readSequence(json, json.length - 2), 12_345)
  t.equal(readEpoch(json, 0, json.length - 2), 'e5e2b6f3756')
  const msgpack = Buffer.from(new Packr({ useRecords: false }).pack({ data: 1, id: 'e5e2b6f3756-7' }))
  t.equal(readSequence(msgpack, msgpack.length), 7)
  t.equal(readEpoch(msgpack, 0, msgpack.length), 'e5e2b6f3756')
  const none = Buffer.from('{"type":"pong"}')
  t.equal(readSequence(none, none.length - 2), 0)
})
