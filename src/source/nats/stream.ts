import { createHash } from 'node:crypto'
import {
  AckPolicy,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  NatsError,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
  nanos,
} from 'nats'
import type { Logger } from 'pino'
import { BrokerError, reasonOf } from '../../errors.ts'
import { type Bounds, EVENT_SUBJECTS } from '../source.ts'
import { openConsumer } from './consumer.ts'
import { givenBy, heldBy, holdsEvents, missingFrom, STREAM_NOT_FOUND } from './held-subjects.ts'
import { matcherOf } from '../../subjects.ts'
import { isUnsettled } from './settled.ts'
import { isOverlap, overlapping } from './subject-owners.ts'

export interface StreamOptions {
  readonly name: string
  readonly maxAgeS: number
  /** 0: no limit. */
  readonly maxBytes: number
  /** Applies to a stream that we make. Default: 1. */
  readonly replicas?: number
  /** Subjects that contracts read, besides `events.>`. */
  readonly subjects?: readonly string[]
  /** Streams that this one takes in. */
  readonly sources?: readonly string[]
}

/** A stream as it is now. */
export interface StreamView {
  readonly bounds: Bounds
  /** It holds nothing but events, so that each of its sequences is an event's. */
  readonly onlyEvents: boolean
  /** Mean size of its messages, bytes; 0 if it is empty. */
  readonly meanBytes: number
  readonly replicas: number
}

const DUPLICATE_WINDOW_MS = 120_000
/** How long the server keeps a consumer that is only asked where it would begin. */
const ASKED_MS = 5_000

/**
 * Creates the stream if it is missing. An existing one must be able to give events back; it is left as it is, but for
 * subjects of contracts and streams of SOURCE_STREAMS that it lacks: one that holds `events.>` gets them.
 * @throws BrokerError SOURCE_UNFIT saying what to change
 */
export async function ensureStream(jsm: JetStreamManager, options: StreamOptions, log: Logger): Promise<StreamView> {
  const { name, subjects = [], sources = [] } = options
  const found = await jsm.streams.info(name).catch((error: unknown) => {
    if (error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND) return undefined
    throw error
  })
  const wanted = [EVENT_SUBJECTS, ...subjects]
  const given = await givenBy(jsm, name, sources, wanted)
  if (found) {
    checkFit(found.config)
    return viewOf(await extended(jsm, found, options, given, log))
  }
  const own = missingFrom(given, wanted)
  try {
    const made = await jsm.streams.add({
      name,
      subjects: [...own],
      ...(sources.length > 0 ? { sources: sources.map((source) => ({ name: source })) } : undefined),
      storage: StorageType.File,
      retention: RetentionPolicy.Limits,
      discard: DiscardPolicy.Old,
      max_age: nanos(options.maxAgeS * 1000),
      max_bytes: options.maxBytes === 0 ? -1 : options.maxBytes,
      duplicate_window: nanos(Math.min(DUPLICATE_WINDOW_MS, options.maxAgeS * 1000)),
      num_replicas: options.replicas ?? 1,
    })
    log.info({ stream: name, subjects: own, ...(sources.length > 0 ? { sources } : undefined) }, 'created the stream')
    return viewOf(made)
  } catch (error) {
    if (isUnsettled(error)) throw error
    if (isOverlap(error)) throw await overlapping(jsm, name, own)
    throw new BrokerError(
      'SOURCE_UNFIT',
      `The stream ${name} is missing and could not be made: ${reasonOf(error)} (STREAM_MAX_BYTES, STREAM_MAX_AGE_S and STREAM_REPLICAS set its size)`,
    )
  }
}

/** Adds what an existing stream lacks. @throws BrokerError SOURCE_UNFIT naming it, if that cannot be */
async function extended(
  jsm: JetStreamManager,
  found: StreamInfo,
  { name, subjects = [], sources = [] }: StreamOptions,
  given: readonly string[],
  log: Logger,
): Promise<StreamInfo> {
  const { config } = found
  const wanted = subjects.length > 0 ? subjects : [EVENT_SUBJECTS]
  const held = await heldBy(jsm, config)
  const more = sources.filter((source) => !config.sources?.some((known) => known.name === source))
  const missing = missingFrom([...held, ...given], wanted)
  if (more.length === 0 && missing.length === 0) return found
  const lacks = [...missing, ...more.map((source) => `the source ${source}`)].join(', ')
  if (config.mirror || !holdsEvents(config.subjects ?? []))
    throw unfit(name, `holds ${held.join(', ') || 'no subjects'}, not ${lacks}`)
  try {
    const info = await jsm.streams.update(name, {
      ...config,
      subjects: [...(config.subjects ?? []), ...missing],
      sources: [...(config.sources ?? []), ...more.map((source) => ({ name: source }))],
    })
    log.info({ stream: name, subjects: missing, sources: more }, 'added to the stream what contracts read')
    return info
  } catch (error) {
    if (isUnsettled(error)) throw error
    if (isOverlap(error)) throw await overlapping(jsm, name, missing)
    throw unfit(name, `lacks ${lacks}, which could not be added: ${reasonOf(error)}`)
  }
}

