import { JSONCodec } from 'nats'
import t from 'tap'
import { parsePosition } from '../../src/log/position.ts'
import { TestBroker } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { range } from '../support/collector.ts'
import { TestNats } from '../support/nats.ts'
import { SocketIoClient, TRANSPORTS } from '../support/socketio-client.ts'

/** More than NATS has on its way to a broker, of which the stream keeps a few. */
const EVENTS = 2_000
const PADDING = 'x'.repeat(20_000)

const codec = JSONCodec()

t.test(
  'a broker that stood still while the stream forgot events: every client is told, and goes on with what there is',
  async (t) => {
    const nats = await TestNats.start()
    const jsm = await (await nats.client()).jetstreamManager()
    await jsm.streams.add({ name: 'ROOMCAST_EVENTS', subjects: ['events.>'], max_msgs: 50 })
    const broker = await TestBroker.start({ NATS_URL: nats.url })
    t.teardown(async () => {
      await broker.stop()
      await nats.stop()
    })
    const js = await nats.jetstream()
    const publish = (n: number) =>
      Promise.all([
        js.publish('events.game-djinn.game_added', codec.encode({ data: { n, PADDING } })),
        js.publish('events.swe-agent.agent.connected', codec.encode({ data: { agent_id: 'a', n }, rooms: ['global'] })),
      ])
    const raw = await TestClient.connect(broker.url())
    await raw.subscribe(['game_added'])
    const clients = await Promise.all(
      Object.values(TRANSPORTS).map((transports) =>
        SocketIoClient.connect(`http://127.0.0.1:${broker.port}/ws`, { transports }),
      ),
    )
    t.teardown(() => clients.map((client) => client.close()))
    const numbers = () => raw.events.map(({ data }) => data.n)
    await publish(0)
    await eventually(() => numbers().length === 1 && clients.every(({ events }) => events.length === 1))

    process.kill(broker.pid, 'SIGSTOP')
    for (const n of range(1, EVENTS - 1)) await publish(n)
    process.kill(broker.pid, 'SIGCONT')

    await eventually(() => numbers().at(-1) === EVENTS - 1)
    const at = raw.frames.findIndex(({ type }) => type === 'events_missed')
    const told = raw.frames[at]
    const [before, after] = [raw.frames[at - 1], raw.frames[at + 1]]
    t.equal(told?.data.since.split('-')[0], before?.id?.split('-')[0])
    t.equal(raw.frames.filter(({ type }) => type === 'events_missed').length, 1)
    t.ok(before && after && after.data.n > before.data.n + 1, `${before?.data.n}, then ${after?.data.n}`)
    t.same(
      numbers(),
      [...range(0, before?.data.n), ...range(after?.data.n, EVENTS - 1)],
      'in order, and nothing else is missing',
    )
    // A client that is behind its reader when the gap is found is told from where it is itself, a few events earlier.
    const lost = await broker.metric('lost_events_total')
    const toldOf = sequenceOf(told?.data.oldest_available) - sequenceOf(told?.data.since) - 1
    t.ok(lost > 0 && lost <= toldOf, `${lost} lost, told of ${toldOf}`)

    for (const client of clients) {
      await client.connected(2)
      t.equal(client.connects[1]?.recovered, false)
    }
    await publish(EVENTS)
    for (const client of clients) {
      await eventually(() => client.events.at(-1)?.data.n === EVENTS)
      const got = client.events.map(({ data }) => data.n)
      t.same(got, [...range(0, got.length - 2), EVENTS], 'nothing came behind the gap before it was told')
    }
    t.match(broker.log, /the stream forgot events before they were read/)
  },
)

function sequenceOf(position: string): number {
  return parsePosition(position)?.seq as number
}
