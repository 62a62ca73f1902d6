import t from 'tap'
import { decodeEnvelope } from '../../src/log/event.ts'
import { LogSegments, type LogSegmentsOptions } from '../../src/log/segments.ts'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { Turns } from '../../src/turns.ts'
import type { Source } from '../../src/source/source.ts'
import { range } from '../support/collector.ts'

const publish = (source: Source, type: string, n: number, pad = '') =>
  source.publish(`events.shop.${type}`, Buffer.from(JSON.stringify({ data: { n, pad } })))

/** A segments of numbers, over a source that counts readings. */
function setUp(options: Partial<LogSegmentsOptions<number[]>> = {}) {
  const source = new EmbeddedSource()
  t.teardown(() => source.close())
  const reads: number[] = []
  const read = source.read.bind(source)
  source.read = (afterSeq, ...rest) => {
    reads.push(afterSeq)
    return read(afterSeq, ...rest)
  }
  const segments = new LogSegments<number[]>({
    source,
    app: 'shop',
    subjects: [],
    read: ({ body, msgpack, subject, timeMs }) =>
      decodeEnvelope(body, msgpack, subject.slice('events.shop.'.length), timeMs),
    types: ['sold'],
    bytesMax: 1_000_000,
    positionsMax: 1_000_000,
    span: 10,
    turns: new Turns(),
    make: () => [],
    add: (segment, event, bytes) => {
      segment.push(event.data.n as number)
      return bytes
    },
    ...options,
  })
  const all = async (enough = Number.POSITIVE_INFINITY) => {
    const found: number[] = []
    const complete = await segments.walk(await source.bounds(), (segment) => {
      found.unshift(...segment)
      return found.length < enough
    })
    return { found, complete }
  }
  return { source, reads, all, segments }
}

t.test('goes from the newest segment to the oldest; each segment is in order', async (t) => {
  const { source, all } = setUp()
  t.same(await all(), { found: [], complete: true }, 'an empty log')
  for (const n of range(1, 35)) await publish(source, n % 5 === 0 ? 'returned' : 'sold', n)
  const sold = range(1, 35).filter((n) => n % 5 !== 0)
  t.same(await all(), { found: sold, complete: true })
  t.same(await all(3), { found: range(31, 34), complete: true }, 'no more than asked for, by pieces')
})

t.test('several types come in one order, and none of another application', async (t) => {
  const { source, all } = setUp({ types: ['sold', 'returned'] })
  for (const n of range(1, 25)) {
    await publish(source, n % 3 === 0 ? 'returned' : 'sold', n)
    await source.publish('events.another.sold', Buffer.from(JSON.stringify({ data: { n } })))
  }
  t.same((await all()).found, range(1, 25))
})

t.test('all types of an application', async (t) => {
  const { source, all } = setUp({ types: undefined })
  for (const n of range(1, 25)) await publish(source, `type-${n}`, n)
  t.same((await all()).found, range(1, 25))
})

t.test('a segment is read once, and of the newest only what is new; simultaneous callers share', async (t) => {
  const { source, all, reads } = setUp()
  for (const n of range(1, 35)) await publish(source, 'sold', n)
  const answers = await Promise.all(range(1, 20).map(() => all()))
  for (const { found } of answers) t.same(found, range(1, 35))
  t.same(reads, [30, 20, 10, 0])
  for (const n of range(36, 38)) await publish(source, 'sold', n)
  t.same((await all()).found, range(1, 38))
  t.same(reads.slice(4), [35])
})

t.test('of a log larger than the memory the newest segments are kept, where queries begin', async (t) => {
  const { source, all, reads } = setUp({
    bytesMax: 1_000,
    add: (segment, event) => segment.push(event.data.n as number) && 50,
  })
  for (const n of range(1, 40)) await publish(source, 'sold', n)
  for (let time = 1; time <= 2; time++) t.same((await all()).found, range(1, 40))
  t.same(reads, [30, 20, 10, 0, 10, 0])
})

