import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, DiscardPolicy, RetentionPolicy, type StreamConfig } from 'nats'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { BrokerError } from '../../src/errors.ts'
import { onFault } from '../../src/guarded.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import { eventually } from '../support/client.ts'
import { RawNats } from '../fuzz/raw-nats.ts'
import { bytes, Collector, range } from '../support/collector.ts'
import { TestNats } from '../support/nats.ts'
import { StallingProxy } from '../support/proxy.ts'

/** Servers and streams that do what they should not: what is read stays whole, or says that it is not. */

const STREAM = { name: 'EVENTS', maxAgeS: 3600, maxBytes: 0 }

async function start(t: Test): Promise<TestNats> {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  return nats
}

async function open(t: Test, url: string): Promise<NatsSource> {
  const source = await NatsSource.open({ url, creds: '', stream: STREAM, log: makeLogger('silent') })
  t.teardown(() => source.close())
  return source
}

async function fill(nats: TestNats, from: number, to: number, bodyBytes = 20): Promise<void> {
  const js = await nats.jetstream()
  for (let n = from; n <= to; n += 500)
    await Promise.all(
      range(n, Math.min(n + 499, to)).map((each) =>
        js.publish('events.app.thing', Buffer.alloc(bodyBytes, `${each} `)),
      ),
    )
}

/** Publishes until it is stored, as a producer with a message id does over an outage. */
async function store(source: NatsSource, n: number): Promise<void> {
  await eventually(() =>
    source.publish('events.app.thing', bytes(`${n}`), { messageId: `m-${n}` }).then(
      () => true,
      () => false,
    ),
  )
}

async function deleteConsumers(nats: TestNats): Promise<number> {
  const jsm = await (await nats.client()).jetstreamManager()
  const infos = await jsm.consumers.list('EVENTS').next()
  for (const { name } of infos) await jsm.consumers.delete('EVENTS', name).catch(() => false)
  return infos.length
}

t.test(
  'a consumer that goes while the connection stays is replaced: the process goes on, nothing is lost or doubled',
  async (t) => {
    const nats = await start(t)
    const source = await open(t, nats.url)
    const collector = new Collector()
    source.consume(0, collector)
    for (const round of range(0, 2)) {
      await fill(nats, round * 10 + 1, round * 10 + 10)
      await collector.has(round * 10 + 10)
      await eventually(async () => (await deleteConsumers(nats)) > 0)
    }
    await fill(nats, 31, 40)
    await collector.has(40)
    t.same(collector.seqs, range(1, 40))
    t.same([collector.resets, collector.losses], [[], []])
    await eventually(() => source.troubles.length === 0)
  },
)

t.test('a large event after thousands of small ones arrives, and what comes after it', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  await fill(nats, 1, 3_000)
  const collector = new Collector()
  source.consume(0, collector)
  await collector.has(3_000)
  await fill(nats, 3_001, 3_001, 100_000)
  await fill(nats, 3_002, 3_010)
  await collector.has(3_010)
  await fill(nats, 3_011, 3_110, 400_000)
  await fill(nats, 3_111, 4_000)
  await collector.has(4_000)
  t.same(collector.seqs, range(1, 4_000), 'also where the mean size makes other numbers of messages right')
})

t.test('a stream that cannot work is refused at the start, with what to do', async (t) => {
  const nats = await start(t)
  const jsm = await (await nats.client()).jetstreamManager()
  const cases: readonly (readonly [Partial<StreamConfig>, RegExp])[] = [
    [{ retention: RetentionPolicy.Workqueue }, /retention: workqueue.*STREAM_NAME/],
    [{ retention: RetentionPolicy.Interest }, /retention: interest.*STREAM_NAME/],
    [{ no_ack: true }, /no_ack.*STREAM_NAME/],
    [{ max_consumers: 1 }, /lets nobody read it.*max_consumers/],
  ]
  for (const [config, says] of cases) {
    await jsm.streams.add({ name: 'EVENTS', subjects: ['events.>'], ...config })
    if (config.max_consumers === 1) await jsm.consumers.add('EVENTS', { durable_name: 'somebody' })
    const error = await open(t, nats.url).catch((thrown: unknown) => thrown)
    t.ok(error instanceof BrokerError, JSON.stringify(config))
    t.match(error, { code: 'SOURCE_UNFIT', message: says })
    await jsm.streams.delete('EVENTS')
  }
  await jsm.streams.add({ name: 'ORIGIN', subjects: ['audit.>'] })
  await jsm.streams.add({ name: 'EVENTS', mirror: { name: 'ORIGIN' } } as Partial<StreamConfig>)
  t.match(await open(t, nats.url).catch((thrown: unknown) => thrown), {
    code: 'SOURCE_UNFIT',
    message: /EVENTS exists and holds audit\.>, not events\.>/,
  })
})