/** Warns of settings by which events may be lost or refused; the stream's owner may or may not want that. */
export async function tellOfSettings(jsm: JetStreamManager, name: string, log: Logger): Promise<void> {
  const { config } = await jsm.streams.info(name)
  if (config.discard === DiscardPolicy.New)
    log.warn(
      { stream: name },
      'the stream refuses new events while it is full (discard: new): publishing fails until old events expire',
    )
  if (config.max_msgs_per_subject > 0)
    log.warn(
      { stream: name, max_msgs_per_subject: config.max_msgs_per_subject },
      'the stream keeps only the newest events of a subject: clients that are behind do not get the others, and are not told',
    )
}

/**
 * The filter of consumers. With further subjects there is none: nats-server before 2.10 takes only one, so whoever
 * reads leaves out what is not wanted (`unwantedOf`).
 */
export function filterOf(subjects: readonly string[] = []): string | undefined {
  return subjects.length === 0 ? EVENT_SUBJECTS : undefined
}

/** A test for messages that no contract reads; undefined: the consumer's filter leaves them out. */
export function unwantedOf(subjects: readonly string[] = []): ((subject: string) => boolean) | undefined {
  if (subjects.length === 0) return undefined
  const wanted = matcherOf([EVENT_SUBJECTS, ...subjects])
  return (subject) => !wanted(subject)
}

/**
 * Makes a consumer, as reading does, and deletes it.
 * @throws BrokerError SOURCE_UNFIT with the server's reason, if the server refuses it
 */
export async function tryReading(
  js: JetStreamClient,
  jsm: JetStreamManager,
  { name, subjects }: StreamOptions,
): Promise<void> {
  try {
    const { consumer } = await openConsumer(js, jsm, name, filterOf(subjects), 0)
    await consumer.delete()
  } catch (error) {
    // The request may have gone to a node that died a moment ago: reading tries again.
    if (isRefusal(error)) throw unreadable(name, error)
  }
}

/** Why a consumer could not be made; if the server refused it, in words that say what to do. */
export function unreadable(name: string, error: unknown): unknown {
  if (!isRefusal(error)) return error
  return new BrokerError(
    'SOURCE_UNFIT',
    `The stream ${name} lets nobody read it: ${reasonOf(error)}. Each broker process needs a consumer for live events and a few more for history (max_consumers, and the account's limits)`,
  )
}

export async function boundsOf(jsm: JetStreamManager, name: string): Promise<Bounds> {
  return viewOf(await jsm.streams.info(name)).bounds
}

/**
 * When a message was stored, ms since 1970.
 * @returns undefined if no message has that sequence, or permissions forbid asking for it
 */
export async function timeOf(jsm: JetStreamManager, name: string, seq: number): Promise<number | undefined> {
  try {
    return (await jsm.streams.getMessage(name, { seq })).time.getTime()
  } catch (error) {
    if (isRefusal(error) || (error instanceof NatsError && error.isPermissionError())) return undefined
    throw error
  }
}

/** The sequence of the first message stored at a time or later; if there is none, the one after the last message. */
export async function firstSeqAt(jsm: JetStreamManager, name: string, timeMs: number): Promise<number> {
  const { name: consumer, delivered } = await jsm.consumers.add(name, {
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.StartTime,
    opt_start_time: new Date(timeMs).toISOString(),
    mem_storage: true,
    num_replicas: 1,
    inactive_threshold: nanos(ASKED_MS),
  })
  await jsm.consumers.delete(name, consumer)
  return delivered.stream_seq + 1
}

function isRefusal(error: unknown): boolean {
  return error instanceof NatsError && error.api_error !== undefined && error.api_error.code < 500
}

function unfit(name: string, what: string): BrokerError {
  return new BrokerError(
    'SOURCE_UNFIT',
    `The stream ${name} exists and ${what}: change it, or set STREAM_NAME to another name`,
  )
}

function checkFit({ name, subjects = [], retention, mirror, sources = [], no_ack, sealed }: StreamConfig): void {
  if (retention !== RetentionPolicy.Limits)
    throw unfit(
      name,
      `keeps events only until somebody read them (retention: ${retention}), so that no second broker and no client that comes back could get them; Roomcast needs retention: limits`,
    )
  // A mirror, and a stream that only sources others, takes no events of its own anyway.
  if (mirror || (sources.length > 0 && subjects.length === 0)) return
  if (no_ack) throw unfit(name, 'does not say that an event is stored (no_ack), so that none could be acknowledged')
  if (sealed) throw unfit(name, 'is sealed and takes no events')
}

function viewOf({ created, state, config }: StreamInfo): StreamView {
  const { subjects = [], sources = [] } = config
  return {
    bounds: { epoch: epochOf(config.name, created), firstSeq: Math.max(state.first_seq, 1), lastSeq: state.last_seq },
    onlyEvents:
      subjects.length > 0 && sources.length === 0 && subjects.every((subject) => subject.startsWith('events.')),
    meanBytes: state.messages > 0 ? state.bytes / state.messages : 0,
    replicas: config.num_replicas,
  }
}

/** Names this life of the stream: one that was deleted and made again counts from 1, under another epoch. The reader
 * of the stream compares them (`NatsConsumption.checkStream`). */
function epochOf(name: string, created: string): string {
  return createHash('sha256').update(`${name}\n${created}`).digest('hex').slice(0, 10)
}
