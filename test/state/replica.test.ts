import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import fc from 'fast-check'
import { createInbox, type NatsConnection } from 'nats'
import t, { type Test } from 'tap'
import { Locks } from '../../src/state/locks.ts'
import { Participants } from '../../src/state/participants.ts'
import { Presence } from '../../src/state/presence.ts'
import type { BrokerError } from '../../src/errors.ts'
import { Bans } from '../../src/state/bans.ts'
import { wellFormed } from '../../src/guard/jwt.ts'
import { LoginSessions } from '../../src/state/login-sessions.ts'
import { guarded, onFault } from '../../src/guarded.ts'
import type { Subscriber } from '../../src/hub/subscriber.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import type { Changed, KeyValue, Remade, Source } from '../../src/source/source.ts'
import { keyOf, readKey, Replica, type ReplicaOptions } from '../../src/state/replica.ts'
import { eventually } from '../support/client.ts'
import { RawNats } from '../fuzz/raw-nats.ts'
import { bytes, range } from '../support/collector.ts'
import { TestNats } from '../support/nats.ts'

/** What is in the key-value buckets was written by anybody, and a bucket may be lost. */

const BUCKETS = [
  'roomcast_presence',
  'roomcast_locks',
  'roomcast_lock_leases',
  'roomcast_participants',
  'roomcast_bans',
  'roomcast_sessions',
] as const

function quietly(t: Test): string[] {
  const faults: string[] = []
  t.teardown(onFault((where) => faults.push(where)))
  return faults
}

/** @param isHere users who are connected to this node */
async function openAll(t: Test, source: Source, isHere = (_userId: string) => true) {
  const [presence, locks, participants, bans] = [
    await Presence.open(source, randomBytes(4).toString('hex'), () => {}),
    await Locks.open(source, { serves: () => true, isHere: (_, userId) => isHere(userId), onFreed: () => {} }),
    await Participants.open(source, () => {}),
    await Bans.open(source),
  ]
  const sessions = await LoginSessions.open(
    source,
    () => {
      throw new Error('no token in this test')
    },
    { userIdBytesMax: 1_000, listClaims: [] },
  )
  t.teardown(async () => {
    await presence.close()
    locks.close()
    sessions.close()
  })
  return { presence, locks, participants, bans, sessions }
}

/** A copy of a bucket of texts, of nothing else than this store says. */
async function copyOf(options: Partial<ReplicaOptions<string>> = {}) {
  const store = {
    connected: true,
    written: [] as string[],
    say: (() => {}) as Changed,
    lose: (async () => {}) as Remade,
  }
  const kv = {
    watch: async (changed: Changed, remade: Remade) => {
      store.say = guarded('kv watch', changed)
      store.lose = remade
    },
    put: async () => 1,
  } as unknown as KeyValue
  const replica = new Replica<string>({
    source: store as unknown as Source,
    kv,
    ttlMs: 60_000,
    read: (key, text) => `${readKey(key, 1)[1]}: ${text}`,
    write: (value) => value,
    ...options,
  })
  await replica.follow()
  const lose = () =>
    store.lose(async (key, value) => void store.written.push(`${key}=${Buffer.from(value).toString()}`))
  return { replica, store, lose }
}

t.test('names of any characters come back from a key; a key of another making is INVALID_RECORD', async (t) => {
  const app = fc.stringMatching(/^[a-z0-9-]{1,20}$/)
  const name = fc.string({ unit: 'binary', maxLength: 30 })
  fc.assert(
    fc.property(app, fc.array(name, { maxLength: 4 }), (app, names) => {
      t.same(readKey(keyOf(app, ...names), names.length), [app, ...names])
      t.throws(() => readKey(keyOf(app, ...names), names.length + 1), { code: 'INVALID_RECORD' })
    }),
    { numRuns: 100 },
  )
  for (const key of ['', '.', 'app', '.eA', 'app.eA==', 'app.eB', 'app.!!', 'app.eA.eA'])
    t.throws(() => readKey(key, 1), { code: 'INVALID_RECORD' }, key)
})

t.test('a value that is none of its bucket takes the place of the one before, and is reported', async (t) => {
  const faults = quietly(t)
  const changes: unknown[] = []
  const { replica, store } = await copyOf({
    read: (_key, text) => {
      if (text === '') throw new Error('no text')
      return text
    },
    onChange: (...change) => changes.push(change),
  })
  store.say('k', bytes('a'))
  store.say('k', bytes(''))
  t.equal(replica.get('k'), undefined)
  t.same(changes, [
    ['k', 'a', undefined],
    ['k', undefined, 'a'],
  ])
  t.same(faults, ['kv watch'])
})