t.test('while no consumer can be had the source says so, and reads on once there is one', async (t) => {
  const nats = await start(t)
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.add({ name: 'EVENTS', subjects: ['events.>'], max_consumers: 2 })
  const source = await open(t, nats.url)
  const collector = new Collector()
  const reading = source.consume(0, collector)
  await fill(nats, 1, 3)
  await collector.has(3)
  t.same(source.troubles, [])
  reading.pause()
  await eventually(async () => {
    await deleteConsumers(nats)
    return Promise.all(['a', 'b'].map((name) => jsm.consumers.add('EVENTS', { durable_name: name }))).then(
      () => true,
      () => false,
    )
  })
  reading.resume()
  await eventually(() => source.troubles.length > 0)
  t.match(source.troubles, [/cannot be read.*max_consumers/])
  await fill(nats, 4, 6)
  await jsm.consumers.delete('EVENTS', 'a')
  await collector.has(6)
  t.same(collector.seqs, range(1, 6))
  t.same(source.troubles, [])
})

t.test('whoever hears, answers or reads may throw: it is reported, and nothing else ends', async (t) => {
  const nats = await start(t)
  const [source, other] = [await open(t, nats.url), await open(t, nats.url)]
  const faults: string[] = []
  t.teardown(onFault((where) => faults.push(where)))
  const fail = () => {
    throw new Error('of this test')
  }
  const heard: string[] = []
  source.listen('roomcast.test', (body) => (body.length === 0 ? fail() : heard.push(Buffer.from(body).toString())))
  source.serve('ask.test', 'one', (body) => (body.length === 0 ? fail() : Promise.resolve(body)))
  const kv = await source.keyValue('things', 60_000)
  const keys: string[] = []
  await kv.watch((key) => (key === 'bad' ? fail() : keys.push(key)))
  const collector = new Collector()
  collector.onMessage = () => (collector.messages.length === 2 ? fail() : undefined)
  source.consume(0, collector)
  await fill(nats, 1, 4)
  await collector.has(4)
  t.same(collector.seqs, [1, 2, 3, 4])
  await eventually(async () => {
    other.notify('roomcast.test', bytes(''))
    other.notify('roomcast.test', bytes('well'))
    return heard.length > 0
  })
  t.equal(await other.request('ask.test', bytes(''), 200).catch((error: BrokerError) => error.code), 'TIMEOUT')
  t.equal(Buffer.from(await other.request('ask.test', bytes('well'), 5_000)).toString(), 'well')
  for (const key of ['bad', 'good']) await kv.put(key, bytes('1'))
  await eventually(() => keys.includes('good'))
  for (const where of ['stream reader', 'nats message', 'kv watch things']) t.ok(faults.includes(where), where)
})

t.test(
  'an answer with headers that nobody can read ended the reading of everything: it costs itself alone',
  async (t) => {
    const nats = await start(t)
    const source = await open(t, nats.url)
    const codes: unknown[] = []
    t.teardown(onFault((_, error) => codes.push((error as BrokerError).code)))
    const service = await RawNats.connect(nats.port, ['commands.>'], (subject, inbox) => {
      const headers = subject === 'commands.bad' ? Buffer.from('NATS/1.0\r\nno header: x\r\n\r\n') : undefined
      void service.publish(inbox, bytes('well'), headers)
    })
    t.teardown(() => service.close())
    const collector = new Collector()
    source.consume(0, collector)
    await eventually(() => source.troubles.length === 0)
    t.equal(await source.request('commands.bad', bytes(''), 500).catch((error: BrokerError) => error.code), 'TIMEOUT')
    t.same(codes, ['INVALID_RECORD'])
    await fill(nats, 1, 3)
    await collector.has(3)
    t.equal(Buffer.from(await source.request('commands.good', bytes(''), 5_000)).toString(), 'well')
    t.ok(source.connected)
  },
)

t.test('a range that stops on its way is read on, not taken for the end of the stream', async (t) => {
  const nats = await start(t)
  const proxy = await StallingProxy.start(nats.port)
  t.teardown(() => proxy.stop())
  const source = await open(t, proxy.url)
  await fill(nats, 1, 2_000, 1_000)
  await source.bounds()
  proxy.stallAfter(300_000)
  const reading = source.read(0, 2_000).then(
    (messages) => messages.map(({ seq }) => seq),
    (error: BrokerError) => error.code,
  )
  await eventually(() => proxy.stalled)
  // Longer than a pull lasts, and than a probe waits.
  await new Promise((resolve) => setTimeout(resolve, 6_000))
  proxy.goOn()
  const outcome = await reading
  t.ok(
    typeof outcome === 'string' || outcome.length === 2_000,
    `all, or an error: ${typeof outcome === 'string' ? outcome : outcome.length}`,
  )
  if (typeof outcome !== 'string') t.same(outcome, range(1, 2_000))
  await eventually(async () => (await source.read(0, 2_000).catch(() => [])).length === 2_000)
})

