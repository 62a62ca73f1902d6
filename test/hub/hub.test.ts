import t, { type Test } from 'tap'
import { onFault } from '../../src/guarded.ts'
import { Hub } from '../../src/hub/hub.ts'
import { compilePredicate } from '../../src/hub/predicate.ts'
import { ApplicationRooms } from '../../src/hub/room.ts'
import { CATCHING_UP, LIVE, Subscriber, type SubscriberOwner } from '../../src/hub/subscriber.ts'
import { Projection } from '../../src/hub/projection.ts'
import type { Peer, Wire } from '../../src/hub/wire.ts'
import { LogEntry } from '../../src/log/entry.ts'
import { EventLog } from '../../src/log/event-log.ts'
import type { StoredMessage } from '../../src/log/event.ts'
import { Meters } from '../../src/meters.ts'
import { ModelApp, ModelPeer } from '../simulation/model-app.ts'
import { ModelSource } from '../simulation/model-source.ts'
import { eventually } from '../support/client.ts'
import { range } from '../support/collector.ts'

const LIMIT_BYTES = 4_000

interface Body {
  readonly rooms: readonly string[]
  readonly conversation?: string
  readonly pad?: number
}

/** A hub over a stream and sockets in memory. */
class Bench {
  readonly source = new ModelSource()
  readonly app = new ModelApp()
  readonly participants = new Map<string, string[]>()
  readonly application = new ApplicationRooms<Subscriber>(
    'app',
    (conversation) => this.participants.get(conversation) ?? [],
  )
  readonly meters = new Meters()
  readonly log: EventLog
  readonly hub: Hub

  static async open(ringEvents = 1_000): Promise<Bench> {
    const bench = new Bench(ringEvents)
    bench.source.prompt = true
    await bench.hub.start()
    return bench
  }

  private constructor(ringEvents: number) {
    this.log = new EventLog({
      source: this.source,
      ringEvents,
      ringBytes: 10_000_000,
      backfillBytes: 1_000_000,
      route: (message, position) => this.route(message, position),
    })
    this.hub = new Hub(this.log, this.meters, { bufferBytes: LIMIT_BYTES / 4, stallMs: 1_000 })
  }

  wire(id = 'w'): Wire {
    return {
      id,
      format: 'json',
      binary: false,
      encodeEvent: ({ data }, position) =>
        Buffer.from(`[${'x'.repeat((data.pad as number | undefined) ?? 1)},"${position}"]`),
      encodeMessage: ({ type }) => Buffer.from(type),
      publish: (topic, frame) => this.app.publish(topic, frame),
    }
  }

  store(body: Body, count = 1): void {
    for (let n = 0; n < count; n++) this.source.store('events.app.thing', JSON.stringify(body))
  }

  /** Stores events of one room and lets the log read them. */
  tell(body: Body, count = 1): void {
    this.store(body, count)
    this.source.deliver()
  }

  client(wire = this.wire(), user = 'ann'): Client {
    const client = new Client(this, wire, user)
    this.hub.open(client)
    return client
  }

  /** Turns of the event loop, with what uWS does at their ends. */
  async turns(count = 8): Promise<void> {
    for (let n = 0; n < count; n++) {
      this.app.flush()
      await new Promise((resolve) => setImmediate(resolve))
    }
    this.app.flush()
  }

  /** A client's program reads again, so many socket's fulls. */
  async drain(client: Client, times: number): Promise<void> {
    client.socket.stalled = false
    for (let n = 0; n < times; n++) {
      client.socket.take(LIMIT_BYTES)
      await this.turns()
    }
  }

  private route(message: StoredMessage, position: string): LogEntry {
    const data = JSON.parse(Buffer.from(message.body).toString()) as Body & Record<string, unknown>
    const envelope = { type: 'thing', data, timestamp: '' }
    const { rooms, conversation } = data
    return new LogEntry(
      message,
      position,
      {
        application: this.application,
        type: 'thing',
        rooms,
        users: undefined,
        conversation,
        fieldValues: [['blue']],
        latestKey: undefined,
      },
      envelope,
      () => envelope,
    )
  }
}

