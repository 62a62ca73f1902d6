import {
  AckPolicy,
  type Consumer,
  DeliverPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type JsMsg,
  nanos,
} from 'nats'
import { type BodyHeaders, bodyHeadersOf, isMsgpack } from '../../log/body-headers.ts'
import type { StoredMessage } from '../../log/event.ts'

/** The server forgets a consumer that gets no requests for this long, because its broker was killed. */
const FORGOTTEN_AFTER_MS = 30_000
/** Shorter than nats.js's own, so that a pull that the server forgot is noticed within a few of these. */
export const HEARTBEAT_MS = 1_000
export const PULL_EXPIRES_MS = 5_000
const DOTS_SHORT = 8
const DOTS_LONG = 10
/** Digits of a time in nanoseconds that are below a millisecond. */
const DIGITS_BELOW_MS = 6

/** A consumer on the server; it lives as long as somebody reads it. */
export interface OpenConsumer {
  readonly consumer: Consumer
  /** Messages it had to give when it was made. */
  readonly pending: number
}

/**
 * Makes a consumer of what follows `afterSeq`, on all subjects or those that `subject` names. It is not the ordered
 * consumer of nats.js: that one recreates itself behind our back, silently and for ever on a stream that allows no
 * consumer, and its faults reach nobody.
 */
export async function openConsumer(
  js: JetStreamClient,
  jsm: JetStreamManager,
  stream: string,
  subject: string | undefined,
  afterSeq: number,
): Promise<OpenConsumer> {
  const info = await jsm.consumers.add(stream, {
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: afterSeq + 1,
    ...(subject === undefined ? undefined : { filter_subject: subject }),
    inactive_threshold: nanos(FORGOTTEN_AFTER_MS),
    mem_storage: true,
    num_replicas: 1,
  })
  return { consumer: js.consumers.getPullConsumerFor(info), pending: info.num_pending }
}

/** What a message's reply subject says about it. */
export interface Delivered {
  readonly seq: number
  /** Its number among the messages that this consumer has given, from 1. */
  readonly deliverySeq: number
  /** Time of storage, ms since 1970. */
  readonly timeMs: number
  /** Messages that the consumer has after this one. */
  readonly pending: number
}

/** Positions of the dots in the reply subject being read. */
const dots: number[] = []

/**
 * Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<nanoseconds>.<pending>`, or
 * the longer form, which has domain and account before the stream. nats.js can do so too (`info`), but makes a dozen
 * objects for each message.
 * @throws Error for any other subject: anyone who may publish to our inbox can send messages that come from no stream
 */
export function deliveredFrom(message: JsMsg): Delivered {
  const { reply } = message as JsMsg & { readonly reply: string }
  dots.length = 0
  for (let at = reply.indexOf('.'); at !== -1; at = reply.indexOf('.', at + 1)) dots.push(at)
  const first = dots.length === DOTS_SHORT ? 4 : 6
  const beforeDeliverySeq = dots[first + 1] as number
  const beforeTime = dots[first + 2] as number
  const beforePending = dots[first + 3] as number
  const seq = Number(reply.slice((dots[first] as number) + 1, beforeDeliverySeq))
  if (
    !reply.startsWith('$JS.ACK.') ||
    (dots.length !== DOTS_SHORT && dots.length < DOTS_LONG) ||
    !Number.isSafeInteger(seq)
  )
    throw new Error('this is no message of a stream')
  return {
    seq,
    deliverySeq: Number(reply.slice(beforeDeliverySeq + 1, beforeTime)),
    timeMs: Number(reply.slice(beforeTime + 1, beforePending - DIGITS_BELOW_MS)),
    pending: Number(reply.slice(beforePending + 1, dots[first + 4])),
  }
}

export function storedFrom(message: JsMsg, { seq, timeMs }: Delivered): StoredMessage {
  // A copy: the client's view would keep the whole network chunk alive in the ring. (`slice` of a Buffer is a view as
  // well.)
  const body = Buffer.from(message.data)
  const headers = headersOf(message)
  if (headers === undefined) return { seq, timeMs, subject: message.subject, body, msgpack: false }
  const msgpack = isMsgpack(headers.type)
  return { seq, timeMs, subject: message.subject, body, msgpack, headers }
}

/**
 * nats.js reads headers on demand, and throws on names that it would not write itself. Such a message counts as one
 * without headers.
 */
function headersOf(message: JsMsg): BodyHeaders | undefined {
  try {
    const { headers } = message
    return headers === undefined ? undefined : bodyHeadersOf(headers)
  } catch {
    return undefined
  }
}
