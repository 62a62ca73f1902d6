import { type JetStreamManager, NatsError, RetentionPolicy, type StreamConfig } from 'nats'
import { BrokerError } from '../../errors.ts'
import { EVENT_SUBJECTS } from '../source.ts'
import { intersects } from '../../subjects.ts'

/** As deep as mirrors of mirrors, and streams that source streams, are followed. */
const DEPTH_MAX = 4
/** JetStream's answer if there is no stream of that name. */
export const STREAM_NOT_FOUND = 10059

/**
 * The subjects that a stream holds: its own, and those of the streams that it mirrors or sources. `>` where nobody
 * here can say, because a stream is in another account, or out of sight.
 */
export async function heldBy(jsm: JetStreamManager, config: StreamConfig, depth = 0): Promise<readonly string[]> {
  const origins = [...(config.mirror ? [config.mirror] : []), ...(config.sources ?? [])]
  const held = await Promise.all(
    origins.map(async ({ name, external, filter_subject, subject_transforms, domain }) => {
      if (external || domain || subject_transforms?.length || depth === DEPTH_MAX) return ['>']
      if (filter_subject) return [filter_subject]
      const origin = await jsm.streams.info(name).catch(() => undefined)
      return origin === undefined ? ['>'] : heldBy(jsm, origin.config, depth + 1)
    }),
  )
  return [...(config.subjects ?? []), ...held.flat()]
}

/**
 * What the streams of SOURCE_STREAMS give.
 * @param wanted the subjects that are read
 * @throws BrokerError SOURCE_UNFIT naming a stream that cannot give its events
 */
export async function givenBy(
  jsm: JetStreamManager,
  own: string,
  sources: readonly string[],
  wanted: readonly string[],
): Promise<readonly string[]> {
  const given = await Promise.all(
    sources.map(async (name) => {
      const unfit = (what: string) => new BrokerError('SOURCE_UNFIT', `SOURCE_STREAMS: the stream ${name} ${what}`)
      if (name === own) throw unfit('is STREAM_NAME itself')
      const found = await jsm.streams.info(name).catch((error: unknown) => {
        if (error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND) throw unfit('does not exist')
        throw error
      })
      const { retention } = found.config
      if (retention === RetentionPolicy.Workqueue)
        throw unfit('is a work queue (retention: workqueue): to read it would take its messages from its workers')
      if (retention !== RetentionPolicy.Limits)
        throw unfit(`keeps messages only until somebody read them (retention: ${retention}); it must be limits`)
      const held = await heldBy(jsm, found.config)
      if (!held.some((subject) => wanted.some((pattern) => intersects(subject, pattern))))
        throw unfit(`holds ${held.join(', ')}, and no contract reads any of it (${wanted.join(', ')})`)
      return held
    }),
  )
  return given.flat()
}

/** Those of the wanted subjects that are not among the held ones. */
export function missingFrom(held: readonly string[], wanted: readonly string[]): readonly string[] {
  return wanted.filter((pattern) => !held.some((subject) => intersects(subject, pattern)))
}

/** Whether what Roomcast publishes itself comes into a stream. */
export function holdsEvents(held: readonly string[]): boolean {
  return held.some((subject) => intersects(subject, EVENT_SUBJECTS))
}