const NO_OWNER: SubscriberOwner = { stalled: () => {}, missed: () => {} }

class Client extends Subscriber {
  /** Positions in the order of their arrival, and what it was told it missed. */
  readonly got: string[] = []
  readonly told: string[] = []
  ended = false
  /** Called when the log no longer has what it needs. */
  missed = (since: string, oldest: string): void => void this.told.push(`${since} → ${oldest}`)

  constructor(bench: Bench, wire: Wire, user: string) {
    const peer = new ModelPeer(
      bench.app,
      {
        dropped: (frame) => bench.hub.dropped(this, frame),
        drained: () => bench.hub.drained(this),
        received: (frame) =>
          void this.got.push(/"([^"]+)"\]$/.exec(Buffer.from(frame).toString())?.[1] ?? Buffer.from(frame).toString()),
      },
      LIMIT_BYTES,
    )
    super({
      application: bench.application,
      wire,
      userId: user,
      peer,
      owner: {
        missed: (since, oldest) => this.missed(since, oldest),
        stalled: () => {
          this.ended = true
        },
      },
    })
  }

  get socket(): ModelPeer {
    return this.peer as ModelPeer
  }
}

const positions = (epoch: string, from: number, to: number) => range(from, to).map((seq) => `${epoch}-${seq}`)

t.test('live clients are told when the stream is another one, and get all of the new one', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['a'])
  bench.tell({ rooms: ['a'] }, 3)
  await bench.turns()
  bench.source.renew()
  bench.store({ rooms: ['a'] }, 2)
  bench.source.deliver()
  bench.source.deliver()
  await bench.turns()
  t.same(client.told, ['e1-3 → e2-1'])
  t.same(client.got, [...positions('e1', 1, 3), ...positions('e2', 1, 2)])
  t.equal(client.state, LIVE)
})

t.test('a stream that was cut short is not delivered once more from its first event', async (t) => {
  const bench = await Bench.open()
  const [live, behind, late] = [bench.client(), bench.client(), bench.client()]
  for (const client of [live, behind]) bench.hub.join(client, ['a'])
  bench.tell({ rooms: ['a'] }, 5)
  await bench.turns()
  // So slow that it is behind when the end goes.
  behind.socket.stalled = true
  bench.tell({ rooms: ['a'], pad: LIMIT_BYTES }, 5)
  await bench.turns()
  t.equal(behind.state, CATCHING_UP)
  bench.source.cut(8)
  bench.source.deliver()
  bench.hub.joinSince(late, ['a'], undefined, 6)
  bench.tell({ rooms: ['a'] }, 4)
  await bench.turns()
  await bench.drain(behind, 8)
  t.same(live.told, ['e1-10 → e1-9'])
  t.equal(behind.told.length, 1)
  t.same(live.got, [...positions('e1', 1, 10), ...positions('e1', 9, 12)])
  t.same(behind.got, positions('e1', 1, 12), 'what it had yet to get, and then what was given anew')
  t.same(late.got, positions('e1', 7, 12))
})

t.test('what a stream gives anew arrives, where it was cut short before the broker had read that far', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.store({ rooms: ['a'] }, 5)
  bench.source.trim(6)
  await bench.log.bounds()
  bench.hub.joinSince(client, ['a'], undefined, 3)
  await bench.turns()
  bench.source.cut(4)
  bench.tell({ rooms: ['a'] }, 3)
  await bench.turns()
  t.same(client.told, ['e1-0 → e1-5'])
  t.same(client.got, positions('e1', 5, 7))
})

t.test(
  'of subscribers that share a socket all are told of a cut, although the first that is told ends the socket',
  async (t) => {
    const bench = await Bench.open()
    const clients = [bench.client(), bench.client()]
    const told: number[] = []
    for (const [index, client] of clients.entries()) {
      bench.hub.join(client, ['a'])
      client.missed = () => {
        told.push(index)
        for (const each of clients) bench.hub.close(each, true)
      }
    }
    bench.tell({ rooms: ['a'] }, 5)
    await bench.turns()
    bench.source.cut(3)
    bench.source.deliver()
    t.same(told.sort(), [0, 1])
    await bench.turns()
    t.equal(bench.hub.catchUp.subscribers.size, 0)
  },
)

