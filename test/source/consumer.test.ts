import type { JsMsg } from 'nats'
import t from 'tap'
import { deliveredFrom } from '../../src/source/nats/consumer.ts'

const read = (reply: string) => deliveredFrom({ reply } as unknown as JsMsg)

t.test('both forms of a reply subject say where a message stands', async (t) => {
  const expected = { seq: 90_071_992, deliverySeq: 42, timeMs: 1_764_362_945_123, pending: 7 }
  t.strictSame(read('$JS.ACK.EVENTS.abc.1.90071992.42.1764362945123999999.7'), expected)
  t.strictSame(
    read('$JS.ACK.hub.acchash.EVENTS.abc.1.90071992.42.1764362945123999999.7.random'),
    expected,
    'with a domain',
  )
  t.strictSame(
    read('$JS.ACK._.acchash.EVENTS.abc.1.90071992.42.1764362945123999999.7'),
    expected,
    'without the random end',
  )
})

t.test('another subject is no message of a stream', async (t) => {
  for (const reply of [
    '',
    '_INBOX.abc',
    '$JS.ACK',
    '$JS.ACK.EVENTS.abc.1.2.3.4',
    '$JS.FC.EVENTS.abc.1.2.3.4.5',
    '$JS.ACK.a.EVENTS.abc.1.2.3.4.5',
    '$JS.ACK.EVENTS.abc.1.x.3.4.5',
  ])
    t.throws(() => read(reply), /no message of a stream/, reply)
})
