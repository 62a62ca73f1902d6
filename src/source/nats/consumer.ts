import { AckPolicy, type Consumer, DeliverPolicy, type JetStreamClient, type JetStreamManager, type JsMsg, nanos } from 'nats'
import { MSGPACK_TYPE, type StoredMessage } from '../../log/event.ts'

/** The server forgets a consumer that nobody asked for so long: one whose broker was killed. */
const FORGOTTEN_AFTER_MS = 30_000
/** Shorter than nats.js' own, so that a pull the server forgot is noticed within a few of these. */
export const HEARTBEAT_MS = 1_000
export const PULL_EXPIRES_MS = 5_000

/** A consumer on the server that lives as long as it is read. */
export interface OpenConsumer {
  readonly consumer: Consumer
  /** Messages that it has to give, as it was made. */
  readonly pending: number
}

/**
 * Makes a consumer of what follows `afterSeq`. Not the ordered one of nats.js: that one makes itself anew behind our back, for ever and in silence
 * on a stream that allows no consumer, and its faults reach nobody.
 */
export async function openConsumer(js: JetStreamClient, jsm: JetStreamManager, stream: string, subject: string, afterSeq: number): Promise<OpenConsumer> {
  const info = await jsm.consumers.add(stream, {
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: afterSeq + 1,
    filter_subject: subject,
    inactive_threshold: nanos(FORGOTTEN_AFTER_MS),
    mem_storage: true,
    num_replicas: 1,
  })
  return { consumer: js.consumers.getPullConsumerFor(info), pending: info.num_pending }
}

export function storedFrom(message: JsMsg): StoredMessage {
  return {
    seq: message.seq,
    timeMs: Math.floor(message.info.timestampNanos / 1e6),
    subject: message.subject,
    // A copy: the client's view would keep the whole network chunk alive in the ring. (`slice` of a Buffer is a view, too.)
    body: Buffer.from(message.data),
    msgpack: contentTypeOf(message) === MSGPACK_TYPE,
  }
}

/** nats.js reads headers as they are asked for, and throws at names that it would not write. Such a message says nothing of its body. */
function contentTypeOf(message: JsMsg): string | undefined {
  try {
    return message.headers?.get('Content-Type')
  } catch {
    return undefined
  }
}