t.test('a subscriber that is closed joins no room: nobody would take it out again', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.close(client)
  bench.hub.join(client, ['a'])
  bench.hub.joinSince(client, ['b'], undefined, 0)
  t.same([...bench.application.rooms.keys()], [])
})

t.test('an event whose frame came before a reset does not keep back the one of the same number after it', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['a'])
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  client.native = false
  bench.hub.join(client, ['b'])
  client.begunSeq = 1
  bench.source.renew()
  bench.tell({ rooms: ['a'] })
  bench.source.deliver()
  await bench.turns()
  t.same(client.got, ['e1-1', 'e2-1'])
})

t.test(
  'frames that uWS still holds when a client joins rooms since, and drops then, are not taken for delivered',
  async (t) => {
    const bench = await Bench.open()
    const client = bench.client()
    bench.hub.join(client, ['a'])
    client.socket.stalled = true
    bench.tell({ rooms: ['a'], pad: LIMIT_BYTES + 1 })
    await bench.turns()
    // Published in this turn, and dropped at its end.
    bench.tell({ rooms: ['a'] }, 6)
    t.equal(client.state, LIVE)
    bench.hub.joinSince(client, ['b'], undefined, 1)
    await bench.turns()
    client.socket.stalled = false
    client.socket.take(2 * LIMIT_BYTES)
    await bench.turns()
    t.same(client.got, positions('e1', 1, 7))
  },
)

t.test(
  'a subscriber that leaves its topics is fed only once uWS has written or dropped what it holds for it',
  async (t) => {
    const bench = await Bench.open()
    const client = bench.client()
    bench.hub.join(client, ['a'])
    bench.tell({ rooms: ['a'] }, 2)
    await bench.turns()
    client.socket.stalled = true
    bench.tell({ rooms: ['a'], pad: 900 }, 8)
    bench.tell({ rooms: ['b'] })
    for (let n = 0; n < 2; n++) await new Promise((resolve) => setImmediate(resolve))
    bench.hub.joinSince(client, ['b'], undefined, 2)
    // In the same turn, before anything of it is written.
    await new Promise((resolve) => setImmediate(resolve))
    await bench.turns()
    await bench.drain(client, 4)
    t.same(client.got, positions('e1', 1, 11))
  },
)

t.test('an event of a room that a client was in does not come again by one that it joins since', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['a'])
  for (const rooms of [['a'], ['b'], ['a', 'b']]) bench.tell({ rooms })
  await bench.turns()
  t.same(client.got, ['e1-1', 'e1-3'])
  bench.hub.joinSince(client, ['b'], undefined, 0)
  await bench.turns()
  t.same(client.got, ['e1-1', 'e1-3', 'e1-2'])
  bench.hub.joinSince(client, ['a'], undefined, 0)
  await bench.turns()
  t.same(
    client.got,
    ['e1-1', 'e1-3', 'e1-2', 'e1-1'],
    'asked for once more, it comes once more, but for what another room brought',
  )
})

t.test('a heartbeat that is dropped does not put back a subscriber that is fed from the log', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['a'])
  bench.tell({ rooms: ['a'] }, 3)
  await bench.turns()
  client.native = false
  bench.hub.join(client, ['b'])
  await bench.turns()
  bench.hub.droppedAfter([client], 1)
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  t.same(client.got, positions('e1', 1, 4))
})

