import { ErrorCode, type JetStreamClient, type JetStreamManager, NatsError } from 'nats'
import { BrokerError } from '../../errors.ts'
import type { StoredMessage } from '../../log/event.ts'
import type { ReadPart } from '../source.ts'
import { deliveredFrom, HEARTBEAT_MS, openConsumer, PULL_EXPIRES_MS, storedFrom } from './consumer.ts'
import { filterOf, type StreamOptions, unwantedOf } from './stream.ts'

/**
 * If a read ends at a sequence or at a size, nobody knows how many messages that is. With batches that grow, few
 * messages are fetched in vain.
 */
const FIRST_BATCH = 64
const BATCH_GROWTH = 4
/**
 * More at once would not be faster, but a turn of the event loop takes in all that has arrived on the connection: the
 * reads of a few hundred queries held it for half a second.
 */
const BATCH_MAX = 512
/** Consumers in a row that may give nothing before the read fails. */
const FRUITLESS_MAX = 3

export interface RangeOptions {
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly stream: Pick<StreamOptions, 'name' | 'subjects'>
  readonly afterSeq: number
  readonly limit: number
  readonly part: ReadPart
  /** @throws if the stream was replaced since the read began: parts of two streams would be taken for one */
  readonly mustBeSame: () => Promise<void>
}

/**
 * Up to `limit` messages after `afterSeq`, read with consumers of its own. A consumer that ends early looks just like
 * the end of the stream, so the end is believed only if the consumer had nothing to give, or has given all it had.
 * @throws BrokerError SERVICE_UNAVAILABLE if that did not happen: half a range is never returned
 */
export async function readRange(options: RangeOptions): Promise<StoredMessage[]> {
  const found: StoredMessage[] = []
  for (let fruitless = 0; fruitless < FRUITLESS_MAX; ) {
    const before = found.length
    if (await readOn(options, found)) return found
    await options.mustBeSame()
    fruitless = found.length > before ? 0 : fruitless + 1
  }
  throw new BrokerError('SERVICE_UNAVAILABLE', 'The stream could not be read to the end; try again')
}

/** Continues after what was found. @returns whether that was all */
async function readOn(
  { js, jsm, stream, afterSeq, limit, part }: RangeOptions,
  found: StoredMessage[],
): Promise<boolean> {
  const {
    subject = filterOf(stream.subjects),
    upToSeq = Number.MAX_SAFE_INTEGER,
    bytes = Number.POSITIVE_INFINITY,
  } = part
  const unwanted = subject === undefined ? unwantedOf(stream.subjects) : undefined
  let size = found.reduce((sum, { body }) => sum + body.length, 0)
  let lastSeq = found[found.length - 1]?.seq ?? afterSeq
  const isEnough = () => found.length >= limit || size >= bytes || lastSeq >= upToSeq
  if (isEnough()) return true
  const opened = await openConsumer(js, jsm, stream.name, subject, lastSeq).catch((error: unknown) => {
    // In a cluster, the consumer may have been given to a node that died a moment ago.
    if (error instanceof NatsError && error.code === ErrorCode.Timeout) return undefined
    throw error
  })
  if (opened === undefined) return false
  const { consumer, pending } = opened
  let given = 0
  let batch =
    unwanted || upToSeq !== Number.MAX_SAFE_INTEGER || bytes !== Number.POSITIVE_INFINITY ? FIRST_BATCH : limit
  try {
    while (given < pending) {
      // Messages stored since then count as well, but none are waited for.
      const wanted = Math.min(batch, BATCH_MAX, unwanted ? BATCH_MAX : limit - found.length, pending - given)
      let came = 0
      for await (const message of await consumer.fetch({
        max_messages: wanted,
        expires: PULL_EXPIRES_MS,
        idle_heartbeat: HEARTBEAT_MS,
      })) {
        // The connection lost a message on its way to us: the next consumer reads again from there.
        const delivered = deliveredFrom(message)
        if (delivered.deliverySeq !== ++given) return false
        came++
        lastSeq = delivered.seq
        if (!unwanted?.(message.subject)) {
          if (lastSeq <= upToSeq) found.push(storedFrom(message, delivered))
          size += message.data.length
        }
        if (isEnough()) return true
        // As far as the consumer knows, the rest were deleted meanwhile.
        if (delivered.pending === 0 && given < pending) return false
        if (came === wanted) break
      }
      if (came < wanted) return false
      const fitting = found.length === 0 ? batch * BATCH_GROWTH : ((bytes - size) * found.length) / (size + 1)
      batch = Math.max(1, Math.min(batch * BATCH_GROWTH, Math.ceil(fitting)))
    }
    return true
  } catch {
    // The consumer is gone: the next one reads again from there, if the stream is in reach.
    return false
  } finally {
    void consumer.delete().catch(() => {})
  }
}
