import { connect } from 'nats'
import { answerCalls } from './calls.ts'
import { monotonicUs } from './clock.ts'
import { eventData } from './event-data.ts'

/** A process: publishes numbered events to JetStream, on a schedule. */

export interface Schedule {
  readonly url: string
  readonly subject: string
  /** Name of the id in the data. */
  readonly idField: string
  /** Number of the first event. */
  readonly from: number
  readonly events: number
  readonly perSecond: number
  /** Exact length of each event's `data`, as JSON. */
  readonly dataBytes: number
}

const HEAD_START_US = 20_000

export interface Publisher {
  /**
   * Publishes all of a schedule; resolves when the last one is stored. Each event says when it was due, not when its
   * turn came, so that a stall counts for all who waited in it.
   * @returns how late the latest was handed to NATS
   */
  publish(schedule: Schedule): Promise<{ lateMsMax: number }>
}

async function publish({ url, subject, idField, from, events, perSecond, dataBytes }: Schedule): Promise<{ lateMsMax: number }> {
  const nc = await connect({ servers: url })
  const js = nc.jetstream()
  const acks: Promise<unknown>[] = []
  const startUs = monotonicUs() + HEAD_START_US
  let lateUsMax = 0
  for (let i = 0; i < events; i++) {
    const dueUs = startUs + (i * 1e6) / perSecond
    for (let nowUs = monotonicUs(); nowUs < dueUs; nowUs = monotonicUs()) await new Promise((resolve) => setTimeout(resolve, (dueUs - nowUs) / 1000))
    // A failed ack rejects with nobody there to catch it: the process ends, and the bench with it.
    acks.push(js.publish(subject, `{"data":${eventData(idField, from + i, dueUs, dataBytes)}}`))
    lateUsMax = Math.max(lateUsMax, monotonicUs() - dueUs)
  }
  await Promise.all(acks)
  await nc.close()
  return { lateMsMax: lateUsMax / 1000 }
}

answerCalls<Publisher>({ publish })