t.test('an event in two rooms comes once after a wire was made again', async (t) => {
  const bench = await Bench.open()
  const other = bench.client(bench.wire('other'))
  const others = [bench.client(bench.wire('other')), bench.client(bench.wire('other'))]
  for (const each of [other, ...others]) bench.hub.join(each, ['a'])
  const first = [bench.client(bench.wire()), bench.client(bench.wire())]
  for (const each of first) bench.hub.join(each, ['a'])
  for (const each of first) bench.hub.close(each)
  const second = [bench.client(bench.wire()), bench.client(bench.wire())]
  for (const each of second) bench.hub.join(each, ['a', 'b'])
  bench.tell({ rooms: ['a', 'b'] })
  await bench.turns()
  t.same(
    [other, ...others, ...second].map(({ got }) => got),
    Array.from({ length: 5 }, () => ['e1-1']),
  )
})

t.test('who comes to a conversation late gets what went by since, and nothing twice', async (t) => {
  const bench = await Bench.open()
  const [ann, bob] = [bench.client(bench.wire(), 'ann'), bench.client(bench.wire(), 'bob')]
  for (const client of [ann, bob]) bench.hub.join(client, ['a', 'talk'])
  bench.tell({ rooms: ['talk'], conversation: 'c' })
  bench.tell({ rooms: ['a'] })
  bench.tell({ rooms: ['talk'], conversation: 'c' })
  bench.tell({ rooms: ['talk'], conversation: 'd' })
  await bench.turns()
  t.same([ann.got, bob.got], [['e1-2'], ['e1-2']])
  bench.participants.set('c', ['ann'])
  bench.hub.participates(bench.application, 'c', 'ann', 1)
  bench.tell({ rooms: ['talk'], conversation: 'c' })
  await bench.turns()
  t.same([ann.got, bob.got], [['e1-2', 'e1-3', 'e1-5'], ['e1-2']])
  bench.participants.set('d', ['bob'])
  bench.hub.participates(bench.application, 'd', 'bob', 4)
  t.equal(bob.state, LIVE, 'nothing went by: nothing is fed')
})

t.test('a filter changed while behind counts from the cursor on', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['a'], compilePredicate([], [{ field: 0, allowed: new Set(['red']) }]))
  bench.hub.join(client, ['b'])
  client.socket.stalled = true
  bench.tell({ rooms: ['b'], pad: LIMIT_BYTES }, 3)
  await bench.turns()
  t.equal(client.state, CATCHING_UP)
  bench.tell({ rooms: ['a'] }, 2)
  await bench.turns()
  bench.hub.join(client, ['a'])
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  await bench.drain(client, 8)
  t.same(client.got, positions('e1', 1, 6))
})

t.test('a filter changed after going back counts from where the client had come', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['a'], compilePredicate([], [{ field: 0, allowed: new Set(['red']) }]))
  bench.hub.join(client, ['c'])
  bench.tell({ rooms: ['a'] }, 2)
  bench.tell({ rooms: ['a', 'c'] })
  await bench.turns()
  bench.hub.leave(client, ['c'])
  bench.hub.joinSince(client, ['b'], undefined, 1)
  bench.hub.join(client, ['a'])
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  t.same(client.got, positions('e1', 3, 4), 'and does not bring again what came by a room that it has left')
})

t.test(
  'an event in three rooms, two of which share no wire, comes once to who is in one of them and the third',
  async (t) => {
    const bench = await Bench.open()
    const [one, two, both] = [
      bench.wire('one'),
      bench.wire('two'),
      [bench.client(bench.wire('one')), bench.client(bench.wire('two'))],
    ]
    const [x, y] = [bench.client(one), bench.client(two)]
    bench.hub.join(x, ['b'])
    bench.hub.join(y, ['c', 'd'])
    for (const client of both) bench.hub.join(client, ['d'])
    bench.tell({ rooms: ['b', 'c', 'd'] })
    await bench.turns()
    t.same(
      [x, y, ...both].map(({ got }) => got),
      Array.from({ length: 4 }, () => ['e1-1']),
    )
  },
)

