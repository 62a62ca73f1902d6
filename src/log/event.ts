import { Unpackr } from 'msgpackr'
import { BrokerError, reasonOf } from '../errors.ts'
import { isoTime } from '../time.ts'
import type { BodyHeaders } from './body-headers.ts'

/** What a producer publishes (docs/backends.md), with defaults filled in. */
export interface EventEnvelope {
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
  /** ISO 8601, UTC. */
  readonly timestamp: string
  /** The producer's own id, passed on as `source_id`. */
  readonly id?: string | number
  readonly source?: string
  /** The event is for this user alone. */
  readonly user_id?: string
  /** Overrides the rooms that the contract derives. */
  readonly rooms?: readonly string[]
}

/** A message as the source stores it. */
export interface StoredMessage {
  readonly seq: number
  /** Time of storage, ms since 1970. */
  readonly timeMs: number
  readonly subject: string
  readonly body: Uint8Array
  /** What the `Content-Type` header says: msgpack by any of its names, otherwise JSON. */
  readonly msgpack: boolean
  /** Set only if they say something else than `msgpack` alone. */
  readonly headers?: BodyHeaders
}

export const MSGPACK_TYPE = 'application/msgpack'
const decoder = new TextDecoder('utf-8', { fatal: true })
/** No references (`structuredClone`): with them, a few hundred bytes unfold into gigabytes of JSON. */
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number', structuredClone: false })

/**
 * Reads a message's body.
 * @param subjectType the type that the subject names, used if the body names none
 * @throws BrokerError INVALID_EVENT saying what was wrong
 */
export function decodeEnvelope(body: Uint8Array, msgpack: boolean, subjectType: string, timeMs: number): EventEnvelope {
  return envelopeOf(parse(body, msgpack), subjectType, timeMs)
}

/** @throws BrokerError INVALID_EVENT */
export function envelopeOf(value: unknown, subjectType: string, timeMs: number): EventEnvelope {
  if (!isRecord(value)) throw invalid('the body is not an object')
  const { data, type = subjectType, timestamp, id, source, user_id, rooms } = value
  if (!isRecord(data)) throw invalid('`data` is missing or not an object')
  if (typeof type !== 'string') throw invalid('`type` is not a string')
  if (id != null && typeof id !== 'string' && typeof id !== 'number') throw invalid('`id` is neither string nor number')
  if (source != null && typeof source !== 'string') throw invalid('`source` is not a string')
  if (user_id != null && typeof user_id !== 'string') throw invalid('`user_id` is not a string')
  if (rooms != null && !(Array.isArray(rooms) && rooms.every((room) => typeof room === 'string')))
    throw invalid('`rooms` is not a list of strings')
  const envelope: { -readonly [Field in keyof EventEnvelope]: EventEnvelope[Field] } = {
    type,
    data,
    timestamp: timestampOf(timestamp, timeMs),
  }
  if (id != null) envelope.id = id
  if (source != null) envelope.source = source
  if (user_id != null) envelope.user_id = user_id
  if (rooms != null) envelope.rooms = rooms
  return envelope
}

/** @throws BrokerError INVALID_EVENT */
export function parse(body: Uint8Array, msgpack: boolean): unknown {
  try {
    return msgpack ? unpackr.unpack(body) : JSON.parse(decoder.decode(body))
  } catch (error) {
    throw invalid(`not ${msgpack ? 'msgpack' : 'JSON'}: ${reasonOf(error)}`)
  }
}

function timestampOf(given: unknown, timeMs: number): string {
  if (given == null) return isoTime(timeMs)
  if (typeof given === 'string') return given
  if (given instanceof Date && !Number.isNaN(given.getTime())) return given.toISOString()
  throw invalid('`timestamp` is not a string')
}

/** A body that is no event. */
export function invalid(reason: string): BrokerError {
  return new BrokerError('INVALID_EVENT', reason)
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
}