t.test(
  'leases run out without a word from the store, but not while it is out of reach or this process late',
  async (t) => {
    const { replica, store } = await copyOf()
    const lease = keyOf('app', 'u')
    const startMs = Date.now()
    const sweepUntil = (fromMs: number, toMs: number) => {
      for (let ms = fromMs; ms <= toMs; ms += 5_000) replica.sweep(startMs + ms)
    }
    store.say(lease, bytes(''))
    store.connected = false
    sweepUntil(0, 100_000)
    t.ok(replica.get(lease), 'out of reach')
    store.connected = true
    sweepUntil(105_000, 155_000)
    t.ok(replica.get(lease), 'nobody has had the time to renew it')
    replica.sweep(startMs + 200_000)
    t.ok(replica.get(lease), 'late')
    sweepUntil(205_000, 255_000)
    t.ok(replica.get(lease))
    sweepUntil(260_000, 265_000)
    t.equal(replica.get(lease), undefined)
  },
)

t.test('what the store lost is written again: of leases each node writes its own', async (t) => {
  const [mine, other] = [keyOf('app', 'mine'), keyOf('app', 'other')]
  const all = await copyOf({ read: (_key, text) => text })
  const own = await copyOf({ read: (_key, text) => text, isOwn: (key) => key === mine })
  for (const { replica, store, lose } of [all, own]) {
    replica.note(mine, 'm')
    store.say(other, bytes('o'))
    await lose()
    t.equal(replica.isTrusted(Date.now()), false, 'others may not have written theirs yet')
  }
  t.same(all.store.written, [`${mine}=m`, `${other}=o`])
  t.same(own.store.written, [`${mine}=m`])
  own.store.say(mine, undefined)
  t.equal(own.replica.get(mine), 'm', 'what the store says of its own keys is no news')
})

const encode = (text: string) => Buffer.from(text).toString('base64url')

t.test(
  'any key and any value may be in any bucket: what is none of ours changes nothing, and the rest goes on',
  async (t) => {
    quietly(t)
    const source = new EmbeddedSource()
    t.teardown(() => source.close())
    const { presence, locks, participants, bans, sessions } = await openAll(t, source)
    const part = fc.oneof(
      fc.stringMatching(/^[-/_=a-zA-Z0-9]{1,20}$/),
      fc.constantFrom('app', encode('c'), encode('u'), '__proto__', 'constructor', '-', '='),
    )
    const value = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.json().map(bytes),
      fc
        .constantFrom(
          '',
          '1e999',
          '-1',
          'NaN',
          '99999999999999999999',
          '{"exp":9999999999999,"sub":"u"}',
          '{"holders":{}}',
          '[null]',
        )
        .map(bytes),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...BUCKETS),
        fc.array(part, { minLength: 1, maxLength: 6 }),
        value,
        async (bucket, parts, body) => {
          const key = parts.join('.')
          sessions.follow(key, () => {})()
          await (await source.keyValue(bucket, 0)).put(key, body)
          await (await source.keyValue(bucket, 0)).delete(key)
          await sessions.identify(key).catch((error: BrokerError) => error.code)
        },
      ),
      { numRuns: 500 },
    )
    t.equal(presence.channelCount('app'), 0)
    await participants.add('app', 'c', 'u', 'e-1')
    t.same(participants.usersIn('app', 'c'), ['u'])
    bans.add('app', 'u', 60_000)
    t.ok(bans.secondsLeft('app', 'u') > 0)
    t.match(await locks.acquire('app', { file: 'x' }, 'u', 'exclusive', 10), { granted: true })
  },
)

t.test('a time beyond what a bucket keeps lasts no longer than it does', async (t) => {
  const source = new EmbeddedSource()
  t.teardown(() => source.close())
  const { bans, participants } = await openAll(t, source)
  await (await source.keyValue('roomcast_bans', 0)).put(`app.${encode('u')}`, bytes('1e300'))
  t.ok(bans.secondsLeft('app', 'u') <= 3_600)
  await (await source.keyValue('roomcast_participants', 0)).put(`app.${encode('c')}.${encode('u')}`, bytes('1e300'))
  t.same(participants.usersIn('app', 'c'), ['u'])
  participants.sweep(Date.now() + 25 * 3_600_000)
  t.same(participants.usersIn('app', 'c'), [])
})

