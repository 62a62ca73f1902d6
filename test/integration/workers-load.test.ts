import t from 'tap'
import { eventually } from '../support/client.ts'
import { Crowd, eventOf } from '../support/crowd.ts'
import { Publisher } from '../support/load.ts'
import { readyz, startWorkers as start, WORKERS, workersOf } from '../support/workers.ts'

const MANY = { raw: 20, ofEachTransport: 6 }

t.test('a worker killed under load: its clients come back to the others, and nothing is missing', async (t) => {
  const { nats, broker } = await start(t)
  const clients = await Crowd.gather(t, broker.port, MANY)
  const publisher = new Publisher(nats, 200, eventOf)
  await clients.getMore(50)
  for (let round = 0; round < 2; round++) {
    const [victim] = workersOf(broker) as [number]
    process.kill(victim, 'SIGKILL')
    await eventually(
      async () =>
        (await broker.metric('worker_restarts_total')) === round + 1 && (await readyz(broker)).reasons.length === 0,
    )
    await clients.getMore(100)
  }
  t.ok(
    clients.raw.some(({ connects }) => connects > 1),
    'somebody had to come back',
  )
  await clients.hasAll(t, await publisher.stop())
  t.match(broker.log, /"worker":\d+,"code":null,"signal":"SIGKILL"/)
  t.equal(workersOf(broker).length, WORKERS)
})

t.test('SIGHUP under load replaces every worker, one after another, and nothing is missing', async (t) => {
  const { nats, broker } = await start(t)
  const before = workersOf(broker)
  const clients = await Crowd.gather(t, broker.port, MANY)
  const publisher = new Publisher(nats, 200, eventOf)
  await clients.getMore(50)
  const fewest: number[] = []
  const watching = setInterval(() => fewest.push(workersOf(broker).length), 50)
  t.teardown(() => clearInterval(watching))
  const deliveries = await broker.metric('deliveries_total')
  process.kill(broker.pid, 'SIGHUP')
  await eventually(() => broker.log.includes('"reloaded"'), 60_000)
  clearInterval(watching)
  t.ok(Math.min(...fewest) >= WORKERS - 1)
  t.same(
    workersOf(broker).filter((pid) => before.includes(pid)),
    [],
    'all are new',
  )
  t.ok((await broker.metric('deliveries_total')) >= deliveries, 'what the old ones counted still counts')
  await clients.getMore(100)
  await clients.hasAll(t, await publisher.stop())
  t.same((await readyz(broker)).reasons, [])
})
