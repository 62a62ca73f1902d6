import { type ChildProcess, spawn } from 'node:child_process'
import t from 'tap'
import { CodingAssistant, counts, first, settle, someone } from '../support/coding-assistant.ts'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'
import type { SocketIoClient } from '../support/socketio-client.ts'

const all = await CodingAssistant.start()
/** A lock goes this long after its holder. Tests wait for it, and look only at the order of things. */
const lockOf = (filePath: string, lockType?: string) => ({
  projectId: 'p',
  filePath,
  ...(lockType ? { lockType } : {}),
})
const lock = (client: SocketIoClient, filePath: string, lockType?: string) =>
  client.ask('file:lock', lockOf(filePath, lockType))
const unlock = (client: SocketIoClient, filePath: string) => client.ask('file:unlock', lockOf(filePath))

t.test('two clients on two brokers race for one exclusive lock 200 times: exactly one wins each time', async (t) => {
  const names = [someone('ann'), someone('bob')]
  const [ann, bob] = await Promise.all([
    all.login(0, names[0] as string, ['project:p']),
    all.login(1, names[1] as string, ['project:p']),
  ])
  const watcher = await all.login(1, someone('watcher'), ['project:p'])
  const wins = [0, 0]
  for (let round = 0; round < 200; round++) {
    const outcomes = await Promise.all([lock(ann, 'raced'), lock(bob, 'raced')])
    const winners = outcomes.flatMap(({ status }, i) => (status === 'success' ? [i] : []))
    const winner = winners[0] as number
    if (winners.length !== 1) t.fail(`round ${round}: ${JSON.stringify(outcomes)}`)
    const loser = outcomes[1 - winner]
    if (loser.code !== 'FILE_LOCKED' || loser.holder !== names[winner])
      t.fail(`round ${round}: ${JSON.stringify(loser)}`)
    wins[winner] = (wins[winner] as number) + 1
    if ((await unlock(winner === 0 ? ann : bob, 'raced')).status !== 'success')
      t.fail(`round ${round}: the winner could not unlock`)
  }
  t.equal((wins[0] as number) + (wins[1] as number), 200)
  await watcher.until(() => watcher.of('file:unlocked').length === 200)
  t.equal(watcher.of('file:locked').length, 200)
  t.comment(`won: ${wins}`)
})

t.test('ten clients race at once, and again when it is freed', async (t) => {
  const clients = await Promise.all(Array.from({ length: 10 }, (_, i) => all.login((i % 2) as 0 | 1, someone('racer'))))
  let left = [...clients]
  while (left.length > 0) {
    const outcomes = await Promise.all(left.map((client) => lock(client, 'crowd')))
    const winners = left.filter((_, i) => outcomes[i].status === 'success')
    t.equal(winners.length, 1)
    await unlock(winners[0] as SocketIoClient, 'crowd')
    left = left.filter((client) => client !== winners[0])
  }
})

t.test('exclusive and shared, over two brokers', async (t) => {
  const [ann, bob, cy] = [someone('ann'), someone('bob'), someone('cy')]
  const [a, b, c] = await Promise.all([
    all.login(0, ann, ['project:p']),
    all.login(1, bob, ['project:p']),
    all.login(1, cy),
  ])
  t.match(await lock(a, 'f', 'shared'), { status: 'success' })
  t.match(await lock(b, 'f', 'shared'), { status: 'success' }, 'shared locks coexist')
  t.match(await lock(c, 'f', 'exclusive'), { status: 'error', code: 'FILE_LOCKED', holder: ann })
  t.match(await first(c, 'error'), { code: 'FILE_LOCKED', message: String, holder: ann, filePath: 'f', projectId: 'p' })
  t.match(
    await lock(a, 'f'),
    { status: 'error', code: 'FILE_LOCKED', holder: bob },
    'no upgrade while another holds it',
  )
  await unlock(b, 'f')
  t.match(await lock(a, 'f'), { status: 'success' }, 'exclusive is the default, and the only holder may change over')
  t.match(await lock(b, 'f', 'shared'), { code: 'FILE_LOCKED', holder: ann })
  t.match(await lock(a, 'f'), { status: 'success' }, 'what one holds one may ask for again')
  t.match(await unlock(b, 'f'), { code: 'FILE_LOCKED', holder: ann }, 'only the holder unlocks')
  t.match(await unlock(a, 'f'), { status: 'success' })
  t.match(await unlock(a, 'f'), { code: 'FILE_NOT_LOCKED' })
  t.match(await lock(c, 'f'), { status: 'success' })
  await first(c, 'file:locked')
  t.match(c.of('file:locked')[0]?.[1], { timestamp: String, userId: cy, projectId: 'p' })
  t.same(
    await first(c, 'file:locked'),
    { projectId: 'p', filePath: 'f', lockType: 'exclusive', userId: cy },
    'who is not in the project is told alone',
  )
  await settle(a, b, c)
  await a.until(() => a.of('file:locked').filter(([{ filePath }]) => filePath === 'f').length === 5)
  const seen = (client: SocketIoClient) =>
    client.arrivals
      .filter(({ event, args: [data] }) => event.startsWith('file:') && data.filePath === 'f')
      .map(({ event, args: [data] }) => `${event} ${data.lockType} ${data.userId}`)
  const told = [
    `file:locked shared ${ann}`,
    `file:locked shared ${bob}`,
    `file:unlocked shared ${bob}`,
    `file:locked exclusive ${ann}`,
    `file:locked exclusive ${ann}`,
    `file:unlocked exclusive ${ann}`,
    `file:locked exclusive ${cy}`,
  ]
  t.same(seen(a), told)
  t.same(seen(b), told.toSpliced(4, 1), 'what changes nothing is told to who asked')
})

