import { StorageType } from 'nats'
import t from 'tap'
import { BrokerError, type ErrorCode } from '../../src/errors.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import { eventually } from '../support/client.ts'
import { bytes, Collector, range } from '../support/collector.ts'
import { RawNats } from '../fuzz/raw-nats.ts'
import { freePort, TestNats } from '../support/nats.ts'

const STREAM = { name: 'EVENTS', maxAgeS: 3600, maxBytes: 10_000_000 }

async function start(t: { teardown(end: () => Promise<void>): void }, args?: readonly string[]): Promise<TestNats> {
  const nats = await TestNats.start(args)
  t.teardown(() => nats.stop())
  return nats
}

async function open(t: { teardown(end: () => Promise<void>): void }, url: string): Promise<NatsSource> {
  const source = await NatsSource.open({ url, creds: '', stream: STREAM, log: makeLogger('silent') })
  t.teardown(() => source.close())
  return source
}

async function refusal(t: { teardown(end: () => Promise<void>): void }, url: string): Promise<BrokerError> {
  const error = await open(t, url).catch((thrown: unknown) => thrown)
  if (error instanceof BrokerError) return error
  throw new Error(`it was no BrokerError: ${error}`)
}

async function codeOf(work: Promise<unknown>): Promise<ErrorCode | undefined> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  return error instanceof BrokerError ? error.code : undefined
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

t.test('the stream is made when it is missing', async (t) => {
  const nats = await start(t)
  await open(t, nats.url)
  const jsm = await (await nats.client()).jetstreamManager()
  const { config } = await jsm.streams.info('EVENTS')
  t.match(config, {
    subjects: ['events.>'],
    storage: StorageType.File,
    max_bytes: 10_000_000,
    max_age: 3_600_000_000_000,
    duplicate_window: 120_000_000_000,
  })
})

t.test('a stream that is there is left as it is', async (t) => {
  const nats = await start(t)
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.add({
    name: 'EVENTS',
    subjects: ['events.>', 'audit.>'],
    storage: StorageType.Memory,
    max_msgs: 77,
    max_bytes: 1_000_000,
  })
  const { config } = await jsm.streams.info('EVENTS')
  const source = await open(t, nats.url)
  t.same((await jsm.streams.info('EVENTS')).config, config)
  const js = await nats.jetstream()
  await js.publish('audit.a', bytes('not for us'))
  await source.publish('events.app.thing', bytes('for us'))
  await js.publish('audit.b', bytes('not for us'))
  const collector = new Collector()
  source.consume(0, collector)
  await collector.has(1)
  t.same(collector.seqs, [2])
  t.same(
    (await source.read(0, 10)).map(({ seq }) => seq),
    [2],
    'other subjects of the stream are none of ours',
  )
  t.same(await source.read(2, 10), [])
})

t.test('a stream of that name that holds other subjects is refused by name', async (t) => {
  const nats = await start(t)
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.add({ name: 'EVENTS', subjects: ['orders.*'] })
  const error = await refusal(t, nats.url)
  t.match(error, { code: 'SOURCE_UNFIT', message: /EVENTS.*orders\.\*.*STREAM_NAME/s })
})

t.test('an address where nothing answers fails at once, and names it', async (t) => {
  const url = `nats://127.0.0.1:${await freePort()}`
  const error = await refusal(t, url)
  t.equal(error.code, 'SOURCE_UNREACHABLE')
  t.ok(error.message.includes(url))
  t.match(error.message, /NATS_URL/)
})

t.test('wrong credentials are refused by name, and right ones work, whatever characters they hold', async (t) => {
  const password = 's3/cr@et%x:y'
  const nats = await start(t, ['-js', '--user', 'joe', '--pass', password])
  const { host } = new URL(nats.url)
  for (const url of [nats.url, `nats://joe:wrong-word@${host}`, `joe:wrong-word@${host}`]) {
    const error = await refusal(t, url)
    t.equal(error.code, 'SOURCE_REFUSED')
    t.match(error.message, /NATS_CREDS/)
    t.ok(error.message.includes(host))
    t.notMatch(error.message, 'wrong-word')
  }
  for (const written of [encodeURIComponent(password), password]) {
    const source = await open(t, `nats://joe:${written}@${host}`)
    t.equal(source.connected, true)
  }
})