t.test('what the stream forgets while it is read for a client that is behind, the client is told', async (t) => {
  const bench = await Bench.open(4)
  const client = bench.client()
  bench.tell({ rooms: ['a'] }, 20)
  await bench.turns()
  const { read } = bench.source
  bench.source.read = async (...args) => {
    bench.source.trim(10)
    return read.apply(bench.source, args)
  }
  bench.hub.joinSince(client, ['a'], undefined, 5)
  await bench.turns(20)
  t.same(client.told, ['e1-5 → e1-10'])
  t.same(client.got, positions('e1', 10, 20))
})

t.test('two subscribers on one socket lose nothing where it drops an event that has left the ring', async (t) => {
  const bench = await Bench.open(4)
  const subscribers: Client[] = []
  const got: string[] = []
  const peer = new ModelPeer(
    bench.app,
    {
      dropped: (frame) => bench.hub.dropped(subscribers[0] as Client, frame, subscribers),
      drained: () => {
        for (const subscriber of subscribers) bench.hub.drained(subscriber)
      },
      received: (frame) => void got.push(Buffer.from(frame).toString().replace(/x+/, '')),
    },
    LIMIT_BYTES,
  )
  for (const id of ['one', 'two']) {
    const client = new Client(bench, bench.wire(id), 'ann')
    client.peer = peer
    subscribers.push(client)
    bench.hub.open(client)
    bench.hub.join(client, ['a'])
  }
  peer.stalled = true
  bench.tell({ rooms: ['a'], pad: LIMIT_BYTES / 2 + 1 }, 12)
  await bench.turns()
  for (let n = 0; n < 40; n++) {
    peer.take(LIMIT_BYTES)
    await bench.turns()
  }
  for (const seq of range(1, 12)) t.equal(got.filter((frame) => frame.includes(`"e1-${seq}"`)).length, 2, `e1-${seq}`)
})

t.test('a filter that was changed is not applied to events of before when a client goes back', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['a'], compilePredicate([], [{ field: 0, allowed: new Set(['red']) }]))
  bench.tell({ rooms: ['a'] }, 2)
  bench.tell({ rooms: ['a', 'b'] })
  await bench.turns()
  bench.hub.join(client, ['a'])
  bench.hub.joinSince(client, ['b'], undefined, 0)
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  t.same(client.got, ['e1-3', 'e1-4'])
})

t.test(
  'a position that no stream has, taken while the source was out of reach, keeps nothing back for ever',
  async (t) => {
    const bench = await Bench.open()
    const client = bench.client()
    bench.tell({ rooms: ['a'] }, 2)
    bench.hub.joinSince(client, ['a'], undefined, 9)
    await bench.turns()
    t.same(client.told, ['e1-9 → e1-3'])
    bench.tell({ rooms: ['a'] }, 2)
    await bench.turns()
    t.same(client.got, positions('e1', 3, 4))
  },
)

t.test('who comes to two conversations late, while behind, gets what went by of both', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['talk'])
  for (const conversation of ['c', 'd']) bench.tell({ rooms: ['talk'], conversation }, 2)
  await bench.turns()
  for (const conversation of ['c', 'd']) {
    bench.participants.set(conversation, ['ann'])
    bench.hub.participates(bench.application, conversation, 'ann', 0)
  }
  await bench.turns()
  t.same(client.got, positions('e1', 1, 4))
})

t.test('who goes back three times before it has caught up does not get what it had before the first', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.hub.join(client, ['b'])
  bench.tell({ rooms: ['b'] }, 10)
  await bench.turns()
  bench.hub.joinSince(client, ['a'], undefined, 5)
  bench.hub.joinSince(client, ['d'], undefined, 7)
  bench.hub.joinSince(client, ['e'], undefined, 6)
  await bench.turns()
  t.same(client.got, positions('e1', 1, 10))
})

t.test('a filter that is changed while behind does not bring what came before the room was joined', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.tell({ rooms: ['c'] }, 2)
  bench.tell({ rooms: ['d'] })
  await bench.turns()
  bench.hub.joinSince(client, ['d'], undefined, 0)
  bench.hub.join(client, ['c'])
  bench.hub.join(client, ['c'], compilePredicate([], [{ field: 0, allowed: new Set(['red']) }]))
  bench.hub.join(client, ['c'])
  bench.tell({ rooms: ['c'] })
  await bench.turns()
  t.same(client.got, ['e1-3', 'e1-4'])
})

