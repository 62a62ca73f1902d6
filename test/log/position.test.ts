import t from 'tap'
import type { Codec } from '../../src/codecs/codec.ts'
import { json } from '../../src/codecs/json.ts'
import { msgpack } from '../../src/codecs/msgpack.ts'
import { encodeSocketIoEvent, eventPrefix } from '../../src/codecs/socketio.ts'
import { formatPosition, parsePosition, seqInTail } from '../../src/log/position.ts'

const EPOCH = 'a1b2c3d4e5'
const epochBytes = Buffer.from(EPOCH)
const CODECS: readonly Codec[] = [json, msgpack]
const at = '2026-01-02T03:04:05.678Z'

t.test('a position that was written is read back', async (t) => {
  for (const seq of [0, 1, 9, 10, 1_234_567, 999_999_999_999_999]) {
    t.same(parsePosition(formatPosition(EPOCH, seq)), { epoch: EPOCH, seq })
  }
})

t.test('what is no position is not taken for one', async (t) => {
  for (const text of [
    '',
    '-',
    '-5',
    'abc',
    'abc-',
    'abc-x',
    'abc-1x',
    'abc--1',
    'abc-01',
    'abc-1.5',
    'abc-1e3',
    ' abc-1',
    'abc-1\n',
    'a b-1',
    'a-b-1',
    `${'e'.repeat(41)}-1`,
    `abc-${'1'.repeat(17)}`,
    'x'.repeat(1_000_000),
  ]) {
    t.equal(parsePosition(text), undefined, JSON.stringify(text.slice(0, 30)))
  }
  for (const thing of [undefined, null, 5, {}, ['abc-1'], Buffer.from('abc-1')])
    t.equal(parsePosition(thing), undefined)
})

t.test('the end of an event frame tells which event it was, in every codec', async (t) => {
  const data = { text: 'x', nested: { list: [1, 2, 3] } }
  for (const codec of CODECS) {
    for (const seq of [1, 9, 10, 99_999, 123_456_789_012]) {
      const position = formatPosition(EPOCH, seq)
      t.equal(
        seqInTail(codec.encodeEvent({ type: 'thing', data, timestamp: at }, position), epochBytes),
        seq,
        `${codec.name} ${seq}`,
      )
      t.equal(
        seqInTail(codec.encodeEvent({ type: 'thing', data, timestamp: at, id: 'own-7' }, position), epochBytes),
        seq,
        `${codec.name} ${seq} with an id of the producer's`,
      )
    }
  }
})

t.test('data and ids that look like positions do not mislead', async (t) => {
  const decoy = `${EPOCH}-777`
  const data = { id: decoy, text: `"id":"${decoy}"}`, [decoy]: decoy, last: decoy }
  for (const codec of CODECS) {
    t.equal(
      seqInTail(
        codec.encodeEvent({ type: decoy, data, timestamp: decoy, id: decoy }, formatPosition(EPOCH, 42)),
        epochBytes,
      ),
      42,
      codec.name,
    )
  }
})

t.test('a Socket.IO frame tells its event too, whatever its arguments look like', async (t) => {
  const decoy = `${EPOCH}-777`
  for (const namespace of ['/', '/ws', '/project/a-b-7']) {
    for (const args of [[], [{ last: decoy }], [decoy, decoy], [777]]) {
      t.equal(
        seqInTail(encodeSocketIoEvent(eventPrefix(namespace), decoy, args, formatPosition(EPOCH, 42)), epochBytes),
        42,
        namespace,
      )
    }
  }
})

t.test('an answer is no event, whatever the client put into it', async (t) => {
  const decoy = `${EPOCH}-777`
  for (const codec of CODECS) {
    for (const id of [decoy, 777, `-${'9'.repeat(5)}`]) {
      for (const data of [{}, { last: decoy }, decoy, 777]) {
        t.equal(
          seqInTail(codec.encodeMessage({ type: decoy, data, timestamp: at, id }), epochBytes),
          undefined,
          codec.name,
        )
      }
    }
    t.equal(
      seqInTail(codec.encodeMessage({ type: 'pong', data: { client_id: decoy }, timestamp: at }), epochBytes),
      undefined,
    )
  }
})

t.test('a frame of another life of the stream is none of ours', async (t) => {
  for (const codec of CODECS) {
    for (const epoch of ['b1b2c3d4e5', 'c3d4e5', 'xxa1b2c3d4e6']) {
      t.equal(
        seqInTail(codec.encodeEvent({ type: 'thing', data: {}, timestamp: at }, formatPosition(epoch, 5)), epochBytes),
        undefined,
        `${codec.name} ${epoch}`,
      )
    }
  }
})

t.test('frames that are short, empty or all digits are read without harm', async (t) => {
  for (const text of [
    '',
    '-',
    '5',
    '-5',
    '5-5',
    '12345678901234567890',
    'x'.repeat(100),
    `${EPOCH}-`,
    `${EPOCH}-5xxxxx`,
  ]) {
    t.equal(seqInTail(Buffer.from(text), epochBytes), undefined, text)
  }
  t.equal(seqInTail(Buffer.from(`${EPOCH}-5`), epochBytes), 5, 'nothing in front')
})
