import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { TestBroker } from '../support/broker.ts'
import { TestClient } from '../support/client.ts'
import { Publisher } from '../support/load.ts'
import { TestNats } from '../support/nats.ts'

t.test('who is alone in a room, then with others, then alone again, gets every event once and in order', async (t) => {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(() => broker.stop())
  const publisher = new Publisher(nats, 500)
  const join = async () => {
    const client = await TestClient.connect(broker.url())
    t.teardown(() => client.close())
    await client.subscribe(['game_added'])
    return client
  }
  const numbersOf = (client: TestClient) => client.events.map(({ data }) => data.n as number)
  const hears = (client: TestClient, events: number) => client.until(() => client.events.length >= events)

  const first = await join()
  await hears(first, 50)
  const guests: TestClient[] = []
  for (let round = 0; round < 10; round++) {
    const guest = await join()
    guests.push(guest)
    await hears(guest, 20)
    await first.until(() => (numbersOf(first).at(-1) as number) >= (numbersOf(guest).at(-1) as number))
    // Closed, unsubscribed, cut without a word: each way out leaves the first alone.
    if (round % 3 === 0) await guest.close()
    else if (round % 3 === 1) guest.send({ type: 'unsubscribe', data: { events: ['game_added'] } })
    else guest.socket.terminate()
    await sleep(round * 5)
    await hears(first, first.events.length + 20)
  }
  // It goes, and comes back when nobody else is there.
  first.send({ type: 'unsubscribe', data: { events: ['game_added'] } })
  await first.settle()
  const left = first.events.length
  await first.subscribe(['game_added'])
  await hears(first, left + 50)
  const stored = await publisher.stop()
  await first.until(() => numbersOf(first).at(-1) === stored - 1)

  const consecutive = (numbers: number[]) => numbers.every((n, i) => i === 0 || n === (numbers[i - 1] as number) + 1)
  const heard = numbersOf(first)
  t.ok(consecutive(heard.slice(0, left)))
  t.ok(consecutive(heard.slice(left)))
  for (const guest of guests) t.ok(consecutive(numbersOf(guest)))
})