/**
 * A client in these rooms sees every event, too; its socket fills up between an event's own frame and that of its view,
 * and then it joins room a since.
 */
async function joinsWhileFull(rooms: readonly string[]): Promise<readonly string[]> {
  const bench = await Bench.open()
  bench.application.projection = new Projection('all', (event) => ({ type: 'view', data: event.data }))
  const client = bench.client()
  bench.hub.join(client, ['all', ...rooms])
  await bench.turns()
  client.socket.stalled = true
  bench.tell({ rooms: ['a', 'b'], pad: LIMIT_BYTES / 2 })
  bench.tell({ rooms: ['a'], pad: LIMIT_BYTES / 2 })
  await bench.turns()
  bench.hub.joinSince(client, ['a'], undefined, 0)
  await bench.drain(client, 8)
  return client.got
}

t.test(
  'an event whose view waits for the socket, of a room that the client is in, comes once by a room that it joins since',
  async (t) => {
    t.same(await joinsWhileFull(['b']), ['e1-1', 'e1-1', 'e1-2', 'e1-2'], 'each by its room, and by its view')
  },
)

t.test(
  'an event whose view waited for the socket was lost by a room that the client joined since: it comes by both',
  async (t) => {
    t.same(await joinsWhileFull([]), ['e1-1', 'e1-1', 'e1-2', 'e1-2'], 'each by its room, and by its view')
  },
)

t.test('what a client had by a filter that it changed after going back does not come again', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  const red = compilePredicate([], [{ field: 0, allowed: new Set(['red']) }])
  bench.hub.join(client, ['a'])
  bench.tell({ rooms: ['a'] }, 4)
  await bench.turns()
  bench.hub.joinSince(client, ['b'], undefined, 1)
  bench.hub.join(client, ['a'], red)
  await bench.turns()
  bench.hub.joinSince(client, ['c'], undefined, 0)
  bench.hub.join(client, ['a'])
  await bench.turns()
  t.same(client.got, positions('e1', 1, 4))
})

t.test('a filter changed after a room was joined since two positions holds back nothing of another room', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.tell({ rooms: ['c', 'd'] }, 6)
  await bench.turns()
  bench.hub.join(client, ['c'])
  bench.tell({ rooms: ['c'] })
  await bench.turns()
  bench.hub.joinSince(client, ['d'], undefined, 2)
  bench.hub.joinSince(client, ['c'], undefined, 1)
  bench.hub.join(client, ['c'], compilePredicate([], [{ field: 0, allowed: new Set(['red']) }]))
  await bench.turns()
  t.same(client.got, ['e1-7', ...positions('e1', 3, 6)])
})

t.test('who goes back again while waiting for what the broker has yet to read gets what is there', async (t) => {
  const bench = await Bench.open()
  const client = bench.client()
  bench.tell({ rooms: ['b'] }, 3)
  bench.store({ rooms: ['a'] }, 2)
  await bench.turns()
  bench.source.prompt = false
  bench.hub.joinSince(client, ['a'], undefined, 4)
  await bench.turns()
  bench.hub.joinSince(client, ['b'], undefined, 1)
  for (let n = 0; n < 4; n++) {
    for (const answer of bench.source.questions.splice(0)) answer()
    await bench.turns()
  }
  t.same(client.got, positions('e1', 2, 3))
})

/** A socket that takes all that is sent at once. @param sent is called for each frame */
function peerThat(sent: () => void): Peer {
  return {
    send: () => {
      sent()
      return 1
    },
    getBufferedAmount: () => 0,
    subscribe: () => true,
    unsubscribe: () => true,
    cork: (callback) => callback(),
    close: () => {},
  }
}

