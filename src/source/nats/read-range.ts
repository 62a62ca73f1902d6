import { DeliverPolicy, type JetStreamClient } from 'nats'
import type { StoredMessage } from '../../log/event.ts'
import { EVENT_SUBJECTS, type ReadPart } from '../source.ts'
import { storedFrom } from './nats-consumption.ts'

const EXPIRES_MS = 5_000
/** Where a reading ends at a sequence or at a size, nobody knows how many messages that is: asked for in batches that grow, few come in vain. */
const FIRST_BATCH = 64
const BATCH_GROWTH = 4

/** Up to `limit` messages after `afterSeq`, by a consumer of its own that goes at once. */
export async function readRange(js: JetStreamClient, stream: string, afterSeq: number, limit: number, { subject = EVENT_SUBJECTS, upToSeq = Number.MAX_SAFE_INTEGER, bytes = Number.POSITIVE_INFINITY }: ReadPart = {}): Promise<StoredMessage[]> {
  const consumer = await js.consumers.get(stream, {
    filterSubjects: subject,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: afterSeq + 1,
  })
  const found: StoredMessage[] = []
  let size = 0
  try {
    // Where nothing follows, a fetch would wait for it.
    if ((await consumer.info(true)).num_pending === 0) return found
    let more = true
    let batch = upToSeq === Number.MAX_SAFE_INTEGER && bytes === Number.POSITIVE_INFINITY ? limit : FIRST_BATCH
    while (more && found.length < limit && size < bytes) {
      const wanted = Math.min(batch, limit - found.length)
      let came = 0
      for await (const message of await consumer.fetch({ max_messages: wanted, expires: EXPIRES_MS })) {
        came++
        more = message.info.pending > 0 && message.seq < upToSeq
        if (message.seq <= upToSeq) found.push(storedFrom(message))
        size += message.data.length
        if (!more) break
      }
      if (came < wanted) break
      batch = Math.max(1, Math.min(batch * BATCH_GROWTH, Math.ceil(((bytes - size) * found.length) / (size + 1))))
    }
  } finally {
    await consumer.delete().catch(() => {})
  }
  return found
}
