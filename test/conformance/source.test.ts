import { Packr } from 'msgpackr'
import t, { type Test } from 'tap'
import { BrokerError } from '../../src/errors.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import type { KeyValue, Source } from '../../src/source/source.ts'
import { eventually } from '../support/client.ts'
import { bytes, Collector, range } from '../support/collector.ts'
import { TestNats } from '../support/nats.ts'

/** Of sources that others can be beside. */
const urls = new Map<Source, string>()

/** What every source promises (src/source/source.ts), asked of each in the same words. */

const SOURCES: Readonly<Record<string, (t: Test) => Promise<Source>>> = {
  embedded: async (t) => {
    const source = new EmbeddedSource()
    t.teardown(() => source.close())
    return source
  },
  nats: async (t) => {
    const nats = await TestNats.start()
    const source = await NatsSource.open({
      url: nats.url,
      creds: '',
      stream: { name: 'EVENTS', maxAgeS: 3600, maxBytes: 0 },
      log: makeLogger('silent'),
    })
    urls.set(source, nats.url)
    t.teardown(async () => {
      await source.close()
      await nats.stop()
    })
    return source
  },
}

/** Another broker's view of the same: its source, or for a process alone its own. */
async function beside(t: Test, source: Source): Promise<Source> {
  const url = urls.get(source)
  if (url === undefined) return source
  const other = await NatsSource.open({
    url,
    creds: '',
    stream: { name: 'EVENTS', maxAgeS: 3600, maxBytes: 0 },
    log: makeLogger('silent'),
  })
  t.teardown(() => other.close())
  return other
}

