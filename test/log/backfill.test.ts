import t from 'tap'
import { makeLogger } from '../../src/ops/logger.ts'
import { Backfill } from '../../src/log/backfill.ts'
import { LogEntry } from '../../src/log/entry.ts'
import type { StoredMessage } from '../../src/log/event.ts'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import { eventually } from '../support/client.ts'
import { bytes, range } from '../support/collector.ts'
import { TestNats } from '../support/nats.ts'

/** As in src/log/backfill.ts. */
const CHUNK_EVENTS = 512
const BODY_BYTES = 100

function entryOf(message: StoredMessage): LogEntry {
  const envelope = { type: 'thing', data: {}, timestamp: '' }
  return new LogEntry(
    message,
    `e-${message.seq}`,
    { application: undefined, type: 'thing', rooms: [], users: undefined, fieldValues: [], latestKey: undefined },
    envelope,
    () => envelope,
  )
}

async function filled(count: number): Promise<EmbeddedSource> {
  const source = new EmbeddedSource()
  for (let n = 0; n < count; n++) await source.publish('events.app.thing', new Uint8Array(BODY_BYTES))
  return source
}

function seqsOf({ entries }: { entries: readonly LogEntry[] }): number[] {
  return entries.map(({ seq }) => seq)
}

t.test('many that come back at like positions share one reading', async (t) => {
  let routed = 0
  const backfill = new Backfill(await filled(600), 10_000_000, (message) => {
    routed++
    return entryOf(message)
  })
  const chunks = await Promise.all(range(0, 99).map((seq) => backfill.after(seq, 600)))
  t.equal(routed, CHUNK_EVENTS)
  for (const chunk of chunks) t.equal(chunk, chunks[0])
  t.equal(await backfill.after(50, 600), chunks[0], 'and later ones too')
  t.equal(routed, CHUNK_EVENTS)
})

t.test('chunks together are the whole stream, and nothing beyond what is stored', async (t) => {
  const backfill = new Backfill(await filled(1_500), 10_000_000, entryOf)
  const seen: number[] = []
  let cursor = 0
  while (cursor < 1_400) {
    const chunk = await backfill.after(cursor, 1_400)
    seen.push(...seqsOf(chunk).filter((seq) => seq > cursor))
    t.ok(chunk.upToSeq > cursor, 'each step goes on')
    cursor = chunk.upToSeq
  }
  t.equal(cursor, 1_400)
  t.same(seen, range(1, 1_400))
})

t.test('messages that are no events leave gaps, and the chunk reaches as far', async (t) => {
  const backfill = new Backfill(await filled(600), 10_000_000, (message) =>
    message.seq % 100 === 0 ? entryOf(message) : undefined,
  )
  const chunk = await backfill.after(0, 600)
  t.same(seqsOf(chunk), [100, 200, 300, 400, 500])
  t.equal(chunk.upToSeq, CHUNK_EVENTS)
})

t.test('a chunk that was read while it was filling up is read again for who needs the rest', async (t) => {
  const source = await filled(100)
  const backfill = new Backfill(source, 10_000_000, entryOf)
  const early = await backfill.after(0, 100)
  t.same(seqsOf(early), range(1, 100))
  for (let n = 0; n < 200; n++) await source.publish('events.app.thing', new Uint8Array(BODY_BYTES))
  t.equal(await backfill.after(50, 300), early, 'what it has is enough for this one')
  const later = await backfill.after(100, 300)
  t.same(seqsOf(later), range(1, 300))
  t.equal(await backfill.after(0, 300), later, 'and the fuller one is kept')
})

t.test('the memory for old events is bounded, least recently used out first', async (t) => {
  const backfill = new Backfill(await filled(10 * CHUNK_EVENTS), 3 * chunkBytes(), entryOf)
  const number = (n: number) => backfill.after(n * CHUNK_EVENTS, 10 * CHUNK_EVENTS)
  const first = []
  for (const n of range(0, 9)) first.push(await number(n))
  t.equal(await number(7), first[7], 'used again: the newest now')
  t.not(await number(0), first[0], 'left long ago, read anew')
  t.equal(await number(7), first[7])
  t.equal(await number(9), first[9])
  t.not(await number(8), first[8], 'the least recently used made room')
})

t.test('chunks that are read at the same time keep to the bound too', async (t) => {
  const backfill = new Backfill(await filled(10 * CHUNK_EVENTS), 3 * chunkBytes(), entryOf)
  const number = (n: number) => backfill.after(n * CHUNK_EVENTS, 10 * CHUNK_EVENTS)
  const first = await Promise.all(range(0, 9).map(number))
  for (const [n, chunk] of first.entries()) t.same(seqsOf(chunk), range(n * CHUNK_EVENTS + 1, (n + 1) * CHUNK_EVENTS))
  let kept = 0
  for (let n = 9; n >= 0 && (await number(n)) === first[n]; n--) kept++
  t.ok(kept <= 3, `${kept} of 10 were kept`)
})

t.test('a cleared memory gives nothing of before', async (t) => {
  const backfill = new Backfill(await filled(10), 10_000_000, entryOf)
  const before = await backfill.after(0, 10)
  backfill.clear()
  t.not(await backfill.after(0, 10), before)
})

t.test('a reading that failed is asked again, not remembered', async (t) => {
  const nats = await TestNats.start()
  const source = await NatsSource.open({
    url: nats.url,
    creds: '',
    stream: { name: 'EVENTS', maxAgeS: 3600, maxBytes: 0 },
    log: makeLogger('silent'),
  })
  t.teardown(async () => {
    await source.close()
    await nats.stop()
  })
  for (const n of range(1, 20)) await source.publish('events.app.thing', bytes(`${n}`))
  const backfill = new Backfill(source, 10_000_000, entryOf)
  await nats.kill()
  await eventually(() => !source.connected)
  await t.rejects(backfill.after(0, 20), { code: 'SERVICE_UNAVAILABLE' })
  await nats.run()
  await eventually(() => source.connected)
  t.same(seqsOf(await backfill.after(0, 20)), range(1, 20))
})

/** What a full chunk counts: its entries, and as much again for their frames. */
function chunkBytes(): number {
  return (
    2 *
    CHUNK_EVENTS *
    entryOf({ seq: 1, timeMs: 0, subject: '', body: new Uint8Array(BODY_BYTES), msgpack: false }).bytes
  )
}
