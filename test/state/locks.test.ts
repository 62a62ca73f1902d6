import { keepLocks } from '../../src/commands/state-listeners.ts'
import type { Registry } from '../../src/contracts/registry.ts'
import t, { type Test } from 'tap'
import { Locks } from '../../src/state/locks.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import type { Source } from '../../src/source/source.ts'
import { eventually } from '../support/client.ts'
import { range } from '../support/collector.ts'
import { TestNats } from '../support/nats.ts'

/** Two nodes on one store: for NATS each has a connection of its own. */
const NODES: Readonly<Record<string, (t: Test) => Promise<[Source, Source]>>> = {
  embedded: async (t) => {
    const source = new EmbeddedSource()
    t.teardown(() => source.close())
    return [source, source]
  },
  nats: async (t) => {
    const nats = await TestNats.start()
    t.teardown(() => nats.stop())
    const open = async () => {
      const source = await NatsSource.open({
        url: nats.url,
        creds: '',
        stream: { name: 'EVENTS', maxAgeS: 3600, maxBytes: 0 },
        log: makeLogger('silent'),
      })
      t.teardown(() => source.close())
      return source
    }
    return [await open(), await open()]
  },
}

/** A node, and the users who are connected to it. */
async function node(
  t: Test,
  source: Source,
  serves = true,
): Promise<{ locks: Locks; here: Set<string>; freed: string[] }> {
  const here = new Set<string>()
  const freed: string[] = []
  const locks = await Locks.open(source, {
    serves: () => serves,
    isHere: (_, userId) => here.has(userId),
    onFreed: (_, { resource, userId, mode }) => freed.push(`${resource.file} ${userId} ${mode}`),
  })
  t.teardown(() => locks.close())
  return { locks, here, freed }
}

for (const [name, open] of Object.entries(NODES)) {
  t.test(`${name}: of users who want all of it one gets it, of those who share all do`, async (t) => {
    const [one, two] = await open(t)
    const [a, b] = [await node(t, one), await node(t, two)]
    const users = range(1, 20).map((n) => `user-${n}`)
    const want = (mode: 'exclusive' | 'shared', file: string) =>
      Promise.all(
        users.map((user, i) => {
          const { locks, here } = i % 2 ? a : b
          here.add(user)
          return locks.acquire('app', { file }, user, mode, 100)
        }),
      )
    const outcomes = await want('exclusive', 'x')
    const winner = users[outcomes.findIndex(({ granted }) => granted)]
    t.equal(outcomes.filter(({ granted }) => granted).length, 1)
    t.ok(
      outcomes.every((outcome) => outcome.granted || outcome.holder.userId === winner),
      'all others hear who it is',
    )
    t.ok((await want('shared', 'y')).every(({ granted }) => granted))
    const { lock, others } = await a.locks.release('app', { file: 'y' }, 'user-1')
    t.same([lock, others.length], [{ resource: { file: 'y' }, userId: 'user-1', mode: 'shared' }, 19])
    t.same((await a.locks.release('app', { file: 'z' }, 'user-1')).lock, undefined)
    t.same(
      await a.locks.acquire('other', { file: 'x' }, 'user-1', 'exclusive', 100).then(({ granted }) => granted),
      true,
      'another application has its own',
    )
  })

  t.test(`${name}: who is nowhere loses their locks, once over all nodes; who shares them stays`, async (t) => {
    const [one, two] = await open(t)
    const [a, b] = [await node(t, one), await node(t, two)]
    a.here.add('ann')
    b.here.add('bob')
    const take = ({ locks }: typeof a, user: string, file: string, mode: 'exclusive' | 'shared') =>
      locks.acquire('app', { file }, user, mode, 100)
    for (const file of ['s', 't']) await take(a, 'ann', file, 'shared')
    await take(b, 'bob', 's', 'shared')
    await take(a, 'ann', 'x', 'exclusive')
    a.here.delete('ann')
    a.locks.left('app', 'ann')
    t.match(await take(b, 'bob', 'x', 'exclusive'), { granted: false, holder: { userId: 'ann' } }, 'not at once')
    await eventually(() => a.freed.length + b.freed.length >= 3)
    t.same([...a.freed, ...b.freed].sort(), ['s ann shared', 't ann shared', 'x ann exclusive'])
    t.match(await take(b, 'bob', 's', 'exclusive'), { granted: true, changed: true, freed: [] })
    t.match(await take(b, 'bob', 'x', 'exclusive'), { granted: true })
  })

  t.test(
    `${name}: a node without an application's contract took its locks away and told nobody: it leaves them to those that have it`,
    async (t) => {
      const [one, two] = await open(t)
      const [a, b] = [await node(t, one), await node(t, two, false)]
      a.here.add('ann')
      const files = range(1, 20).map((n) => `f${n}`)
      for (const file of files) await a.locks.acquire('app', { file }, 'ann', 'exclusive', 100)
      a.here.delete('ann')
      a.locks.left('app', 'ann')
      await eventually(() => a.freed.length + b.freed.length >= files.length)
      t.equal(b.freed.length, 0)
    },
  )
}

t.test('a broker whose contract has no locks yet frees none: it could tell nobody', (t) => {
  const locks = { locked: () => ({ type: 'locked' }), unlocked: () => ({ type: 'unlocked' }) }
  const contracts = new Map([
    ['older', { contract: {} }],
    ['newer', { contract: { locks } }],
  ])
  const { serves } = keepLocks({ contracts } as unknown as Registry, new EmbeddedSource(), () => {})
  t.same([serves('older'), serves('newer'), serves('unknown')], [false, true, false])
  t.end()
})