t.test('no password is in an error, whatever characters it holds', async (t) => {
  const port = await freePort()
  for (const password of ['s3cret', 's3cret/x', 'x@s3cret', 's3cret@x', 's3cret%', 'a:s3cret', 'x/y@s3cret:z']) {
    for (const login of [`joe:${password}`, password]) {
      const error = await refusal(t, `nats://${login}@127.0.0.1:${port}`)
      t.equal(error.code, 'SOURCE_UNREACHABLE', password)
      t.notMatch(error.message, 's3cret')
      t.notMatch(JSON.stringify(error.details ?? ''), 's3cret')
    }
  }
})

t.test('a server without JetStream is refused, with what to start it with', async (t) => {
  const nats = await start(t, [])
  const error = await refusal(t, nats.url)
  t.equal(error.code, 'SOURCE_UNFIT')
  t.match(error.message, /-js/)
})

t.test('credentials that cannot be read are a fault of the configuration', async (t) => {
  const work = NatsSource.open({
    url: 'nats://127.0.0.1:1',
    creds: '/nowhere/user.creds',
    stream: STREAM,
    log: makeLogger('silent'),
  })
  await t.rejects(work, { code: 'CONFIG_INVALID', message: /NATS_CREDS=\/nowhere\/user\.creds/ })
})

t.test('a service answers a request, and a slow one is a TIMEOUT', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const nc = await nats.client()
  nc.subscribe('commands.app.echo', { callback: (_, message) => void message.respond(message.data) })
  nc.subscribe('commands.app.slow', { callback: () => {} })
  await nc.flush()
  t.equal(Buffer.from(await source.request('commands.app.echo', bytes('hello'), 5_000)).toString(), 'hello')
  t.equal(await codeOf(source.request('commands.app.slow', bytes('hello'), 100)), 'TIMEOUT')
})

t.test('events up to the size that NATS takes arrive whole', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const collector = new Collector()
  source.consume(0, collector)
  const body = Buffer.alloc(1_000_000, 'abc')
  for (const _ of range(1, 5)) await source.publish('events.app.thing', body)
  t.equal(await codeOf(source.publish('events.app.thing', Buffer.alloc(2_000_000))), 'PAYLOAD_TOO_LARGE')
  await collector.has(5)
  for (const message of collector.messages) t.ok(body.equals(message.body))
  t.equal((await source.read(0, 5)).length, 5)
})

t.test(
  'what is told to other brokers, and is too large for NATS, was a fault of the broker instead of PAYLOAD_TOO_LARGE',
  async (t) => {
    const source = await open(t, (await start(t)).url)
    t.equal(
      await codeOf((async () => source.notify('roomcast.told', new Uint8Array(2_000_000)))()),
      'PAYLOAD_TOO_LARGE',
    )
  },
)

t.test('a pause leaves no consumer behind on the server', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const collector = new Collector()
  const reading = source.consume(0, collector)
  for (const n of range(1, 10)) {
    await source.publish('events.app.thing', bytes(`${n}`))
    await collector.has(n)
    reading.pause()
    reading.resume()
  }
  await source.read(0, 5)
  const jsm = await (await nats.client()).jetstreamManager()
  await eventually(async () => (await jsm.streams.info('EVENTS')).state.consumer_count === 1)
  await reading.stop()
  await eventually(async () => (await jsm.streams.info('EVENTS')).state.consumer_count === 0)
  t.same(collector.seqs, range(1, 10))
})

