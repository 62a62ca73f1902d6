import t from 'tap'
import { LogEntry } from '../../src/log/entry.ts'
import { Ring } from '../../src/log/ring.ts'
import { range } from '../support/collector.ts'

/** What an entry weighs without its body. */
const EMPTY_BYTES = entry(1).bytes
const MUCH = Number.MAX_SAFE_INTEGER

function entry(seq: number, { bodyBytes = 0, latestKey = undefined as string | undefined } = {}): LogEntry {
  const envelope = { type: 'thing', data: {}, timestamp: '' }
  return new LogEntry(
    { seq, timeMs: 0, subject: '', body: new Uint8Array(bodyBytes), msgpack: false },
    `e-${seq}`,
    { application: undefined, type: 'thing', rooms: [], users: undefined, fieldValues: [], latestKey },
    envelope,
    () => envelope,
  )
}

function ringOf(eventsMax: number, bytesMax: number, entries: readonly LogEntry[]): Ring {
  const ring = new Ring(eventsMax, bytesMax)
  for (const one of entries) addDelivered(ring, one)
  return ring
}

function addDelivered(ring: Ring, one: LogEntry): void {
  ring.append(one)
  ring.delivered()
  ring.shrink()
}

function seqsAfter(ring: Ring, seq: number): number[] {
  const found: number[] = []
  for (let index = ring.indexAfter(seq), at = ring.at(index); at !== undefined; at = ring.at(++index))
    found.push(at.seq)
  return found
}

t.test('the bound in events holds: the oldest leave', async (t) => {
  const ring = ringOf(
    3,
    MUCH,
    range(1, 10).map((seq) => entry(seq)),
  )
  t.equal(ring.size, 3)
  t.same(seqsAfter(ring, 0), [8, 9, 10])
  t.equal(ring.completeAfter, 7, 'what follows 7 is all here')
  t.equal(ring.evicted, 7)
  t.equal(ring.bytes, 3 * EMPTY_BYTES)
})

t.test('the bound in bytes holds, bodies and frames included', async (t) => {
  const ring = ringOf(
    1_000,
    10_000,
    range(1, 10).map((seq) => entry(seq, { bodyBytes: 2_000 })),
  )
  t.ok(ring.bytes <= 10_000)
  t.equal(ring.bytes, ring.size * (2_000 + EMPTY_BYTES))
  t.same(seqsAfter(ring, 0), [7, 8, 9, 10])
  const frame = ring.at(ring.indexAfter(9)) as LogEntry
  const before = frame.bytes
  frame.frame({ encodeEvent: () => new Uint8Array(3_000) })
  ring.grew(frame.bytes - before)
  ring.shrink()
  t.ok(ring.bytes <= 10_000)
  t.same(seqsAfter(ring, 0), [9, 10])
})

t.test('the newest event stays, even where it is larger than the bound', async (t) => {
  const ring = ringOf(10, 1_000, [entry(1), entry(2), entry(3, { bodyBytes: 5_000 })])
  t.same(seqsAfter(ring, 0), [3])
  addDelivered(ring, entry(4))
  t.same(seqsAfter(ring, 0), [4])
  t.equal(ring.bytes, EMPTY_BYTES)
})

t.test('what live delivery has yet to see is never dropped', async (t) => {
  const ring = new Ring(3, 2 * EMPTY_BYTES)
  for (const seq of range(1, 20)) ring.append(entry(seq))
  t.equal(ring.size, 20)
  t.equal(ring.backlog, 20)
  ring.dropBefore(15)
  t.equal(ring.size, 20)
  const seen: number[] = []
  for (let next = ring.next(); next !== undefined; next = ring.next()) {
    seen.push(next.seq)
    ring.delivered()
    ring.shrink()
  }
  t.same(seen, range(1, 20))
  t.equal(ring.backlog, 0)
  t.same(seqsAfter(ring, 0), [19, 20])
})

