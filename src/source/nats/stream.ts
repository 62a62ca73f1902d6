import { createHash } from 'node:crypto'
import { DiscardPolicy, type JetStreamManager, NatsError, RetentionPolicy, StorageType, nanos } from 'nats'
import type { Logger } from 'pino'
import { BrokerError, reasonOf } from '../../errors.ts'
import { type Bounds, EVENT_SUBJECTS } from '../source.ts'

export interface StreamOptions {
  readonly name: string
  readonly maxAgeS: number
  /** 0: no limit. */
  readonly maxBytes: number
}

const DUPLICATE_WINDOW_MS = 120_000
const STREAM_NOT_FOUND = 10059

/** Creates the stream when it is missing; an existing one is left as it is, and must hold the events' subjects. */
export async function ensureStream(jsm: JetStreamManager, options: StreamOptions, log: Logger): Promise<void> {
  const found = await jsm.streams.info(options.name).catch((error: unknown) => {
    if (error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND) return undefined
    throw error
  })
  if (found) {
    const { subjects = [] } = found.config
    if (!subjects.some((subject) => subject === EVENT_SUBJECTS || subject === '>' || subject.startsWith('events.'))) {
      throw new BrokerError('SOURCE_UNFIT', `The stream ${options.name} exists and holds ${subjects.join(', ') || 'no subjects'}, not ${EVENT_SUBJECTS}: change it, or set STREAM_NAME to another name`)
    }
    return
  }
  try {
    await jsm.streams.add({
      name: options.name,
      subjects: [EVENT_SUBJECTS],
      storage: StorageType.File,
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_age: nanos(options.maxAgeS * 1000),
      max_bytes: options.maxBytes === 0 ? -1 : options.maxBytes,
      duplicate_window: nanos(Math.min(DUPLICATE_WINDOW_MS, options.maxAgeS * 1000)),
    })
    log.info({ stream: options.name }, 'created the stream')
  } catch (error) {
    throw new BrokerError('SOURCE_UNFIT', `The stream ${options.name} is missing and could not be made: ${reasonOf(error)} (STREAM_MAX_BYTES and STREAM_MAX_AGE_S set its size)`)
  }
}

export async function boundsOf(jsm: JetStreamManager, name: string): Promise<Bounds> {
  return (await lookAt(jsm, name)).bounds
}

/** @returns the bounds, and whether nothing but events is in the stream: then each of its sequences is one's */
export async function lookAt(jsm: JetStreamManager, name: string): Promise<{ bounds: Bounds; onlyEvents: boolean }> {
  const { created, state, config } = await jsm.streams.info(name)
  return {
    bounds: { epoch: epochOf(name, created), firstSeq: Math.max(state.first_seq, 1), lastSeq: state.last_seq },
    onlyEvents: config.subjects?.every((subject) => subject.startsWith('events.')) ?? false,
  }
}

/** Names this life of the stream: a stream deleted and made again counts from 1 anew, under another epoch. */
function epochOf(name: string, created: string): string {
  return createHash('sha256').update(`${name}\n${created}`).digest('hex').slice(0, 10)
}
