import t from 'tap'
import { LogEntry } from '../../src/log/entry.ts'
import { EventLog } from '../../src/log/event-log.ts'
import type { StoredMessage } from '../../src/log/event.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import type { Source } from '../../src/source/source.ts'
import { eventually } from '../support/client.ts'
import { bytes, range } from '../support/collector.ts'
import { TestNats } from '../support/nats.ts'

/** Bodies `bad` are no events. */
function route(message: StoredMessage, position: string): LogEntry | undefined {
  if (Buffer.from(message.body).toString() === 'bad') return undefined
  const envelope = { type: 'thing', data: {}, timestamp: '' }
  return new LogEntry(
    message,
    position,
    { application: undefined, type: 'thing', rooms: [], users: undefined, fieldValues: [], latestKey: undefined },
    envelope,
    () => envelope,
  )
}

/** Live delivery that does nothing. */
const NOBODY = { appended: () => {}, reset: () => {} }

function logOf(source: Source, ringEvents = 1_000): EventLog {
  return new EventLog({ source, ringEvents, ringBytes: 10_000_000, backfillBytes: 1_000_000, route })
}

/** Takes off the log what live delivery would get. */
function deliver(log: EventLog): number[] {
  const seqs: number[] = []
  for (let entry = log.next(); entry !== undefined; entry = log.next()) {
    seqs.push(entry.seq)
    log.delivered(entry)
  }
  return seqs
}

async function publish(source: Source, ...bodies: readonly string[]): Promise<void> {
  for (const body of bodies) await source.publish('events.app.thing', bytes(body))
}

async function openNats(t: { teardown(end: () => Promise<void>): void }, nats: TestNats): Promise<NatsSource> {
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
  return source
}

t.test('what warms the log up keeps no decoded event, only bodies', async (t) => {
  const source = new EmbeddedSource()
  await publish(source, ...range(1, 20).map(String))
  let read = 0
  const log = new EventLog({
    source,
    ringEvents: 100,
    ringBytes: 10_000_000,
    backfillBytes: 1_000_000,
    route: (message, position) => {
      const envelope = { type: 'thing', data: {}, timestamp: '' }
      return new LogEntry(
        message,
        position,
        { application: undefined, type: 'thing', rooms: [], users: undefined, fieldValues: [], latestKey: undefined },
        envelope,
        () => {
          read++
          return envelope
        },
      )
    },
  })
  await log.start(NOBODY)
  t.teardown(() => log.stop())
  t.equal(log.ring.size, 20)
  for (const seq of range(1, 20))
    log.ring.at(log.ring.indexAfter(seq - 1))?.frame({ encodeEvent: () => bytes('frame') })
  t.equal(read, 20, 'each is decoded when it is wanted')
})

t.test('a started log has the newest part of the stream, and delivers only what is new', async (t) => {
  const source = new EmbeddedSource()
  await publish(source, ...range(1, 50).map(String))
  const log = logOf(source, 20)
  await log.start(NOBODY)
  t.teardown(() => log.stop())
  t.equal(log.headSeq, 50)
  t.equal(log.ring.size, 20)
  t.equal(log.ring.completeAfter, 30)
  t.same(deliver(log), [], 'what was there before the start is history')
  await publish(source, '51', '52')
  t.same(deliver(log), [51, 52])
})

t.test('bodies that were no events before the start take nothing from live delivery after it', async (t) => {
  const source = new EmbeddedSource()
  await publish(source, 'bad', '2', 'bad', 'bad', '5')
  const log = logOf(source)
  await log.start(NOBODY)
  t.teardown(() => log.stop())
  t.equal(log.ring.backlog, 0)
  await publish(source, '6', 'bad', '8', '9')
  t.same(deliver(log), [6, 8, 9])
  t.equal(log.ring.backlog, 0)
  await log.bounds()
  t.equal(log.headSeq, 9)
})

t.test('a stream that ends in something that is no event is warm all the same', async (t) => {
  const nats = await TestNats.start()
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.add({ name: 'EVENTS', subjects: ['events.>', 'audit.>'] })
  const source = await openNats(t, nats)
  await publish(source, '1', '2')
  const js = await nats.jetstream()
  await js.publish('audit.x', bytes('not for us'))
  const log = logOf(source)
  await log.start(NOBODY)
  t.teardown(() => log.stop())
  t.equal(log.ring.size, 2)
  await publish(source, '4')
  await eventually(() => log.headSeq === 4)
  t.same(deliver(log), [4])
})

t.test('a log whose newest event was deleted is warm all the same', async (t) => {
  const nats = await TestNats.start()
  const source = await openNats(t, nats)
  await publish(source, '1', '2', '3')
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.deleteMessage('EVENTS', 3)
  const log = logOf(source)
  await log.start(NOBODY)
  t.teardown(() => log.stop())
  t.equal(log.ring.size, 2)
})

t.test('live delivery far behind pauses the reading, and loses nothing', async (t) => {
  const source = new EmbeddedSource()
  const log = logOf(source, 100)
  await log.start(NOBODY)
  t.teardown(() => log.stop())
  await publish(source, ...range(1, 500).map(String))
  t.ok(log.ring.backlog < 100, 'it does not read ahead of what it can deliver')
  const seen: number[] = []
  await eventually(() => {
    seen.push(...deliver(log))
    return seen.length >= 500
  })
  t.same(seen, range(1, 500))
})

t.test('large events wait in the source, not in memory, while live delivery is behind', async (t) => {
  const source = new EmbeddedSource()
  const log = new EventLog({ source, ringEvents: 100_000, ringBytes: 100_000, backfillBytes: 1_000_000, route })
  await log.start(NOBODY)
  t.teardown(() => log.stop())
  const large = 'x'.repeat(10_000)
  for (let n = 0; n < 300; n++) await publish(source, large)
  t.ok(log.ring.backlog < 100, `${log.ring.backlog} events of 10 KB wait in a ring of 100 KB`)
  const seen: number[] = []
  await eventually(() => {
    seen.push(...deliver(log))
    return seen.length >= 300
  })
  t.same(seen, range(1, 300))
  t.ok(log.ring.bytes <= 100_000)
})

t.test('another stream under the same name empties the log, and gives it another epoch', async (t) => {
  const nats = await TestNats.start()
  const source = await openNats(t, nats)
  await publish(source, '1', '2', '3')
  const log = logOf(source)
  let resets = 0
  await log.start({ appended: () => {}, reset: () => resets++ })
  t.teardown(() => log.stop())
  const { epoch } = log
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.delete('EVENTS')
  await eventually(() => resets > 0)
  t.not(log.epoch, epoch)
  t.same(log.epochBytes, Buffer.from(log.epoch))
  t.equal(log.ring.size, 0)
  t.equal(log.headSeq, 0)
  await publish(source, 'first of the new')
  await eventually(() => log.headSeq === 1)
  t.same(deliver(log), [1])
})
