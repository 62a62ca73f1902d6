import t from 'tap'
import { Connections, type ConnectionLimits, type Counted } from '../../src/guard/connections.ts'

const LIMITS: ConnectionLimits = {
  connectionsMax: 4,
  unauthenticatedMax: 3,
  unauthenticatedTimeoutMs: 1_000,
  perAddressMax: 0,
  perUserMax: 0,
}

function counting(limits: Partial<ConnectionLimits> = {}) {
  const figures = { connections: 0, connectionsOpened: 0 }
  const connections = new Connections({ ...LIMITS, ...limits }, figures)
  const closed: string[] = []
  const come = (
    name: string,
    { address, nobody = true, nowMs = 0 }: { address?: string; nobody?: boolean; nowMs?: number } = {},
  ): Counted => {
    connections.admit(address)
    const connection: Counted = {
      discard: () => {
        closed.push(name)
        connections.closed(connection)
      },
    }
    connections.opened(connection, address)
    if (nobody) connections.waits(connection, nowMs)
    return connection
  }
  return { connections, figures, closed, come }
}

const code = { code: 'TOO_MANY_CONNECTIONS' }

t.test("past the limit of those that are nobody's, the oldest of them is closed for the one that comes", async (t) => {
  const { connections, figures, closed, come } = counting({ connectionsMax: 10 })
  for (const name of ['a', 'b', 'c', 'd']) come(name)
  t.same(closed, ['a'])
  t.equal(figures.connections, 3)
  connections.waitsNoLonger(come('e'))
  come('f')
  t.same(closed, ['a', 'b'], 'e said who it is, and counts no more')
})

t.test("in a full process whoever is nobody's gives way; where nobody is, the one that comes is refused", async (t) => {
  const { figures, closed, come } = counting()
  come('known', { nobody: false })
  for (const name of ['a', 'b', 'c']) come(name)
  come('known too', { nobody: false })
  t.same(closed, ['a'])
  for (const name of ['1', '2']) come(name, { nobody: false })
  t.same(closed, ['a', 'b', 'c'])
  t.throws(() => come('one too many'), code)
  t.equal(figures.connections, 4)
  t.equal(figures.connectionsOpened, 7)
})

t.test("whoever is nobody's for too long is closed; who becomes nobody again has as long anew", async (t) => {
  const { connections, closed, come } = counting()
  come('a', { nowMs: 0 })
  const b = come('b', { nowMs: 500 })
  connections.waitsNoLonger(b)
  connections.sweep(999)
  t.same(closed, [])
  connections.waits(b, 900)
  connections.waits(b, 1_500)
  connections.sweep(1_000)
  t.same(closed, ['a'])
  connections.sweep(1_899)
  t.same(closed, ['a'])
  connections.sweep(1_900)
  t.same(closed, ['a', 'b'])
})

t.test('an address has so many connections, and one more once one of them is closed', async (t) => {
  const { connections, come } = counting({ perAddressMax: 2, connectionsMax: 10 })
  t.equal(connections.countsAddresses, true)
  const first = come('a', { address: '::1' })
  come('b', { address: '::1' })
  t.throws(() => come('c', { address: '::1' }), { ...code, message: /MAX_CONNECTIONS_PER_ADDRESS/ })
  come('d', { address: '10.0.0.1' })
  connections.closed(first)
  come('e', { address: '::1' })
  t.throws(() => come('f', { address: '::1' }), code)
})

t.test('a user has so many connections, and one more once one of them is closed', async (t) => {
  const { connections } = counting({ perUserMax: 2 })
  for (let i = 0; i < 2; i++) {
    connections.admitUser('ann')
    connections.userCame('ann')
  }
  t.throws(() => connections.admitUser('ann'), { ...code, message: /MAX_CONNECTIONS_PER_USER/ })
  connections.admitUser('ben')
  connections.userWent('ann')
  connections.admitUser('ann')
})

t.test(
  "what waits for connections that are nobody's had a bound for each alone: all together it has one, and those with the most of it end",
  (t) => {
    const { connections, closed, come } = counting({ connectionsMax: 100, unauthenticatedMax: 50 })
    const holding = (name: string, heldBytes: number) => Object.assign(come(name), { heldBytes })
    const known = holding('known', 1e9)
    connections.waitsNoLonger(known)
    for (let n = 0; n < 7; n++) holding(`large ${n}`, 8e6)
    holding('small', 1_000)
    connections.sweep(0)
    t.same(closed, [])
    holding('largest', 30e6)
    connections.sweep(0)
    t.same(closed, ['largest'])
    t.end()
  },
)

t.test('thousands that are late at once were all closed in one turn of the event loop', async (t) => {
  const { connections, closed, come } = counting({ connectionsMax: 1_000, unauthenticatedMax: 1_000 })
  for (let n = 0; n < 900; n++) come(`${n}`)
  come('later', { nowMs: 500 })
  connections.sweep(1_000)
  let most = closed.length
  for (let turn = 0; turn < 20; turn++) {
    const before = closed.length
    await new Promise((resolve) => setImmediate(resolve))
    most = Math.max(most, closed.length - before)
  }
  t.same(
    closed,
    Array.from({ length: 900 }, (_, n) => `${n}`),
  )
  t.ok(most <= 256, `${most}`)
})
