import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { eventFields } from '../../../src/codecs/codec.ts'
import { json } from '../../../src/codecs/json.ts'
import { msgpack } from '../../../src/codecs/msgpack.ts'
import { BrokerError } from '../../../src/errors.ts'
import { decodePacket, encodePacket } from '../../../src/gateways/socketio/packets.ts'
import { decodeEnvelope } from '../../../src/log/event.ts'
import { formatPosition, parsePosition, seqInTail } from '../../../src/log/position.ts'
import { jsonBytes, msgpackBytes } from '../bodies.ts'
import { CONTRACTS, SOCKET_IO_APPLICATIONS, validEvent } from '../commands.ts'
import { Random } from '../random.ts'
import type { PureSurface } from '../surface.ts'
import { mutated, oddText, oddValue } from '../values.ts'
import { packetsOf } from './socketio-packets.ts'

/** Choices of a structure-aware generator, as one number that fast-check draws and shrinks. */
export const seeds = fc.integer({ min: 0, max: 2 ** 31 - 1 })
export const choices = seeds.map((seed) => new Random(seed))
const nestedLess = fc.jsonValue({ maxDepth: 5 })

/** @returns what it gives; undefined where it throws a BrokerError of this code. Anything else is thrown on. */
export function orRefused<T>(code: string, act: () => T): T | undefined {
  try {
    return act()
  } catch (error) {
    if (error instanceof BrokerError && error.code === code) return undefined
    throw error
  }
}

const packetTexts = fc.oneof(
  choices.map(
    (random) =>
      packetsOf(random.pick(SOCKET_IO_APPLICATIONS), random).find((packet) => typeof packet === 'string') ?? '',
  ),
  fc
    .tuple(
      fc.constantFrom('0', '1', '2', '3', '4', '7', ''),
      fc.constantFrom('', '/ws,', '/', '/a'),
      fc.constantFrom('', '1', '00', '9007199254740993', '99999999999999999'),
      fc.oneof(fc.json(), fc.string()),
    )
    .map((parts) => parts.join('')),
  fc.string({ unit: 'binary' }),
)

export const codecs: PureSurface = {
  name: 'codecs',
  about: 'Socket.IO packets, positions, envelopes, JSON and msgpack frames, read and written within this process',
  properties: {
    'a Socket.IO packet is refused, or reads the same after it was written': fc.property(packetTexts, (text) => {
      const packet = orRefused('INVALID_MESSAGE', () => decodePacket(text))
      if (!packet) return true
      const written = orTooDeep(() => encodePacket(packet.type, packet.nsp, packet.data, packet.id))
      return written === undefined || isDeepStrictEqual(decodePacket(written.slice(1)), packet)
    }),
    'a position is refused, or reads the same after it was written': fc.property(
      fc.oneof(
        fc.string({ unit: 'binary' }),
        fc.anything(),
        fc.tuple(fc.string({ maxLength: 41 }), fc.nat()).map(([epoch, seq]) => `${epoch}-${seq}`),
        choices.map(oddText),
      ),
      (text) => {
        const position = parsePosition(text)
        return position === undefined || formatPosition(position.epoch, position.seq) === text
      },
    ),
    'an envelope is refused, or can be written in each format with its position at the end': fc.property(
      fc.oneof(
        choices.map(anyBody),
        fc.uint8Array({ maxLength: 100 }).map((body) => ({ body, packed: true })),
      ),
      ({ body, packed }) => {
        const envelope = orRefused('INVALID_EVENT', () => decodeEnvelope(body, packed, 'subject', 0))
        if (!envelope) return true
        return [json, msgpack].every((codec) => {
          const frame = orTooDeep(() => codec.encodeEvent(envelope, 'epoch-17'))
          return frame === undefined || seqInTail(frame, Buffer.from('epoch')) === 17
        })
      },
    ),
    'a JSON event frame is what JSON.stringify writes of its fields': fc.property(
      fc.record({
        type: fc.string({ unit: 'binary' }),
        data: fc.dictionary(fc.string(), fc.jsonValue()),
        timestamp: fc.string(),
        id: fc.oneof(fc.constant(undefined), fc.string(), fc.double()),
      }),
      (event) =>
        Buffer.from(json.encodeEvent(event, 'epoch-17')).equals(
          Buffer.from(JSON.stringify(eventFields(event, 'epoch-17'))),
        ),
    ),
    'a msgpack frame of JSON reads as it was written': fc.property(nestedLess, (data) => {
      const frame = msgpack.encodeMessage({ type: 'x', data, timestamp: 'now' })
      const { data: read } = msgpack.decode(new Uint8Array(frame).buffer as ArrayBuffer, true) as { data: unknown }
      return hasPrototypeKey(data) || JSON.stringify(read) === JSON.stringify(data)
    }),
    'a frame is refused by an Error, and changes no prototype': fc.property(
      choices.map(anyBody),
      ({ body, packed }) => {
        const codec = packed ? msgpack : json
        try {
          codec.decode(new Uint8Array(body).buffer as ArrayBuffer, packed)
        } catch (error) {
          if (!(error instanceof Error)) throw error
        }
        return Object.keys(Object.prototype).length === 0 && ({} as Record<string, unknown>).roles === undefined
      },
    ),
  },
}

function anyBody(random: Random): { body: Uint8Array; packed: boolean } {
  const packed = random.chance(0.5)
  const { body } = validEvent(random.pick(CONTRACTS), random)
  const value = random.one<unknown>(
    () => body,
    () => mutated(body, random),
    () => ({ ...body, data: mutated(body.data, random) }),
    () => oddValue(random),
  )
  return { body: packed ? msgpackBytes(value, random) : jsonBytes(value, random), packed }
}

/** Deeper than the writer's stack: the hub counts and leaves out such an event. */
function orTooDeep<T>(write: () => T): T | undefined {
  try {
    return write()
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** msgpackr gives such a key another name. */
function hasPrototypeKey(value: unknown): boolean {
  return JSON.stringify(value).includes('"__proto__"')
}