t.test('a cursor finds its place where sequences have gaps', async (t) => {
  const ring = ringOf(
    100,
    MUCH,
    [5, 6, 10, 20].map((seq) => entry(seq)),
  )
  for (const [after, expected] of [
    [0, [5, 6, 10, 20]],
    [4, [5, 6, 10, 20]],
    [5, [6, 10, 20]],
    [6, [10, 20]],
    [7, [10, 20]],
    [10, [20]],
    [19, [20]],
    [20, []],
    [999, []],
  ] as const) {
    t.same(seqsAfter(ring, after), expected, `after ${after}`)
  }
  t.same(seqsAfter(new Ring(10, MUCH), 0), [], 'an empty ring')
})

t.test('an index stays with its entry while older ones leave', async (t) => {
  const ring = ringOf(
    4,
    MUCH,
    range(1, 4).map((seq) => entry(seq)),
  )
  const index = ring.indexAfter(2)
  t.equal(ring.at(index)?.seq, 3)
  addDelivered(ring, entry(5))
  addDelivered(ring, entry(6))
  t.equal(ring.at(index)?.seq, 3)
  addDelivered(ring, entry(7))
  t.equal(ring.at(index), undefined, 'gone, and never another entry')
})

t.test('an event is superseded by a newer one of its key alone', async (t) => {
  const [first, other, keyless, second] = [
    entry(1, { latestKey: 'a' }),
    entry(2, { latestKey: 'b' }),
    entry(3),
    entry(4, { latestKey: 'a' }),
  ]
  const ring = ringOf(100, MUCH, [first, other, keyless])
  t.equal(ring.superseded(first), false)
  addDelivered(ring, second)
  t.equal(ring.superseded(first), true)
  t.equal(ring.superseded(second), false)
  t.equal(ring.superseded(other), false)
  t.equal(ring.superseded(keyless), false)
})

t.test('keys leave with the last event that has them, not with an older one', async (t) => {
  const [first, second] = [entry(1, { latestKey: 'a' }), entry(2, { latestKey: 'a' })]
  const ring = ringOf(2, MUCH, [first, second, entry(3)])
  t.same(seqsAfter(ring, 0), [2, 3])
  t.equal(ring.superseded(first), true, 'the newer one is still here')
  t.equal(ring.superseded(second), false)
  addDelivered(ring, entry(4))
  t.equal(ring.superseded(first), false, 'nothing newer is left')
})

t.test('what the stream forgot, the ring forgets', async (t) => {
  const ring = ringOf(
    100,
    MUCH,
    [2, 4, 6, 8].map((seq) => entry(seq)),
  )
  ring.dropBefore(5)
  t.same(seqsAfter(ring, 0), [6, 8])
  t.equal(ring.completeAfter, 4)
  ring.dropBefore(3)
  t.equal(ring.completeAfter, 4, 'it does not get more complete again')
  ring.dropBefore(1_000)
  t.equal(ring.size, 0)
  t.equal(ring.completeAfter, 999)
  addDelivered(ring, entry(1_001))
  t.same(seqsAfter(ring, 999), [1_001])
})

t.test('the ring grows past its first 1024 places with every entry in order', async (t) => {
  // Some entries leave first, so that the ring has wrapped around when it grows.
  const ring = ringOf(
    700,
    MUCH,
    range(1, 1_500).map((seq) => entry(seq)),
  )
  for (const seq of range(1_501, 6_000)) ring.append(entry(seq))
  t.equal(ring.backlog, 4_500)
  t.same(seqsAfter(ring, 1_500), range(1_501, 6_000))
  t.equal(ring.next()?.seq, 1_501)
  for (const seq of [1_600, 2_047, 2_048, 2_049, 4_096, 5_999]) t.equal(ring.at(ring.indexAfter(seq))?.seq, seq + 1)
})

t.test('a reset ring is empty, and complete from where it was told', async (t) => {
  const ring = ringOf(
    10,
    MUCH,
    range(1, 5).map((seq) => entry(seq, { latestKey: 'a' })),
  )
  ring.reset(2)
  t.equal(ring.size, 0)
  t.equal(ring.bytes, 0)
  t.equal(ring.backlog, 0)
  t.equal(ring.completeAfter, 2)
  t.equal(ring.next(), undefined)
  const anew = entry(3, { latestKey: 'a' })
  addDelivered(ring, anew)
  t.equal(ring.superseded(anew), false, 'keys of before do not count')
  t.same(seqsAfter(ring, 2), [3])
})
