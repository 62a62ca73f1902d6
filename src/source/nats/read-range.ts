import { DeliverPolicy, type JetStreamClient } from 'nats'
import type { StoredMessage } from '../../log/event.ts'
import { EVENT_SUBJECTS } from '../source.ts'
import { storedFrom } from './nats-consumption.ts'

const EXPIRES_MS = 5_000

/** Up to `limit` messages after `afterSeq`, by a consumer of its own that goes at once. */
export async function readRange(js: JetStreamClient, stream: string, afterSeq: number, limit: number): Promise<StoredMessage[]> {
  const consumer = await js.consumers.get(stream, {
    filterSubjects: EVENT_SUBJECTS,
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: afterSeq + 1,
  })
  const found: StoredMessage[] = []
  try {
    // Where nothing follows, a fetch would wait for it.
    if ((await consumer.info(true)).num_pending === 0) return found
    const messages = await consumer.fetch({ max_messages: limit, expires: EXPIRES_MS })
    for await (const message of messages) {
      found.push(storedFrom(message))
      if (message.info.pending === 0) break
    }
  } finally {
    await consumer.delete().catch(() => {})
  }
  return found
}