t.test("a lock whose record is garbage is nobody's, and can be taken", async (t) => {
  const faults = quietly(t)
  const source = new EmbeddedSource()
  t.teardown(() => source.close())
  const { locks } = await openAll(t, source)
  await locks.acquire('app', { file: 'x' }, 'u', 'exclusive', 10)
  const kv = await source.keyValue('roomcast_locks', 0)
  const keys: string[] = []
  await kv.watch((key) => keys.push(key))
  for (const garbage of [
    'no JSON',
    'null',
    '[]',
    '{"app":"app","resource":{"file":"x"},"holders":[{}]}',
    '{"app":"app","resource":{"file":"y"},"holders":[]}',
    '{"holders":null}',
  ]) {
    await kv.put(keys[0] as string, bytes(garbage))
    t.match(await locks.acquire('app', { file: 'x' }, `after ${garbage}`, 'exclusive', 10), { granted: true })
    await locks.release('app', { file: 'x' }, `after ${garbage}`)
  }
  t.ok(faults.length > 0, 'and it is reported')
})

t.test('claims whose end no date can name are none', async (t) => {
  const claims = (exp: unknown) => wellFormed({ sub: 'u', exp }, { userIdBytesMax: 100, listClaims: [] })
  for (const exp of [1, 1_700_000_000, 1_700_000_000_000, 8.64e12]) t.equal(claims(exp), true, `${exp}`)
  for (const exp of [9_999_999_999_999, 1e300, Number.POSITIVE_INFINITY, Number.NaN, -1e300, '1', null])
    t.equal(claims(exp), false, `${exp}`)
  const source = new EmbeddedSource()
  t.teardown(() => source.close())
  const { sessions } = await openAll(t, source)
  await (await source.keyValue('roomcast_sessions', 0)).put('s1', bytes('{"sub":"u","exp":9999999999999}'))
  await t.rejects(sessions.identify('s1'), { code: 'AUTH_FAILED' })
})

t.test('NATS: garbage in a bucket keeps no watch from its changes, and no broker from starting', async (t) => {
  quietly(t)
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const source = await open(t, nats.url)
  const { participants } = await openAll(t, source)
  const js = await nats.jetstream()
  for (const bucket of BUCKETS)
    for (const key of ['one', 'a.b.c.d.e', `app.${encode('x')}.!!`, '=.-._./'])
      await js.publish(`$KV.${bucket}.${key}`, Buffer.from([0xff, 0x00, 0x7b]))
  await js.publish(`$KV.roomcast_participants.app.${encode('c')}.${encode('u')}`, bytes(String(Date.now())))
  await eventually(() => participants.usersIn('app', 'c').includes('u'))
  const second = await openAll(t, await open(t, nats.url))
  t.same(second.participants.usersIn('app', 'c'), ['u'], 'one that starts')
})

t.test(
  'a NATS store that was wiped: buckets are made again without a restart, and those who know write again what was in them',
  async (t) => {
    const nats = await TestNats.start()
    t.teardown(() => nats.stop())
    const [source, other] = [await open(t, nats.url), await open(t, nats.url)]
    const one = await openAll(t, source, (user) => user === 'ann')
    const two = await openAll(t, other, (user) => user === 'bob')
    await one.locks.acquire('app', { file: 'x' }, 'ann', 'exclusive', 10)
    await one.participants.add('app', 'c', 'ann', 'e-1')
    one.bans.add('app', 'eve', 600_000)
    one.presence.join({ application: { app: 'app' }, userId: 'ann' } as unknown as Subscriber, 'hall', 'Ann')
    await eventually(() => two.presence.count('app', 'hall') === 1 && two.bans.secondsLeft('app', 'eve') > 0)
    for (const n of range(1, 20)) await (await source.keyValue('roomcast_lock_leases', 0)).put(`fill.${n}`, bytes(''))
    await nats.kill()
    await eventually(() => !source.connected && !other.connected)
    rmSync(nats.folder, { recursive: true })
    await nats.run()
    let outcome: unknown
    await eventually(async () => {
      outcome = await two.locks.acquire('app', { file: 'x' }, 'bob', 'exclusive', 10).catch(() => undefined)
      return outcome !== undefined
    })
    t.match(outcome, { granted: false, holder: { userId: 'ann' } }, 'nobody takes what somebody holds')
    await eventually(() => source.troubles.length === 0 && other.troubles.length === 0)
    const third = await openAll(t, await open(t, nats.url))
    await eventually(
      () =>
        third.presence.count('app', 'hall') === 1 &&
        third.bans.secondsLeft('app', 'eve') > 0 &&
        third.participants.usersIn('app', 'c').length === 1,
    )
    t.match(
      await two.locks.acquire('app', { file: 'y' }, 'bob', 'exclusive', 10),
      { granted: true },
      'and what is free is granted',
    )
  },
)

