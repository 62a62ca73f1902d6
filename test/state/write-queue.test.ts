import t from 'tap'
import { WriteQueue } from '../../src/state/write-queue.ts'
import type { KeyValue } from '../../src/source/source.ts'
import { EmbeddedKeyValue } from '../../src/source/embedded/embedded-kv.ts'

/** A bucket that tells how many writes were begun in a turn of the event loop. */
function counting() {
  const bucket = new EmbeddedKeyValue(0)
  const { put } = bucket
  const seen = { most: 0, puts: 0, fails: false }
  let thisTurn = 0
  bucket.put = async (key, value) => {
    if (thisTurn++ === 0) setImmediate(() => (thisTurn = 0))
    seen.most = Math.max(seen.most, thisTurn)
    seen.puts++
    if (seen.fails) throw new Error('out of reach')
    return put.call(bucket, key, value)
  }
  return { kv: bucket as KeyValue, seen }
}

t.test(
  'thousands of writes at once held the event loop for seconds: a few are begun in each turn, and all are written',
  async (t) => {
    const { kv, seen } = counting()
    const queue = new WriteQueue(kv)
    await Promise.all(Array.from({ length: 1_000 }, (_, n) => queue.write(`k${n}`, Buffer.from(String(n)))))
    t.equal(seen.puts, 1_000)
    t.ok(seen.most <= 64, `${seen.most} in a turn`)
    t.equal(Buffer.from((await kv.get('k999'))?.value ?? []).toString(), '999')
  },
)

t.test('of a key that changes while it waits only the newest value is written', async (t) => {
  const { kv, seen } = counting()
  const queue = new WriteQueue(kv)
  const first = queue.write('k', Buffer.from('1'))
  await Promise.all([
    first,
    queue.write('gone', Buffer.from('1')),
    queue.write('k', Buffer.from('2')),
    queue.write('gone', undefined),
  ])
  t.equal(Buffer.from((await kv.get('k'))?.value ?? []).toString(), '2')
  t.equal(await kv.get('gone'), undefined)
  t.equal(seen.puts, 1)
})

t.test('a write that fails ends as well, and others go on', async (t) => {
  const { kv, seen } = counting()
  const queue = new WriteQueue(kv)
  seen.fails = true
  await Promise.all(Array.from({ length: 500 }, (_, n) => queue.write(`k${n}`, Buffer.from('1'))))
  seen.fails = false
  await queue.write('k', Buffer.from('1'))
  t.ok(await kv.get('k'))
})
