import t, { type Test } from 'tap'
import { Locks } from '../../src/state/locks.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import { eventually } from '../support/client.ts'
import { bytes, Collector, range } from '../support/collector.ts'
import type { TestNats } from '../support/nats.ts'
import { TestCluster } from '../support/nats-cluster.ts'

async function open(t: Test, url: string, replicas: number, kvReplicas = 0): Promise<NatsSource> {
  const source = await NatsSource.open({
    url,
    creds: '',
    stream: { name: 'EVENTS', maxAgeS: 3600, maxBytes: 0, replicas },
    kvReplicas,
    log: makeLogger('silent'),
  })
  t.teardown(() => source.close())
  return source
}

async function store(source: NatsSource, n: number): Promise<void> {
  await eventually(() =>
    source.publish('events.app.thing', bytes(`${n}`), { messageId: `m-${n}` }).then(
      () => true,
      () => false,
    ),
  )
}

t.test('a node of three dies: reading goes on, locks are granted, and another broker starts', async (t) => {
  const cluster = await TestCluster.start()
  t.teardown(() => cluster.stop())
  const source = await open(t, cluster.url, 3)
  const node = { serves: () => true, isHere: () => true, onFreed: () => {} }
  const locks = await Locks.open(source, node)
  t.teardown(() => locks.close())
  const jsm = await (await (cluster.nodes[0] as (typeof cluster.nodes)[number]).client()).jetstreamManager()
  for (const bucket of ['roomcast_locks', 'roomcast_lock_leases'])
    t.equal((await jsm.streams.info(`KV_${bucket}`)).config.num_replicas, 3, 'as many as the stream has')
  await open(t, cluster.url, 3, 1).then((other) => other.keyValue('single', 0))
  t.equal((await jsm.streams.info('KV_single')).config.num_replicas, 1, 'KV_REPLICAS says otherwise')
  const collector = new Collector()
  source.consume(0, collector)
  for (const n of range(1, 20)) await store(source, n)
  await collector.has(20)
  await cluster.nodes[2]?.kill()
  for (const n of range(21, 40)) await store(source, n)
  await collector.has(40)
  t.same(collector.texts, range(1, 40).map(String), 'each once, in order')
  t.same(collector.resets, [])
  await eventually(() =>
    locks.acquire('app', { file: 'x' }, 'ann', 'exclusive', 10).then(
      ({ granted }) => granted,
      () => false,
    ),
  )
  const [first, second] = cluster.nodes.map(({ url }) => url)
  const other = await open(t, `${first},${second}`, 3)
  const otherLocks = await Locks.open(other, node)
  t.teardown(() => otherLocks.close())
  t.match(await otherLocks.acquire('app', { file: 'x' }, 'bob', 'exclusive', 10), {
    granted: false,
    holder: { userId: 'ann' },
  })
  t.equal((await other.read(0, 100)).length, 40)
})

t.test(
  'a broker that starts while the cluster has no leader was told that there is no JetStream: it waits',
  async (t) => {
    const cluster = await TestCluster.start()
    t.teardown(() => cluster.stop())
    await store(await open(t, cluster.url, 3), 1)
    const [first, second, third] = cluster.nodes as [TestNats, TestNats, TestNats]
    await Promise.all([second.kill(), third.kill()])
    const opening = open(t, first.url, 3)
    // A question is given up after five seconds.
    await new Promise((resolve) => setTimeout(resolve, 6_000))
    await Promise.all([second.run(), third.run()])
    const other = await opening
    await other.keyValue('things', 0)
    t.equal((await other.read(0, 100)).length, 1)
  },
)