async function open(t: Test, url: string): Promise<NatsSource> {
  const source = await NatsSource.open({
    url,
    creds: '',
    stream: { name: 'EVENTS', maxAgeS: 3600, maxBytes: 0 },
    log: makeLogger('silent'),
  })
  t.teardown(() => source.close())
  return source
}

t.test('an entry with headers that nobody can read was a fault for each watch: it is a bad record', async (t) => {
  const faults: unknown[] = []
  t.teardown(onFault((_, error) => faults.push((error as BrokerError).code)))
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const source = await NatsSource.open({
    url: nats.url,
    creds: '',
    stream: { name: 'EVENTS', maxAgeS: 60, maxBytes: 0 },
    log: makeLogger('silent'),
  })
  t.teardown(() => source.close())
  const kv = await source.keyValue('things', 0)
  const seen: string[] = []
  await kv.watch((key) => seen.push(key))
  const raw = await RawNats.connect(nats.port)
  await raw.publish('$KV.things.a', Buffer.from('1'), Buffer.from('NATS/1.0\r\nno header: x\r\n\r\n'))
  raw.close()
  await kv.put('b', bytes('2'))
  await eventually(() => seen.includes('b'))
  t.same(seen, ['b'])
  t.same(faults, ['INVALID_RECORD'])
})

t.test('a bucket put back from an older copy of itself: its watch waited for revisions that it had seen', async (t) => {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const source = await open(t, nats.url)
  const kv = await source.keyValue('things', 0)
  const seen: string[] = []
  await kv.watch((key, value) => seen.push(`${key}=${value === undefined ? '' : Buffer.from(value).toString()}`))
  await kv.put('a', bytes('1'))
  const copy = await snapshotOf(await nats.client(), 'KV_things')
  for (const n of range(1, 50)) await kv.put('b', bytes(`${n}`))
  await eventually(() => seen.includes('b=50'))
  await (await (await nats.client()).jetstreamManager()).streams.delete('KV_things')
  await restore(await nats.client(), 'KV_things', copy)
  await kv.put('c', bytes('1'))
  await eventually(() => seen.includes('c=1'))
  t.equal(seen.filter((each) => each === 'a=1').length, 2, 'all that is in the copy is seen again')
})

interface Snapshot {
  readonly config: unknown
  readonly state: unknown
  readonly chunks: readonly Uint8Array[]
}

async function api(nc: NatsConnection, subject: string, request: unknown): Promise<Record<string, unknown>> {
  const answer = (await nc.request(`$JS.API.${subject}`, JSON.stringify(request))).json<Record<string, unknown>>()
  if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error))
  return answer
}

async function snapshotOf(nc: NatsConnection, stream: string): Promise<Snapshot> {
  const inbox = createInbox()
  const subscription = nc.subscribe(inbox)
  const { config, state } = await api(nc, `STREAM.SNAPSHOT.${stream}`, { deliver_subject: inbox, no_consumers: true })
  const chunks: Uint8Array[] = []
  for await (const message of subscription) {
    if (message.data.length === 0) break
    chunks.push(message.data)
    message.respond()
  }
  return { config, state, chunks }
}

async function restore(nc: NatsConnection, stream: string, { config, state, chunks }: Snapshot): Promise<void> {
  const { deliver_subject } = await api(nc, `STREAM.RESTORE.${stream}`, { config, state })
  for (const chunk of chunks) await nc.request(deliver_subject as string, chunk)
  const answer = (await nc.request(deliver_subject as string, new Uint8Array())).json<{ error?: unknown }>()
  if (answer.error !== undefined) throw new Error(JSON.stringify(answer.error))
}