t.test('a range is whole although its consumers are deleted, and messages with it', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  await fill(nats, 1, 6_000, 500)
  await source.bounds()
  let deleted = 0
  for (const _ of range(1, 5)) {
    let done = false
    const reading = source
      .read(0, 6_000)
      .then(
        (messages) => messages.map(({ seq }) => seq),
        (error: BrokerError) => error.code,
      )
      .finally(() => {
        done = true
      })
    while (!done) deleted += await deleteConsumers(nats)
    const outcome = await reading
    if (outcome === 'SERVICE_UNAVAILABLE') continue
    t.same(outcome, range(1, 6_000))
  }
  t.ok(deleted > 0)
  const jsm = await (await nats.client()).jetstreamManager()
  const reading = source.read(0, 6_000)
  await jsm.streams.purge('EVENTS', { seq: 5_990 })
  const seqs = (await reading).map(({ seq }) => seq)
  t.same(seqs.slice(-11), range(5_990, 6_000), 'what is purged meanwhile is missing, and nothing else')
})

t.test(
  'a stream that was cut short is read on behind its end, in the same epoch, and its reader is told',
  async (t) => {
    const nats = await start(t)
    const source = await open(t, nats.url)
    const collector = new Collector()
    source.consume(0, collector)
    await fill(nats, 1, 10)
    await collector.has(10)
    const { epoch } = await source.bounds()
    await nats.kill('SIGTERM')
    const backup = `${nats.folder}-backup`
    t.teardown(() => rmSync(backup, { recursive: true, force: true }))
    cpSync(nats.folder, backup, { recursive: true })
    await nats.run()
    for (const n of range(11, 20)) await store(source, n)
    await collector.has(20)
    await nats.kill()
    rmSync(nats.folder, { recursive: true })
    cpSync(backup, nats.folder, { recursive: true })
    await nats.run()
    await eventually(() => collector.resets.length > 0)
    t.same(collector.resets, [{ epoch, firstSeq: 1, lastSeq: 10 }])
    for (const n of range(31, 33)) await store(source, n)
    await collector.has(23)
    t.same(collector.seqs.slice(20), [11, 12, 13], 'what was read before the cut does not come again')
    t.equal(collector.resets.length, 1)
  },
)

t.test(
  "a stream that was cut short and has grown past its reader's place before that looks again: what took the place of what was read went by unnoticed",
  async (t) => {
    const nats = await start(t)
    const proxy = await StallingProxy.start(nats.port)
    t.teardown(() => proxy.stop())
    const source = await open(t, proxy.url)
    const collector = new Collector()
    source.consume(0, collector)
    await fill(nats, 1, 10)
    await collector.has(10)
    const { epoch } = await source.bounds()
    await nats.kill('SIGTERM')
    const backup = `${nats.folder}-backup`
    t.teardown(() => rmSync(backup, { recursive: true, force: true }))
    cpSync(nats.folder, backup, { recursive: true })
    await nats.run()
    for (const n of range(11, 20)) await store(source, n)
    await collector.has(20)
    proxy.refuse()
    await nats.kill()
    rmSync(nats.folder, { recursive: true })
    cpSync(backup, nats.folder, { recursive: true })
    await nats.run()
    await eventually(() =>
      fill(nats, 31, 60).then(
        () => true,
        () => false,
      ),
    )
    proxy.refusing = false
    await eventually(() => collector.resets.length > 0)
    t.same(collector.resets, [{ epoch, firstSeq: 1, lastSeq: 10 }])
    await eventually(() => collector.seqs.length >= 50)
    t.same(collector.seqs.slice(20, 50), range(11, 40), 'all that is new from the cut on')
    t.equal(collector.resets.length, 1)
  },
)

t.test(
  'in a stream that holds other subjects as well, events that it forgot before they were read went by untold',
  async (t) => {
    const nats = await start(t)
    const jsm = await (await nats.client()).jetstreamManager()
    const js = await nats.jetstream()
    await jsm.streams.add({ name: 'EVENTS', subjects: ['events.>', 'audit.>'] })
    const source = await open(t, nats.url)
    const collector = new Collector()
    const reading = source.consume(0, collector)
    const mix = async (count: number) => {
      for (let n = 0; n < count; n++)
        await Promise.all([js.publish('events.app.thing', bytes('ours')), js.publish('audit.a', bytes('not ours'))])
    }
    await mix(50)
    await collector.has(50)
    t.same([collector.losses, new Set(collector.seqs).size], [[], 50], 'what lies between ours is no loss')
    reading.pause()
    await mix(20)
    await jsm.streams.purge('EVENTS', { seq: 121 })
    reading.resume()
    await mix(5)
    await eventually(() => collector.messages.length >= 65)
    t.same(collector.losses, [121])
    // Of a stream that only others write to nothing is missing, once that was looked at.
    await eventually(async () => {
      const told = collector.losses.length
      await js.publish('audit.a', bytes('not ours'))
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      await jsm.streams.purge('EVENTS')
      const seq = (await source.publish('events.app.thing', bytes('ours'))) as number
      await eventually(() => collector.seqs.includes(seq))
      return collector.losses.length === told
    })
  },
)