t.test('a file of a long name, and the same path in another project, are resources of their own', async (t) => {
  const [a, b] = await Promise.all([all.login(0, someone('a')), all.login(1, someone('b'))])
  const long = 'ä/'.repeat(500)
  t.match(await lock(a, long), { status: 'success' })
  t.match(await lock(b, long), { code: 'FILE_LOCKED' })
  t.match(await b.ask('file:lock', { projectId: 'q', filePath: long }), { status: 'success' })
  t.match(await lock(b, `${long}x`), { status: 'success' })
})

t.test("a lock outlives one of its holder's connections, and goes with the last; once told, wherever", async (t) => {
  const [ann, bob] = [someone('ann'), someone('bob')]
  const [a1, a2] = await Promise.all([all.login(0, ann), all.login(1, ann)])
  const watchers = await Promise.all([all.login(0, bob, ['project:p']), all.login(1, someone('cy'), ['project:p'])])
  const b = watchers[0] as SocketIoClient
  await lock(a1, 'g')
  a1.close()
  await new Promise((resolve) => setTimeout(resolve, 13_000))
  t.match(
    await lock(b, 'g'),
    { code: 'FILE_LOCKED', holder: ann },
    'another connection of the holder, on another broker',
  )
  a2.close()
  await eventually(async () => (await lock(b, 'g')).status === 'success')
  const mine = (client: SocketIoClient) =>
    client.arrivals
      .filter(({ event, args: [data] }) => event.startsWith('file:') && data.filePath === 'g')
      .map(({ event, args: [data] }) => `${event} ${data.userId}`)
  for (const client of watchers) {
    await client.until(() => mine(client).length === 3)
    t.same(mine(client), [`file:locked ${ann}`, `file:unlocked ${ann}`, `file:locked ${bob}`])
  }
})

t.test('nobody asking, a lock that ran out is told as unlocked, once', async (t) => {
  const ann = someone('ann')
  const a = await all.login(0, ann)
  const watchers = await Promise.all([
    all.login(0, someone('x'), ['project:p']),
    all.login(1, someone('y'), ['project:p']),
  ])
  await Promise.all([lock(a, 'h1'), lock(a, 'h2', 'shared')])
  a.close()
  for (const client of watchers) await client.until(() => client.of('file:unlocked').length === 2)
  const z = await all.login(1, someone('z'))
  for (const file of ['h1', 'h2']) t.match(await lock(z, file), { status: 'success' })
  for (const client of watchers) await client.until(() => client.of('file:locked').length === 4)
  for (const client of watchers) t.same(counts(client, 'file:unlocked'), [2])
})

t.test('a holder who comes back within the lease keeps the lock', async (t) => {
  const ann = someone('ann')
  const a = await all.login(0, ann)
  const b = await all.login(1, someone('bob'), ['project:p'])
  await lock(a, 'i')
  a.close()
  await new Promise((resolve) => setTimeout(resolve, 6_000))
  const back = await all.login(1, ann)
  await new Promise((resolve) => setTimeout(resolve, 8_000))
  t.match(await lock(b, 'i'), { code: 'FILE_LOCKED', holder: ann })
  t.match(await unlock(back, 'i'), { status: 'success' })
  t.match(await lock(b, 'i'), { status: 'success' })
})