t.test('200,000 subscribers that fall behind at once all get their turn', async (t) => {
  const bench = await Bench.open()
  let fed = 0
  const peer = peerThat(() => {
    fed++
  })
  const wire = bench.wire()
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  const subscribers = Array.from(
    { length: 200_000 },
    (_, n) => new Subscriber({ application: bench.application, wire, userId: `user-${n}`, peer, owner: NO_OWNER }),
  )
  for (const subscriber of subscribers) {
    bench.hub.open(subscriber)
    bench.hub.joinSince(subscriber, ['a'], undefined, 0)
  }
  await eventually(() => fed === subscribers.length && bench.hub.catchUp.catchingUp === 0)
  t.equal(fed, subscribers.length)
})

t.test(
  'all who came back at one position, older than the ring, were fed in one turn, and nobody else heard anything meanwhile',
  async (t) => {
    const bench = await Bench.open(10)
    for (let n = 0; n < 12; n++) {
      bench.tell({ rooms: ['a'] }, 50)
      await bench.turns()
    }
    let fed = 0
    const peer = peerThat(() => {
      fed++
    })
    const subscribers = Array.from(
      { length: 200 },
      (_, n) =>
        new Subscriber({
          application: bench.application,
          wire: bench.wire(),
          userId: `user-${n}`,
          peer,
          owner: NO_OWNER,
        }),
    )
    for (const subscriber of subscribers) {
      bench.hub.open(subscriber)
      bench.hub.joinSince(subscriber, ['a'], undefined, 0)
    }
    let most = 0
    for (let before = 0, turns = 0; fed < subscribers.length * 600 && turns < 100_000; turns++) {
      await new Promise((resolve) => setImmediate(resolve))
      most = Math.max(most, fed - before)
      before = fed
    }
    t.equal(fed, subscribers.length * 600)
    t.ok(most < 20_000, `${most} events in a turn`)
  },
)

t.test('a fault in a turn of live delivery, or of catching up, costs that turn, and is reported', async (t: Test) => {
  const bench = await Bench.open()
  const faults: string[] = []
  t.teardown(onFault((where) => faults.push(where)))
  const [faulty, client] = [bench.client(), bench.client()]
  for (const each of [faulty, client]) bench.hub.join(each, ['a'])
  const { advanced } = bench.hub.catchUp
  bench.hub.catchUp.advanced = () => {
    throw new Error('a fault')
  }
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  bench.hub.catchUp.advanced = advanced
  bench.tell({ rooms: ['a'] })
  await bench.turns()
  t.same(client.got, positions('e1', 1, 2))
  t.same([...new Set(faults)], ['live delivery'])
  faults.length = 0
  faulty.socket.cork = () => {
    throw new Error('another')
  }
  for (const each of [faulty, client]) bench.hub.joinSince(each, ['b'], undefined, 0)
  bench.tell({ rooms: ['b'] }, 2)
  await bench.turns()
  t.same(client.got, positions('e1', 1, 4))
  t.same(faults, ['catching up'])
  t.equal(faulty.ended, true)
})

t.test('a user with thousands of connections: each leaves at the same cost', async (t) => {
  let looks = 0
  class Counted {
    readonly wire = { id: 'w' } as Wire
    readonly userId = 'u'
    private next: Counted | undefined
    previousOfUser: Counted | undefined
    get nextOfUser() {
      looks++
      return this.next
    }
    set nextOfUser(next: Counted | undefined) {
      this.next = next
    }
  }
  const application = new ApplicationRooms<Counted>('app')
  const connections = range(1, 1_000).map(() => new Counted())
  for (const connection of connections) application.addUser(connection)
  const [first, second, third, ...others] = connections as [Counted, Counted, Counted, ...Counted[]]
  for (const connection of others) application.removeUser(connection)
  t.ok(looks < 10_000, `${looks}`)
  t.same([...application.subscribers()].length, 3)
  application.removeUser(second)
  application.removeUser(second)
  t.ok([...application.subscribers()][0] === third && [...application.subscribers()][1] === first)
  application.removeUser(third)
  t.equal(application.firstOfUser('u'), first)
  application.removeUser(first)
  t.equal(application.firstOfUser('u'), undefined)
})
