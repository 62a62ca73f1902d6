import { gzipSync } from 'node:zlib'
import { damaged, jsonBytes, msgpackBytes } from '../bodies.ts'
import { CONTRACTS, validEvent } from '../commands.ts'
import type { Random } from '../random.ts'
import { RawNats } from '../raw-nats.ts'
import { surface } from '../surface.ts'
import { mutated, ODD_KEYS, oddText, oddValue } from '../values.ts'

export interface NatsMessage {
  readonly subject: string
  readonly body: Uint8Array
  /** The header block as it is sent. */
  readonly headers?: Uint8Array
}

export const events = surface<NatsMessage>({
  name: 'events',
  about:
    'the stream: bodies and headers of events of all applications, JSON, msgpack, CloudEvents and zipped, on subjects that fit and odd ones',
  concurrency: 1,
  make: makeEvent,
  open: async (world) => {
    const nats = await RawNats.connect(world.nats.port)
    return {
      send: ({ subject, body, headers }) => nats.publish(subject, body, headers),
      close: async () => nats.close(),
    }
  },
})

function makeEvent(random: Random): NatsMessage {
  const contract = random.pick(CONTRACTS)
  const { type, body } = validEvent(contract, random)
  const value = random.one<unknown>(
    () => body,
    () => mutated(body, random),
    () => ({ ...body, data: mutated(body.data, random) }),
    () => ({
      ...body,
      [random.pick(['type', 'id', 'timestamp', 'user_id', 'rooms', 'source', 'data'])]: oddValue(random),
    }),
    () => oddValue(random),
  )
  const msgpack = random.chance(0.4)
  const bytes = msgpack ? msgpackBytes(value, random) : jsonBytes(value, random)
  const subject = random.chance(0.9)
    ? `events.${contract.app}.${type}`
    : `events.${random.pick([contract.app, '__proto__', 'none', 'x'])}${random.pick(['', `.${subjectToken(random)}`, `.${subjectToken(random)}.${subjectToken(random)}`, `.${random.pick(ODD_KEYS).replace(/[^\w]/g, '') || 'x'}`])}`
  if (random.chance(0.3)) return { subject, ...otherForm(value, type, bytes, msgpack, random) }
  const headers = msgpack || random.chance(0.2) ? headerBlock(msgpack, random) : undefined
  return { subject, body: bytes, ...(headers ? { headers } : undefined) }
}

const ATTRIBUTES = [
  'specversion',
  'type',
  'id',
  'source',
  'time',
  'datacontenttype',
  'data',
  'data_base64',
  '__proto__',
]

/** A CloudEvent in either mode, or a body that is zipped, well made or not. */
function otherForm(
  value: unknown,
  type: string,
  bytes: Uint8Array,
  msgpack: boolean,
  random: Random,
): Pick<NatsMessage, 'body' | 'headers'> {
  const media = msgpack ? random.pick(['application/x-msgpack', 'application/vnd.msgpack; a=b']) : 'application/json'
  const block = (...lines: string[]) => Buffer.from(`NATS/1.0\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`)
  const odd = (text: string) => (random.chance(0.2) ? oddText(random).replace(/[\r\n]/g, '') : text)
  return random.one<Pick<NatsMessage, 'body' | 'headers'>>(
    () => {
      const event = { specversion: '1.0', type, id: 'a', source: '/fuzz', data: value }
      const given = random.chance(0.5) ? event : { ...event, [random.pick(ATTRIBUTES)]: oddValue(random) }
      const headers = block(
        random.pick(['Content-Type: application/cloudevents+json', 'content-type: application/cloudevents']),
      )
      return { body: jsonBytes(given, random), headers }
    },
    () => ({
      body: bytes,
      headers: block(
        `ce-specversion: ${odd('1.0')}`,
        `CE-Type: ${odd(type)}`,
        `ce-${odd('id')}: ${odd('%41%')}`,
        `Content-Type: ${odd(media)}`,
      ),
    }),
    () => {
      const zipped = gzipSync(random.chance(0.1) ? Buffer.alloc(3_000_000) : bytes)
      const headers = block(`Content-Type: ${media}`, `Content-Encoding: ${odd('gzip')}`)
      return { body: random.chance(0.3) ? damaged(zipped, random) : zipped, headers }
    },
  )
}

/** Anything that a NATS server takes for one token of a subject. */
export function subjectToken(random: Random): string {
  return (
    oddText(random)
      .replace(/[\s.*>]/g, '')
      .replaceAll('\u0000', '')
      .slice(0, 300) || 'token'
  )
}

export function headerBlock(msgpack: boolean, random: Random): Buffer {
  const type = msgpack ? 'Content-Type: application/msgpack\r\n' : ''
  if (random.chance(0.7)) return Buffer.from(`NATS/1.0\r\n${type}\r\n`)
  const lines = random.some(5, () =>
    random.pick([
      'content-type: application/msgpack',
      'Content-Type: application/json',
      'Content-Type:',
      ': x',
      'no colon',
      'A:b',
      `X: ${oddText(random)}`,
      `${oddText(random)}: y`,
      'Nats-Msg-Id: same',
      'Nats-Sequence: 1',
      'Nats-Stream: X',
      'Status: 503',
      'Description: x',
      '__proto__: 1',
      'KV-Operation: DEL',
      'Nats-Expected-Stream: none',
      ` folded`,
      `L: ${'x'.repeat(5_000)}`,
    ]),
  )
  const block = Buffer.from(
    `${random.chance(0.9) ? 'NATS/1.0' : random.pick(['NATS/1.0 503', 'NATS/1.0 100 Idle Heartbeat', 'NATS/1.0 409 Consumer Deleted', 'NATS/9', '', 'HTTP/1.1'])}\r\n${type}${lines.map((line) => `${line}\r\n`).join('')}${random.chance(0.9) ? '\r\n' : ''}`,
  )
  return random.chance(0.2) ? damaged(block, random) : block
}