t.test(
  'a consumer that was paused sends heartbeats: nothing was read any more, and the source said that all was well',
  async (t) => {
    const nats = await start(t)
    const nc = await nats.client()
    const source = await open(t, nats.url)
    const collector = new Collector()
    source.consume(0, collector)
    await fill(nats, 1, 5)
    await collector.has(5)
    const [consumer] = await (await nc.jetstreamManager()).consumers.list('EVENTS').next()
    const paused = await nc
      .request(
        `$JS.API.CONSUMER.PAUSE.EVENTS.${consumer?.name}`,
        JSON.stringify({ pause_until: new Date(Date.now() + 3_600_000) }),
      )
      .then(
        (answer) => answer.json<{ paused: boolean }>().paused,
        () => false,
      )
    t.equal(paused, Number(nc.info?.version.split('.')[1]) >= 11, 'older servers pause none')
    await fill(nats, 6, 10)
    await collector.has(10)
    t.same(collector.seqs, range(1, 10))
  },
)

t.test(
  'permissions that were taken away for a while left the source deaf for ever, and it said that all was well',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'roomcast-permissions-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const file = join(folder, 'nats.conf')
    const allow = (subjects: string) =>
      writeFileSync(
        file,
        `authorization { users = [{ user: broker, password: b, permissions: { publish: ">", subscribe: ${subjects} } }, { user: other, password: o }] }`,
      )
    allow('[">"]')
    const nats = await TestNats.start(['-js', '-c', file])
    t.teardown(() => nats.stop())
    const source = await open(t, nats.url.replace('//', '//broker:b@'))
    const other = await connect({ servers: nats.url, user: 'other', pass: 'o' })
    t.teardown(() => other.close())
    const heard: string[] = []
    source.listen('roomcast.told', (body) => heard.push(Buffer.from(body).toString()))
    for (const to of ['one', 'all'] as const) source.serve(`ask.${to}`, to, async () => bytes(to))
    const works = async () => {
      heard.length = 0
      other.publish('roomcast.told', 'x')
      const answers = await Promise.all(
        ['ask.one', 'ask.all'].map((subject) =>
          other.request(subject, '', { timeout: 1_000 }).then(
            (answer) => answer.string(),
            () => '',
          ),
        ),
      )
      return heard.length > 0 && answers.join() === 'one,all'
    }
    await eventually(works)
    allow('["_INBOX.>"]')
    nats.signal('SIGHUP')
    await eventually(() =>
      ['roomcast.told', 'ask.one', 'ask.all'].every((subject) =>
        source.troubles.some((trouble) => trouble.includes(subject)),
      ),
    )
    t.notOk(await works())
    allow('[">"]')
    nats.signal('SIGHUP')
    await eventually(() => source.troubles.length === 0)
    t.ok(await works())
  },
)

t.test('an event that the stream refuses is refused with its reason, which the log has once', async (t) => {
  const nats = await start(t)
  const said: string[] = []
  const log = pino({ level: 'warn' }, { write: (line: string) => said.push(line) })
  const source = await NatsSource.open({ url: nats.url, creds: '', stream: STREAM, log })
  t.teardown(() => source.close())
  await source.publish('events.app.thing', bytes('1'))
  const jsm = await (await nats.client()).jetstreamManager()
  const { config } = await jsm.streams.info(STREAM.name)
  const refusals = async (change: Partial<StreamConfig>) => {
    await jsm.streams.update(STREAM.name, { ...config, ...change })
    for (let i = 0; i < 3; i++)
      await t.rejects(source.publish('events.app.thing', bytes('2')), {
        code: 'SERVICE_UNAVAILABLE',
        message: change.subjects ? /no stream of NATS takes it/ : /maximum messages exceeded/,
      })
  }
  await refusals({ discard: DiscardPolicy.New, max_msgs: 1 })
  t.same(
    said.map((line) => JSON.parse(line)).map(({ msg, reason }) => [msg, reason]),
    [['an event was refused and is not stored', 'NATS: maximum messages exceeded']],
  )
  await refusals({ subjects: ['elsewhere.>'] })
  await jsm.streams.update(STREAM.name, config)
  t.equal(await source.publish('events.app.thing', bytes('3')), 2)
})