t.test(
  'callers who wait while the newest segment is read share the next reading, whatever came meanwhile',
  async (t) => {
    const { source, reads, segments } = setUp()
    await publish(source, 'sold', 1)
    const read = source.read
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    source.read = async (...args) => {
      const messages = await read(...args)
      await held
      return messages
    }
    const answers: Promise<number[]>[] = []
    for (const n of range(2, 9)) {
      const found: number[] = []
      const walk = segments.walk(await source.bounds(), (segment) => found.push(...segment) > 0)
      answers.push(walk.then(() => found))
      await publish(source, 'sold', n)
    }
    release()
    for (const [i, found] of (await Promise.all(answers)).entries())
      t.same(found.slice(0, i + 1), range(1, i + 1), 'all that was there when it asked')
    t.ok(reads.length <= 2, `${reads.length} readings`)
  },
)

t.test('what is no event, or names another type in its body, is left out', async (t) => {
  const { source, all } = setUp()
  await publish(source, 'sold', 1)
  await source.publish('events.shop.sold', Buffer.from('nonsense'))
  await source.publish('events.shop.sold', Buffer.from('{"type":"returned","data":{"n":2}}'))
  await publish(source, 'sold', 3)
  t.same(await all(), { found: [1, 3], complete: true })
})

t.test('memory is bounded: old pieces are read again; a segment too large for it keeps its newest part', async (t) => {
  const { source, all, reads } = setUp({ bytesMax: 3_000 })
  for (const n of range(1, 100)) await publish(source, 'sold', n, 'x'.repeat(80))
  t.same((await all()).found, range(1, 100))
  t.equal(reads.length, 10)
  t.same((await all()).found, range(1, 100))
  t.ok(reads.length > 10, 'not all of it was kept')
  for (const n of range(101, 110)) await publish(source, 'sold', n, 'x'.repeat(1_000))
  const { found, complete } = await all()
  t.equal(complete, false, 'and says so')
  t.ok(found.length > 0 && found.length < 10, `${found}`)
  t.same(found, range(111 - found.length, 110))
})

t.test('pages that end by their size lose nothing and keep the order', async (t) => {
  const { source, all } = setUp({ types: ['sold', 'returned'], bytesMax: 100_000_000, span: 16_384 })
  for (const n of range(1, 60)) await publish(source, n % 3 === 0 ? 'returned' : 'sold', n, 'x'.repeat(300_000))
  t.same((await all()).found, range(1, 60))
})

t.test('it looks back so far, and says when that was not all', async (t) => {
  const { source, all } = setUp({ positionsMax: 25 })
  for (const n of range(1, 25)) await publish(source, 'sold', n)
  t.same(await all(), { found: range(1, 25), complete: true })
  for (const n of range(26, 60)) await publish(source, 'sold', n)
  const { found, complete } = await all()
  t.equal(complete, false)
  t.same(found, range(31, 60), 'whole pieces')
  t.same((await all(5)).complete, true, 'enough is enough')
})

t.test('what the stream dropped goes: at once where it is a whole segment, else soon', async (t) => {
  const { source, all, segments } = setUp()
  for (const n of range(1, 28)) await publish(source, 'sold', n)
  t.same((await all()).found, range(1, 28))
  const walk = async (firstSeq: number) => {
    const found: number[] = []
    await segments.walk({ ...(await source.bounds()), firstSeq }, (segment) => found.unshift(...segment) > 0)
    return found
  }
  t.same(await walk(29), [], 'all of it')
  await publish(source, 'sold', 29)
  t.same(await walk(29), [29], 'a segment whose events are all gone')
  t.same(
    await walk(11),
    range(11, 29).filter((n) => n <= 20 || n === 29),
  )
})

t.test('a failed reading is told, and tried again', async (t) => {
  const { source, all } = setUp()
  await publish(source, 'sold', 1)
  const { read } = source
  source.read = () => Promise.reject(new Error('out of reach'))
  const failures = await Promise.all([1, 2].map(() => all().catch((error: Error) => error.message)))
  t.same(failures, ['out of reach', 'out of reach'])
  source.read = read
  t.same((await all()).found, [1])
})

t.test(
  'once the stream was cut short it is read anew: what took the place of what was read stayed unseen',
  async (t) => {
    const { source, all, segments } = setUp()
    for (const n of range(1, 15)) await publish(source, 'sold', n)
    t.same((await all()).found, range(1, 15))
    const read = source.read.bind(source)
    source.read = async (...args) =>
      (await read(...args)).map((message) =>
        message.seq > 12 ? { ...message, body: Buffer.from(`{"data":{"n":${100 + message.seq}}}`) } : message,
      )
    segments.forget()
    t.same((await all()).found, [...range(1, 12), ...range(113, 115)])
  },
)