/** Asks until the server knows that somebody serves the subject. */
async function asked(source: Source, subject: string, body: string): Promise<Uint8Array> {
  for (;;) {
    try {
      return await source.request(subject, bytes(body), 2_000)
    } catch (error) {
      if ((error as BrokerError).code !== 'SERVICE_UNAVAILABLE') throw error
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

async function fill(source: Source, from: number, to: number): Promise<void> {
  for (const n of range(from, to)) await source.publish('events.app.thing', bytes(`${n}`))
}

for (const [name, open] of Object.entries(SOURCES)) {
  t.test(`${name}: an empty stream says that it is empty, a filled one how far it reaches`, async (t) => {
    const source = await open(t)
    t.equal(source.kind, name)
    t.equal(source.connected, true)
    const empty = await source.bounds()
    t.same(empty, { epoch: empty.epoch, firstSeq: 1, lastSeq: 0 })
    t.match(empty.epoch, /^[A-Za-z0-9]{1,40}$/, 'the epoch fits into a position')
    await fill(source, 1, 3)
    t.same(await source.bounds(), { epoch: empty.epoch, firstSeq: 1, lastSeq: 3 })
  })

  t.test(`${name}: each event is stored under the next sequence, with its subject, body and time`, async (t) => {
    const source = await open(t)
    const beforeMs = Date.now()
    t.equal(await source.publish('events.app.thing', bytes('{"a":1}')), 1)
    t.equal(await source.publish('events.app.other.thing', bytes('')), 2)
    const [first, second] = await source.read(0, 10)
    t.equal(first?.seq, 1)
    t.equal(first?.subject, 'events.app.thing')
    t.equal(Buffer.from(first?.body as Uint8Array).toString(), '{"a":1}')
    t.ok(Number.isInteger(first?.timeMs), 'the time of storage is in whole milliseconds')
    t.ok(Math.abs((first?.timeMs as number) - beforeMs) < 60_000, 'and of this clock')
    t.equal(second?.subject, 'events.app.other.thing')
    t.equal(second?.body.length, 0)
  })

  t.test(`${name}: an event published twice under one message id is stored once`, async (t) => {
    const source = await open(t)
    const seq = (await source.publish('events.app.thing', bytes('once'), { messageId: 'm-1' })) as number
    t.equal(await source.publish('events.app.thing', bytes('once'), { messageId: 'm-1' }), seq)
    t.equal(await source.publish('events.app.thing', bytes('other'), { messageId: 'm-2' }), seq + 1)
    t.equal(await source.publish('events.app.thing', bytes('once')), seq + 2, 'without an id nothing is a double')
    t.equal((await source.read(0, 10)).length, 3)
  })

  t.test(`${name}: the msgpack mark stays with the event`, async (t) => {
    const source = await open(t)
    const body = new Packr({ useRecords: false }).pack({ data: { n: 1 } })
    await source.publish('events.app.thing', body, { msgpack: true })
    await source.publish('events.app.thing', bytes('{}'), { messageId: 'json' })
    const collector = new Collector()
    source.consume(0, collector)
    await collector.has(2)
    for (const messages of [collector.messages, await source.read(0, 2)]) {
      t.same(
        messages.map(({ msgpack }) => msgpack),
        [true, false],
      )
      t.same(Buffer.from(messages[0]?.body as Uint8Array), body)
    }
  })

  t.test(`${name}: a reader gets all that follows its position, in order, and goes on live`, async (t) => {
    const source = await open(t)
    await fill(source, 1, 50)
    const fromStart = new Collector()
    const fromMiddle = new Collector()
    const fromEnd = new Collector()
    source.consume(0, fromStart)
    source.consume(20, fromMiddle)
    source.consume(50, fromEnd)
    await fromStart.has(50)
    await fill(source, 51, 80)
    for (const [collector, first] of [
      [fromStart, 1],
      [fromMiddle, 21],
      [fromEnd, 51],
    ] as const) {
      await collector.has(81 - first)
      t.same(collector.seqs, range(first, 80))
      t.same(collector.texts, range(first, 80).map(String))
      t.same(collector.resets, [])
    }
  })

  t.test(`${name}: a reader that pauses and goes on has no gap and no repetition`, async (t) => {
    const source = await open(t)
    await fill(source, 1, 300)
    const collector = new Collector()
    const reading = source.consume(0, collector)
    for (const at of [7, 8, 120]) {
      collector.onMessage = () => {
        if (collector.messages.length === at) reading.pause()
      }
      await collector.has(at)
      reading.resume()
    }
    collector.onMessage = () => {}
    await collector.has(300)
    reading.pause()
    await fill(source, 301, 310)
    t.equal((await source.read(309, 1)).length, 1)
    t.equal(collector.messages.length, 300, 'what comes during the pause waits')
    reading.resume()
    await fill(source, 311, 320)
    await collector.has(320)
    t.same(collector.seqs, range(1, 320))
  })

  t.test(`${name}: a reader that was stopped hears nothing more`, async (t) => {
    const source = await open(t)
    const stopped = new Collector()
    const other = new Collector()
    const reading = source.consume(0, stopped)
    source.consume(0, other)
    await fill(source, 1, 2)
    await stopped.has(2)
    await reading.stop()
    await fill(source, 3, 4)
    await other.has(4)
    t.same(stopped.seqs, [1, 2])
  })

  t.test(`${name}: any part of the stream can be read again`, async (t) => {
    const source = await open(t)
    const read = async (afterSeq: number, limit: number) => (await source.read(afterSeq, limit)).map(({ seq }) => seq)
    t.same(await read(0, 10), [], 'an empty stream')
    await fill(source, 1, 30)
    t.same(await read(0, 10), range(1, 10), 'the start')
    t.same(await read(12, 5), range(13, 17), 'the middle')
    t.same(await read(25, 10), range(26, 30), 'the end: fewer than asked for')
    t.same(await read(30, 10), [], 'past the end')
    t.same(await read(0, 30), range(1, 30), 'all of it')
  })

  t.test(`${name}: what is read may be of one subject, of all that begin alike, and end at a sequence`, async (t) => {
    const source = await open(t)
    for (const n of range(1, 400))
      await source.publish(
        n % 100 === 0 ? 'events.app.rare:thing' : n % 4 === 0 ? 'events.another.thing' : 'events.app.thing',
        bytes(`${n}`),
      )
    const read = async (afterSeq: number, limit: number, part: Parameters<Source['read']>[2]) =>
      (await source.read(afterSeq, limit, part)).map(({ seq }) => seq)
    t.same(await read(0, 10, { subject: 'events.app.rare:thing' }), [100, 200, 300, 400])
    t.same(await read(100, 2, { subject: 'events.app.rare:thing' }), [200, 300])
    t.same(await read(100, 10, { subject: 'events.app.rare:thing', upToSeq: 300 }), [200, 300])
    t.same(await read(100, 10, { subject: 'events.app.rare:thing', upToSeq: 199 }), [])
    t.same(await read(400, 10, { subject: 'events.app.rare:thing' }), [])
    t.same(await read(0, 10, { subject: 'events.nobody.thing' }), [])
    t.same(
      await read(0, 1_000, { subject: 'events.app.>' }),
      range(1, 400).filter((n) => n % 100 === 0 || n % 4 !== 0),
    )
    t.same(await read(7, 1_000, { upToSeq: 290 }), range(8, 290))
    t.same(await read(7, 100, { upToSeq: 290 }), range(8, 107))
    t.same(
      await read(7, 1_000, { subject: 'events.another.>', upToSeq: 390 }),
      range(8, 390).filter((n) => n % 4 === 0 && n % 100 !== 0),
    )
    t.same(await read(300, 10, { upToSeq: 300 }), [])
    const some = await read(0, 1_000, { bytes: 300 })
    t.same(some, range(1, some.length))
    t.ok(some.length >= 100 && some.length < 400, `${some.length}`)
    t.same(await read(0, 1_000, { bytes: 100_000 }), range(1, 400))
  })

  t.test(`${name}: a request that no service answers says so by SERVICE_UNAVAILABLE`, async (t) => {
    const source = await open(t)
    const error = await source.request('commands.app.nobody', bytes('{}'), 2_000).catch((thrown: unknown) => thrown)
    t.ok(error instanceof BrokerError)
    t.equal((error as BrokerError).code, 'SERVICE_UNAVAILABLE')
  })

  t.test(`${name}: what is served on a subject answers the requests of others`, async (t) => {
    const source = await open(t)
    const other = await beside(t, source)
    const heard: string[] = []
    source.serve('ask.app', 'one', async (body) => {
      heard.push(Buffer.from(body).toString())
      return bytes(`${heard.length}: ${Buffer.from(body)}`)
    })
    source.serve('ask.app.silent', 'all', async () => undefined)
    const request = async (subject: string, body: string) => Buffer.from(await asked(other, subject, body)).toString()
    t.equal(await request('ask.app', 'first'), '1: first')
    t.equal(await request('ask.app', ''), '2: ')
    t.same(heard, ['first', ''])
    for (const [subject, code] of [
      ['ask.app.silent', 'TIMEOUT'],
      ['ask.another', 'SERVICE_UNAVAILABLE'],
    ] as const) {
      const error = await other.request(subject, bytes(''), 200).catch((thrown: unknown) => thrown)
      t.equal((error as BrokerError).code, code, subject)
    }
  })

  t.test(`${name}: a key is written by whoever was first, and over the revision that was read`, async (t) => {
    const kv = await (await open(t)).keyValue('things', 60_000)
    t.equal(await kv.get('a'), undefined)
    const first = (await kv.create('a', bytes('1'))) as number
    t.type(first, 'number')
    t.equal(await kv.create('a', bytes('2')), undefined, 'the second comes too late')
    t.equal(await text(kv, 'a'), '1')
    t.equal((await kv.get('a'))?.revision, first)
    const second = (await kv.update('a', bytes('2'), first)) as number
    t.ok(second > first)
    t.equal(await kv.update('a', bytes('3'), first), undefined, 'that revision is gone')
    t.equal(await text(kv, 'a'), '2')
    const third = await kv.put('a', bytes('4'))
    t.ok(third > second)
    t.equal(await kv.update('a', bytes('5'), second), undefined)
    await kv.delete('a')
    t.equal(await kv.get('a'), undefined)
    t.equal(await kv.update('a', bytes('6'), third), undefined, 'a deleted key has no revision to write over')
    t.type(await kv.create('a', bytes('7')), 'number', 'what was deleted can be made again')
    t.equal(await text(kv, 'a'), '7')
    await kv.delete('never-there')
  })

  t.test(`${name}: a key of 7 KB cut the broker off NATS: it is refused, and the others stay in reach`, async (t) => {
    const kv = await (await open(t)).keyValue('keys', 60_000)
    const [longest, longer] = ['k'.repeat(2_048), 'k'.repeat(7_000)]
    const seen: string[] = []
    await kv.watch((key) => seen.push(key))
    for (const act of [
      (): Promise<unknown> => kv.put(longer, bytes('1')),
      () => kv.create(longer, bytes('1')),
      () => kv.update(longer, bytes('1'), 1),
      () => kv.get(longer),
      () => kv.delete(longer),
    ])
      await t.rejects(act() as Promise<void>, { code: 'INVALID_MESSAGE' })
    for (const key of ['', 'a b', '.a', 'a.', 'a..b', 'a*', 'ä'])
      await t.rejects(kv.get(key), { code: 'INVALID_MESSAGE' }, `no key: ${key}`)
    await kv.put(longest, bytes('1'))
    t.equal(await text(kv, longest), '1')
    await eventually(() => seen.includes(longest))
    t.same(seen, [longest])
  })

  t.test(`${name}: a key is deleted only at the revision that is named`, async (t) => {
    const kv = await (await open(t)).keyValue('things', 60_000)
    const first = (await kv.create('a', bytes('1'))) as number
    const second = await kv.put('a', bytes('2'))
    t.equal(await kv.delete('a', first), false, 'another was first')
    t.equal(await text(kv, 'a'), '2')
    const outcomes = await Promise.all(range(1, 8).map(() => kv.delete('a', second)))
    t.equal(outcomes.filter((deleted) => deleted).length, 1, 'of many, one did it')
    t.equal(await kv.get('a'), undefined)
    t.equal(await kv.delete('a', second), false, 'it is gone')
    t.equal(await kv.delete('never-there', 7), false)
  })

  t.test(`${name}: a key says when it goes, unless it stays`, async (t) => {
    const source = await open(t)
    const [short, lasting] = [await source.keyValue('minute', 60_000), await source.keyValue('lasting', 0)]
    for (const kv of [short, lasting]) await kv.put('a', bytes('1'))
    const leftMs = ((await short.get('a'))?.expiresMs as number) - Date.now()
    t.ok(leftMs > 30_000 && leftMs < 90_000, `${leftMs} ms`)
    t.equal((await lasting.get('a'))?.expiresMs, Number.POSITIVE_INFINITY)
  })

  t.test(`${name}: of many that create one key at once, one wins`, async (t) => {
    const kv = await (await open(t)).keyValue('locks', 60_000)
    const outcomes = await Promise.all(range(1, 20).map((n) => kv.create('lock/of=the_file.ts', bytes(`${n}`))))
    t.equal(outcomes.filter((revision) => revision !== undefined).length, 1)
  })

  t.test(`${name}: buckets of the same name are the same, others are not`, async (t) => {
    const source = await open(t)
    const [one, same, other] = [
      await source.keyValue('one', 60_000),
      await source.keyValue('one', 60_000),
      await source.keyValue('other', 60_000),
    ]
    await one.put('a', bytes('1'))
    t.equal(await text(same, 'a'), '1')
    t.equal(await other.get('a'), undefined)
  })

  t.test(`${name}: a watch tells what there is, then every change, and what goes`, async (t) => {
    const kv = await (await open(t)).keyValue('watched', 60_000)
    await kv.put('a', bytes('1'))
    await kv.put('b', bytes('2'))
    await kv.put('b', bytes('3'))
    const seen: (string | undefined)[][] = []
    await kv.watch((key, value) => seen.push([key, value && Buffer.from(value).toString()]))
    t.same(
      [...seen].sort(),
      [
        ['a', '1'],
        ['b', '3'],
      ],
      'seen by the time that watch resolves',
    )
    await kv.put('c', bytes('4'))
    await kv.put('a', bytes('5'))
    await kv.delete('b')
    await eventually(() => seen.length >= 5)
    t.same(seen.slice(2), [
      ['c', '4'],
      ['a', '5'],
      ['b', undefined],
    ])
  })

  t.test(`${name}: a watch of an empty bucket resolves, and tells what comes`, async (t) => {
    const kv = await (await open(t)).keyValue('empty', 60_000)
    const seen: string[] = []
    await kv.watch((key) => seen.push(key))
    t.same(seen, [])
    await kv.put('a', bytes('1'))
    await eventually(() => seen.length > 0)
    t.same(seen, ['a'])
  })

  t.test(`${name}: a key goes when its time is up, counted from its last write`, async (t) => {
    const kv = await (await open(t)).keyValue('short', 1_000)
    await kv.put('a', bytes('1'))
    await kv.create('b', bytes('1'))
    await eventually(async () => (await kv.get('a')) === undefined && (await kv.get('b')) === undefined)
    t.type(await kv.create('a', bytes('2')), 'number', 'the key is free again')
    t.equal(await text(kv, 'a'), '2')
  })
}

async function text(kv: KeyValue, key: string): Promise<string | undefined> {
  const entry = await kv.get(key)
  return entry && Buffer.from(entry.value).toString()
}