t.test('a server that is killed and comes back costs no event and doubles none', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const collector = new Collector()
  source.consume(0, collector)
  let published = 0
  let enough = false
  const publishing = (async () => {
    while (!enough) await store(source, ++published)
  })()
  for (const round of range(1, 3)) {
    await collector.has(round * 50)
    await nats.kill()
    await eventually(() => !source.connected)
    t.equal(await codeOf(source.bounds()), 'SERVICE_UNAVAILABLE')
    t.equal(await codeOf(source.read(0, 1)), 'SERVICE_UNAVAILABLE')
    t.equal(await codeOf(source.request('commands.app.any', bytes(''), 1_000)), 'SERVICE_UNAVAILABLE')
    await nats.run()
    await eventually(() => source.connected)
  }
  await collector.has(200)
  enough = true
  await publishing
  await collector.has(published)
  t.same(collector.seqs, range(1, published))
  t.same(collector.texts, range(1, published).map(String))
  t.same(collector.resets, [], 'it is the same stream')
})

t.test('a server that hangs is noticed, and its return too', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const collector = new Collector()
  source.consume(0, collector)
  await store(source, 1)
  nats.signal('SIGSTOP')
  await eventually(() => !source.connected)
  nats.signal('SIGCONT')
  await eventually(() => source.connected)
  await store(source, 2)
  await collector.has(2)
  t.same(collector.seqs, [1, 2])
})

t.test('a reader that pauses over an outage goes on where it was', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const collector = new Collector()
  const reading = source.consume(0, collector)
  for (const n of range(1, 20)) await store(source, n)
  await collector.has(20)
  reading.pause()
  for (const n of range(21, 40)) await store(source, n)
  await nats.kill()
  await eventually(() => !source.connected)
  reading.resume()
  reading.pause()
  await nats.run()
  await eventually(() => source.connected)
  t.equal(collector.messages.length, 20)
  reading.resume()
  await collector.has(40)
  t.same(collector.seqs, range(1, 40))
})

t.test('a watch goes on after an outage, and tells what changed', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const kv = await source.keyValue('shared', 60_000)
  await kv.put('stays', bytes('1'))
  await kv.put('goes', bytes('1'))
  const seen = new Map<string, string | undefined>()
  await kv.watch((key, value) => seen.set(key, value && Buffer.from(value).toString()))
  await nats.kill()
  await eventually(() => !source.connected)
  t.equal(await codeOf(kv.get('stays')), 'SERVICE_UNAVAILABLE')
  t.equal(await codeOf(kv.put('stays', bytes('2'))), 'SERVICE_UNAVAILABLE')
  await nats.run()
  const other = await (await nats.jetstream()).views.kv('shared')
  await other.delete('goes')
  await other.put('new', bytes('1'))
  await eventually(() => seen.get('new') === '1' && seen.get('goes') === undefined)
  t.equal(seen.get('stays'), '1')
})

t.test('a stream that is deleted is made again, under another epoch, and its readers are told', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const collector = new Collector()
  source.consume(0, collector)
  for (const n of range(1, 10)) await source.publish('events.app.thing', bytes(`old ${n}`))
  await collector.has(10)
  const before = await source.bounds()
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.delete('EVENTS')
  await eventually(() => collector.resets.length > 0)
  t.match(collector.resets, [{ firstSeq: 1, lastSeq: 0 }])
  t.not(collector.resets[0]?.epoch, before.epoch)
  t.same(await source.bounds(), collector.resets[0])
  for (const n of range(1, 3)) await source.publish('events.app.thing', bytes(`new ${n}`))
  await collector.has(13)
  t.same(collector.texts.slice(10), ['new 1', 'new 2', 'new 3'])
  t.equal(collector.resets.length, 1)
})

