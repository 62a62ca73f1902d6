import { gunzipSync } from 'node:zlib'
import type { BodyHeaders } from './body-headers.ts'
import { isMsgpack } from './body-headers.ts'
import {
  decodeEnvelope,
  type EventEnvelope,
  envelopeOf,
  invalid,
  isRecord,
  parse,
  type StoredMessage,
} from './event.ts'
import { isoTime } from '../time.ts'

/** How bodies are read that a contract takes from a subject of its own. */
export interface Reading {
  /** `envelope`: Roomcast's own. `flat`: the whole body is the event's `data`. */
  readonly body: 'envelope' | 'flat' | 'cloudevents'
  /** The event's type. */
  readonly type: string
  /** That is its type, whatever the body says. */
  readonly typeIsFixed: boolean
  /** Fields of `data` that the subject gives. */
  readonly fields: readonly (readonly [name: string, value: string])[]
  /** Fields of `data` that attributes of a CloudEvent give. */
  readonly attributes: readonly (readonly [name: string, attribute: string])[]
}

const CLOUD_EVENT = 'application/cloudevents'

/**
 * Reads the body of a stored message, in any of the forms that are taken: Roomcast's envelope, flat JSON or msgpack, a
 * CloudEvent in either mode, each of them zipped or not.
 * @param type what the subject names
 * @param reading undefined: a subject of Roomcast's own
 * @param bytesMax bound on what a zipped body unfolds to
 * @throws BrokerError INVALID_EVENT saying what was wrong
 */
export function readEvent(
  message: StoredMessage,
  type: string,
  reading: Reading | undefined,
  bytesMax: number,
): EventEnvelope {
  const { headers, msgpack, timeMs } = message
  const body = headers === undefined ? message.body : unzipped(message.body, headers, bytesMax)
  if (reading === undefined)
    return isCloudEvent(headers)
      ? cloudEventOf(body, headers, timeMs, undefined)
      : decodeEnvelope(body, msgpack, type, timeMs)
  const envelope =
    reading.body === 'cloudevents' || isCloudEvent(headers)
      ? cloudEventOf(body, headers, timeMs, reading)
      : reading.body === 'flat'
        ? { type, data: recordOf(parse(body, msgpack)), timestamp: isoTime(timeMs) }
        : envelopeOf(parse(body, msgpack), type, timeMs)
  if (!reading.typeIsFixed && reading.fields.length === 0) return envelope
  return {
    ...envelope,
    type: reading.typeIsFixed ? reading.type : envelope.type,
    data: withFields(envelope.data, reading.fields),
  }
}

function isCloudEvent(headers: BodyHeaders | undefined): boolean {
  return headers !== undefined && (headers.cloudEvent?.has('specversion') || headers.type.startsWith(CLOUD_EVENT))
}

function unzipped(body: Uint8Array, { encoding }: BodyHeaders, maxOutputLength: number): Uint8Array {
  if (encoding === '' || encoding === 'identity') return body
  if (encoding !== 'gzip' && encoding !== 'x-gzip')
    throw invalid(`the Content-Encoding is ${encoding.slice(0, 40)}; gzip alone is read`)
  try {
    return gunzipSync(body, { maxOutputLength })
  } catch (error) {
    throw (error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE'
      ? invalid(`unzipped it has more than ${maxOutputLength} bytes (MAX_PAYLOAD_BYTES)`)
      : invalid('not gzip, as its Content-Encoding says')
  }
}

/**
 * CloudEvents 1.0, and its NATS binding: attributes in headers and the data in the body (binary mode), or all of it in
 * the body as JSON (structured mode).
 */
function cloudEventOf(
  body: Uint8Array,
  headers: BodyHeaders | undefined,
  timeMs: number,
  reading: Reading | undefined,
): EventEnvelope {
  const type = headers?.type ?? ''
  if (headers?.cloudEvent?.has('specversion') && !type.startsWith(CLOUD_EVENT))
    return fromAttributes((name) => headers.cloudEvent?.get(name), dataIn(body, type), timeMs, reading)
  if (type.startsWith(CLOUD_EVENT) && type !== `${CLOUD_EVENT}+json`)
    throw invalid(`a CloudEvent as ${type.slice(0, 60)}; structured ones are read as application/cloudevents+json`)
  const event = parse(body, false)
  if (!isRecord(event)) throw invalid('the body is not an object')
  const at = (name: string) => (Object.hasOwn(event, name) ? event[name] : undefined)
  return fromAttributes(at, dataOf(at), timeMs, reading)
}

function dataOf(at: (name: string) => unknown): unknown {
  const base64 = at('data_base64')
  if (base64 === undefined) return at('data')
  if (typeof base64 !== 'string') throw invalid('`data_base64` is not a string')
  const given = at('datacontenttype')
  return dataIn(Buffer.from(base64, 'base64'), typeof given === 'string' ? given.toLowerCase() : '')
}

function dataIn(body: Uint8Array, type: string): unknown {
  return parse(body, isMsgpack(type))
}

function fromAttributes(
  at: (name: string) => unknown,
  data: unknown,
  timeMs: number,
  reading: Reading | undefined,
): EventEnvelope {
  const version = at('specversion')
  if (version !== '1.0') throw invalid(`\`specversion\` of the CloudEvent is not 1.0`)
  const text = (name: string): string | undefined => {
    const value = at(name)
    if (value != null && typeof value !== 'string') throw invalid(`\`${name}\` of the CloudEvent is not a string`)
    return value ?? undefined
  }
  const type = text('type')
  if (type === undefined || type === '') throw invalid('the CloudEvent has no `type`')
  if (!isRecord(data)) throw invalid('the data of the CloudEvent is missing or not an object')
  const [id, source, timestamp = isoTime(timeMs)] = [text('id'), text('source'), text('time')]
  const fields = (reading?.attributes ?? []).flatMap(([name, attribute]) => {
    const value = at(attribute)
    return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
      ? [[name, value] as const]
      : []
  })
  return {
    type,
    data: withFields(data, fields),
    timestamp,
    ...(id === undefined ? undefined : { id }),
    ...(source === undefined ? undefined : { source }),
  }
}

/** What the subject says comes before what the body says: permissions guard subjects. */
function withFields(
  data: Readonly<Record<string, unknown>>,
  fields: readonly (readonly [string, unknown])[],
): Readonly<Record<string, unknown>> {
  return fields.length === 0 ? data : { ...data, ...Object.fromEntries(fields) }
}

function recordOf(value: unknown): Record<string, unknown> {
  if (!isRecord(value)) throw invalid('the body is not an object')
  return value
}
