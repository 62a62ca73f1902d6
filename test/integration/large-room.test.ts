import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { TestBroker } from '../support/broker.ts'
import { Publisher, ReturningClient } from '../support/load.ts'
import { TestNats } from '../support/nats.ts'

const CLIENTS = 700

t.test(
  'a room that grows large under load: nobody misses an event or gets one twice while its subscribers are put in order',
  async (t) => {
    const nats = await TestNats.start()
    t.teardown(() => nats.stop())
    const broker = await TestBroker.start({ NATS_URL: nats.url })
    t.teardown(() => broker.stop())
    const publisher = new Publisher(nats, 50)
    const clients = Array.from({ length: CLIENTS }, () => new ReturningClient(() => [broker.url()]))
    t.teardown(() => Promise.all(clients.map((client) => client.end())))
    const everybodyHas = async (n: number) => {
      while (clients.some(({ numbers }) => (numbers.at(-1) ?? -1) < n)) await sleep(50)
    }
    await everybodyHas(0)
    // Nobody comes for two looks of a second: the order is made in between.
    await sleep(4_000)
    const stored = await publisher.stop()
    await everybodyHas(stored - 1)
    for (const { numbers, connects } of clients) {
      const [first = -1] = numbers
      t.same([numbers, connects], [Array.from({ length: stored - first }, (_, i) => first + i), 1])
    }
  },
)