t.test('a stream that was replaced while the server was out of reach is another one', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const collector = new Collector()
  const reading = source.consume(0, collector)
  for (const n of range(1, 10)) await source.publish('events.app.thing', bytes(`old ${n}`))
  await collector.has(10)
  reading.pause()
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.delete('EVENTS')
  await jsm.streams.add({ name: 'EVENTS', subjects: ['events.>'] })
  // More than before, so that no sequence tells the two apart.
  for (const n of range(1, 15)) await source.publish('events.app.thing', bytes(`new ${n}`))
  reading.resume()
  await collector.has(25)
  t.equal(collector.resets.length, 1)
  t.same(
    collector.texts.slice(10),
    range(1, 15).map((n) => `new ${n}`),
  )
})

t.test('closing while the server is gone ends', async (t) => {
  const nats = await start(t)
  const source = await NatsSource.open({ url: nats.url, creds: '', stream: STREAM, log: makeLogger('silent') })
  const collector = new Collector()
  source.consume(0, collector)
  await (await source.keyValue('things', 60_000)).watch(() => {})
  await store(source, 1)
  await collector.has(1)
  await nats.kill()
  await eventually(() => !source.connected)
  await source.close()
  t.equal(await codeOf(source.bounds()), 'SERVICE_UNAVAILABLE')
})

t.test('what the stream forgot before it was read is told; what was deleted one by one is not', async (t) => {
  const nats = await start(t)
  const source = await open(t, nats.url)
  const jsm = await (await nats.client()).jetstreamManager()
  const collector = new Collector()
  const reading = source.consume(0, collector)
  const publish = async (from: number, to: number) => {
    for (const n of range(from, to)) await source.publish('events.app.thing', bytes(`${n}`))
  }
  await publish(1, 3)
  await collector.has(3)
  reading.pause()
  await publish(4, 9)
  for (const seq of [5, 7, 8]) await jsm.streams.deleteMessage('EVENTS', seq)
  reading.resume()
  await collector.has(6)
  t.same([collector.seqs, collector.losses], [[1, 2, 3, 4, 6, 9], []])
  reading.pause()
  await publish(10, 20)
  await jsm.streams.purge('EVENTS', { seq: 15 })
  await jsm.streams.deleteMessage('EVENTS', 17)
  reading.resume()
  await publish(21, 22)
  await collector.has(13)
  t.same([collector.seqs.slice(6), collector.losses], [[15, 16, 18, 19, 20, 21, 22], [15]])
  reading.pause()
  await jsm.streams.purge('EVENTS')
  await publish(23, 24)
  reading.resume()
  await collector.has(15)
  t.same(collector.losses, [15], 'what had been read may go')
  t.same(collector.resets, [])
})

t.test(
  'a message whose headers cannot be read was left out, and every range that held it failed, each time',
  async (t) => {
    const nats = await start(t)
    const source = await open(t, nats.url)
    const producer = await RawNats.connect(nats.port)
    t.teardown(() => producer.close())
    await store(source, 1)
    await producer.publish('events.app.thing', bytes('2'), bytes('NATS/1.0\r\nno key of a header: 1\r\n\r\n'))
    await producer.confirm()
    await store(source, 3)
    const read = await source.read(0, 10)
    t.same(
      read.map(({ seq, msgpack }) => ({ seq, msgpack })),
      [1, 2, 3].map((seq) => ({ seq, msgpack: false })),
    )
    const collector = new Collector()
    source.consume(0, collector)
    await collector.has(3)
  },
)

t.test(
  'each event kept the whole network chunk alive that it came in: 64 KB for a small one beside events that were left out',
  async (t) => {
    const nats = await start(t)
    const source = await open(t, nats.url)
    for (let n = 0; n < 20; n++) await source.publish('events.app.thing', bytes('x'.repeat(n % 2 === 0 ? 100 : 6_000)))
    const collector = new Collector()
    source.consume(0, collector)
    await collector.has(20)
    for (const { body } of [...collector.messages, ...(await source.read(0, 20))])
      t.ok(
        body.buffer.byteLength <= Math.max(body.length, Buffer.poolSize),
        `${body.buffer.byteLength} for ${body.length}`,
      )
  },
)