/** A client in a process of its own, that holds a lock until it is killed. */
async function holder(port: number, user: string, filePath: string): Promise<ChildProcess> {
  const script = `
    const { io } = require('socket.io-client')
    const socket = io('http://127.0.0.1:${port}')
    socket.emit('auth:session', { sessionId: ${JSON.stringify(token(user, { project_access: ['*'] }))} })
    socket.emit('file:lock', ${JSON.stringify(lockOf(filePath))}, ({ status }) => console.log(status))`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const said = await new Promise((resolve) =>
    child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString().trim())),
  )
  if (said !== 'success') throw new Error(`the holder was answered ${said}`)
  return child
}

t.test("the holder's process is killed with kill -9: its lock is free within its lease", async (t) => {
  const ann = someone('ann')
  const child = await holder(all.brokers[0].codingAssistantPort, ann, 'j')
  const b = await all.login(1, someone('bob'), ['project:p'])
  t.match(await lock(b, 'j'), { code: 'FILE_LOCKED', holder: ann })
  child.kill('SIGKILL')
  await eventually(async () => (await lock(b, 'j')).status === 'success')
  t.same(
    b.of('file:unlocked').map(([{ userId }]) => userId),
    [ann],
  )
})

t.test("the holder's broker is killed with kill -9: its locks are free within its lease, and it says so", async (t) => {
  const third = await TestBroker.start({ NATS_URL: all.nats.url })
  t.teardown(() => third.stop())
  const ann = someone('ann')
  const a = await all.connectTo(third.codingAssistantPort, { options: { reconnection: false } })
  await a.ask('auth:session', { sessionId: token(ann, { project_access: ['*'] }) })
  for (const file of ['k1', 'k2']) t.match(await lock(a, file), { status: 'success' })
  const b = await all.login(1, someone('bob'), ['project:p'])
  t.match(await lock(b, 'k1'), { code: 'FILE_LOCKED', holder: ann })
  await third.kill('SIGKILL')
  await eventually(async () => (await lock(b, 'k1')).status === 'success')
  await b.until(() => b.of('file:unlocked').length === 2)
  t.same(
    b
      .of('file:unlocked')
      .map(([{ filePath, userId }]) => [filePath, userId])
      .sort(),
    [
      ['k1', ann],
      ['k2', ann],
    ],
  )
})

t.test('a user may hold so many locks, and no more', async (t) => {
  const broker = await TestBroker.start({ NATS_URL: all.nats.url, MAX_LOCKS_PER_USER: 3 })
  t.teardown(() => broker.stop())
  const client = await all.connectTo(broker.codingAssistantPort)
  await client.ask('auth:session', { sessionId: token(someone('greedy'), { project_access: ['*'] }) })
  for (const file of ['l1', 'l2', 'l3']) t.match(await lock(client, file), { status: 'success' })
  t.match(await lock(client, 'l4'), { status: 'error', code: 'TOO_MANY_LOCKS' })
  t.match(await lock(client, 'l3', 'shared'), { status: 'success' })
  await unlock(client, 'l1')
  t.match(await lock(client, 'l4'), { status: 'success' })
})

t.test('a lock that the store grants after its user lost the right to it is not taken', async (t) => {
  const nats = await TestNats.start()
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(async () => {
    await broker.stop()
    await nats.stop()
  })
  const login = async (claims: object = {}) => {
    const client = await all.connectTo(broker.codingAssistantPort)
    await client.ask('auth:session', { sessionId: token(someone('holder'), { project_access: ['*'], ...claims }) })
    await client.ask('project:join', { projectId: 'p' })
    return client
  }
  const late = await login({ exp: Math.ceil(Date.now() / 1000) + 2 })
  const other = await login()
  nats.signal('SIGSTOP')
  late.socket.emit('file:lock', lockOf('late'))
  await late.until(() => late.disconnects.length > 0)
  nats.signal('SIGCONT')
  t.match(await lock(other, 'other'), { status: 'success' })
  t.match(await lock(other, 'late'), { status: 'success' })
  await other.until(() => other.of('file:locked').length === 2)
  t.same(
    other.of('file:locked').map(([{ filePath }]) => filePath),
    ['other', 'late'],
  )
})
