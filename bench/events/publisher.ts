import { connect, createInbox } from 'nats'
import { answerCalls } from '../process/calls.ts'
import { monotonicUs } from '../machine/clock.ts'
import { eventData } from './payload.ts'
import { seeded } from './random.ts'

/** A process: publishes numbered events to NATS, on a schedule or as fast as they are stored. */

/** Events that are alike. */
interface Kind {
  readonly url: string
  readonly subject: string
  readonly idField: string
  /** `{series}` in it is the event's series. */
  readonly id: string
  readonly fields: string
  /** Exact length of each event's `data`, as JSON. */
  readonly dataBytes: number
}

export interface Schedule extends Kind {
  /** Core NATS instead of JetStream, for a server that has no stream. */
  readonly core: boolean
  readonly perSecond: number
  readonly seconds: number
  /** 0: the common series. Otherwise each event goes to one of so many, by chance. */
  readonly series: number
  readonly seed: number
}

export interface Published {
  readonly events: number
  /** How late the latest was handed to NATS. The latencies hold it. */
  readonly lateMsMax: number
}

/** Events of the common series, published as fast as possible. */
export interface Burst extends Kind {
  readonly events: number
}

const HEAD_START_US = 20_000
/** Events of a burst that wait for their acknowledgement: newer servers refuse more than 10,000. */
const UNACKNOWLEDGED_MAX = 2_000

export interface Publisher {
  /**
   * Publishes all of a schedule; resolves when the last one is stored. Each event carries the time when it
   * was due, so that a stall counts for every event that waited. Numbers continue from one call to the next.
   */
  publish(schedule: Schedule): Promise<Published>
  /** Publishes to JetStream as fast as it acknowledges; resolves when the last event is stored. */
  burst(burst: Burst): Promise<void>
  /** How many events there were altogether, by series. */
  counts(): number[]
}

const counts: number[] = [0]

async function publish({
  url,
  core,
  subject,
  idField,
  id,
  fields,
  perSecond,
  seconds,
  dataBytes,
  series,
  seed,
}: Schedule): Promise<Published> {
  const events = Math.round(seconds * perSecond)
  const random = seeded(seed)
  const nc = await connect({ servers: url })
  const js = nc.jetstream()
  let stored = 0
  let allStored = () => {}
  const all = new Promise<void>((resolve) => (allStored = resolve))
  const store = async (body: string) => {
    if (core) nc.publish(subject, body)
    // A failed acknowledgement is an uncaught rejection: it ends the process, and the bench with it.
    else await js.publish(subject, body)
    if (++stored === events) allStored()
  }
  const startUs = monotonicUs() + HEAD_START_US
  let lateUsMax = 0
  for (let i = 0; i < events; i++) {
    const dueUs = startUs + (i * 1e6) / perSecond
    for (let nowUs = monotonicUs(); nowUs < dueUs; nowUs = monotonicUs())
      await new Promise((resolve) => setTimeout(resolve, (dueUs - nowUs) / 1000))
    const to = series === 0 ? 0 : 1 + Math.floor(random() * series)
    const n = (counts[to] = (counts[to] ?? 0) + 1)
    store(
      `{"data":${eventData({ idField, id: id.replace('{series}', String(to)), fields, n, dueUs, series: to }, dataBytes)}}`,
    )
    lateUsMax = Math.max(lateUsMax, monotonicUs() - dueUs)
  }
  if (events > 0) await all
  await nc.close()
  return { events, lateMsMax: lateUsMax / 1000 }
}

/** Asynchronous publishing to JetStream: one inbox for all acknowledgements, and a bounded number pending. */
async function burst({ url, subject, idField, id, fields, dataBytes, events }: Burst): Promise<void> {
  const nc = await connect({ servers: url })
  const inbox = createInbox()
  let sent = 0
  let acknowledged = 0
  let refused = ''
  let wake = () => {}
  nc.subscribe(inbox, {
    callback: (error, message) => {
      const answer = error?.message ?? message.string()
      if (!answer.includes('"seq":')) refused ||= answer
      acknowledged++
      if (acknowledged === sent || sent - acknowledged === UNACKNOWLEDGED_MAX / 2) wake()
    },
  })
  while (acknowledged < events && refused === '') {
    for (; sent < events && sent - acknowledged < UNACKNOWLEDGED_MAX; sent++) {
      const n = (counts[0] = (counts[0] ?? 0) + 1)
      nc.publish(
        subject,
        `{"data":${eventData({ idField, id, fields, n, dueUs: monotonicUs(), series: 0 }, dataBytes)}}`,
        { reply: inbox },
      )
    }
    await new Promise<void>((resolve) => (wake = resolve))
  }
  await nc.close()
  if (refused !== '') throw new Error(`JetStream did not store an event: ${refused}`)
}

answerCalls<Publisher>({ publish, burst, counts: () => Array.from(counts, (count = 0) => count) })
