import t from 'tap'
import { Recovery } from '../../src/state/recovery.ts'
import { LogEntry } from '../../src/log/entry.ts'
import { EventLog } from '../../src/log/event-log.ts'
import type { KeyValue, KeyValueEntry } from '../../src/source/source.ts'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { eventually } from '../support/client.ts'

const HOUR_MS = 3_600_000

/** A bucket on the test's own clock, that can be out of reach, and lose all that it has. */
class Bucket implements KeyValue {
  reachable = true
  nowMs = Date.now()
  writes = 0
  readonly kept = new Map<string, { value: Uint8Array; expiresMs: number }>()
  private readonly ttlMs: number

  constructor(ttlMs: number) {
    this.ttlMs = ttlMs
  }

  async get(key: string): Promise<KeyValueEntry | undefined> {
    if (!this.reachable) throw new Error('out of reach')
    const entry = this.kept.get(key)
    return entry && entry.expiresMs > this.nowMs
      ? { key, value: entry.value, revision: 1, expiresMs: entry.expiresMs }
      : undefined
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    if (!this.reachable) throw new Error('out of reach')
    this.kept.set(key, { value, expiresMs: this.nowMs + this.ttlMs })
    return ++this.writes
  }

  async delete(key: string): Promise<boolean> {
    return this.kept.delete(key)
  }

  create = this.put
  update = this.put
  async watch(): Promise<void> {}
}

async function setUp() {
  const source = new EmbeddedSource()
  const bucket = new Bucket(24 * HOUR_MS)
  source.keyValue = async () => bucket
  const log = new EventLog({
    source,
    ringEvents: 100,
    ringBytes: 1e6,
    backfillBytes: 1e6,
    route: (message, position) => {
      const envelope = { type: 'thing', data: {}, timestamp: '' }
      return new LogEntry(
        { ...message, timeMs: bucket.nowMs },
        position,
        { application: undefined, type: 'thing', rooms: [], users: undefined, fieldValues: [], latestKey: undefined },
        envelope,
        () => envelope,
      )
    },
  })
  await log.start({ appended: () => {}, reset: () => {} })
  const recovery = await Recovery.open(source, log, () => bucket.nowMs)
  const pid = recovery.issue(log.headSeq, 'ann')
  return { source, bucket, log, recovery, pid, find: (by = recovery) => by.find(pid, undefined, 'ann') }
}

const STATE = { userId: 'ann', rooms: ['project:p'], places: undefined }

t.test('a write that failed is known here at once, and made up for', async (t) => {
  const { source, bucket, log, recovery, pid, find } = await setUp()
  bucket.reachable = false
  await recovery.keep(pid, STATE)
  bucket.reachable = true
  t.same((await find())?.rooms, STATE.rooms)
  const other = await Recovery.open(source, log, () => bucket.nowMs)
  recovery.sweep()
  await eventually(() => bucket.kept.has(pid))
  t.same((await find(other))?.rooms, STATE.rooms)
})

t.test('who joined rooms that are no longer kept is not claimed recovered', async (t) => {
  const { bucket, recovery, pid, find } = await setUp()
  t.equal((await find())?.sinceSeq, 0, 'nothing was kept of it: it is in the rooms that it has by connecting')
  await recovery.keep(pid, STATE)
  bucket.nowMs += 25 * HOUR_MS
  t.equal(await find(), undefined)
})

t.test('a session that got an event of late would still be kept, however long ago it came', async (t) => {
  const { source, bucket, log, recovery, pid } = await setUp()
  bucket.nowMs += 30 * HOUR_MS
  const seq = await source.publish('events.app.thing', new Uint8Array(1))
  t.equal((await recovery.find(pid, log.position(seq), 'ann'))?.sinceSeq, seq)
})

t.test(
  'connected sessions are due again within a quarter of the time for which they are kept, not all at once',
  async (t) => {
    const { bucket, recovery } = await setUp()
    t.equal(recovery.renewalMs(0), bucket.nowMs + 6 * HOUR_MS)
    t.equal(recovery.renewalMs(1), bucket.nowMs + 4.5 * HOUR_MS)
  },
)

t.test(
  'a store that lost what it had is noticed: who was there before is not claimed recovered, and the others write again',
  async (t) => {
    const { bucket, recovery, pid, find } = await setUp()
    await recovery.keep(pid, STATE)
    bucket.kept.clear()
    bucket.nowMs += 60_000
    t.equal(recovery.losses, 0)
    recovery.sweep()
    await eventually(() => recovery.losses === 1)
    t.equal(await find(), undefined)
  },
)

t.test('a session that lost events does not recover', async (t) => {
  const { recovery, pid, find } = await setUp()
  await recovery.keep(pid, STATE)
  await recovery.spoil(pid)
  t.equal(await find(), undefined)
})

t.test('what is no state of a session recovers nothing', async (t) => {
  const { bucket, pid, find } = await setUp()
  for (const text of [
    '',
    'null',
    '5',
    '{}',
    '{"userId":"ann","rooms":5}',
    '{"userId":"ann","rooms":[5]}',
    '{"userId":7,"rooms":[]}',
  ]) {
    await bucket.put(pid, Buffer.from(text))
    t.equal(await find(), undefined, text)
  }
})

t.test(
  'a state that no store takes was tried again every second for ever: it is given up, and its client is not recovered',
  async (t) => {
    const { recovery, bucket, pid } = await setUp()
    const { put } = bucket
    let tried = 0
    bucket.put = async (key, value) => {
      if (value.length > 1_048_576) tried++
      if (value.length > 1_048_576) throw new Error('maximum payload exceeded')
      return put.call(bucket, key, value)
    }
    await recovery.keep(pid, {
      userId: 'ann',
      rooms: Array.from({ length: 1_000 }, (_, n) => `${n}${'\ud800'.repeat(250)}`),
      places: undefined,
    })
    recovery.sweep()
    await eventually(() => bucket.kept.has(pid))
    t.equal(tried, 0)
    t.equal(await recovery.find(pid, undefined, 'ann'), undefined)
  },
)
