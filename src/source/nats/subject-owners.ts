import { type JetStreamManager, NatsError } from 'nats'
import { BrokerError } from '../../errors.ts'
import { EVENT_SUBJECTS } from '../source.ts'

/** JetStream's answer if another stream has some of the subjects. */
const SUBJECTS_OVERLAP = 10065
/** As many owners are named; a stream that could be used is among the first. */
const OWNERS_TOLD_MAX = 5

export function isOverlap(error: unknown): boolean {
  return error instanceof NatsError && error.api_error?.err_code === SUBJECTS_OVERLAP
}

/** Which streams have the subjects of events, and what to do. */
export async function overlapping(jsm: JetStreamManager, wanted: string): Promise<BrokerError> {
  // Permissions may forbid to ask for the names of streams.
  const owners = await ownersOf(jsm).catch(() => [])
  const [first] = owners
  const whole = owners.find(({ subjects }) => subjects.includes(EVENT_SUBJECTS)) ?? first
  const named = owners.map(({ name, subjects }) => `stream ${name} owns ${subjects.join(', ')}`).join(', ')
  return new BrokerError(
    'SOURCE_UNFIT',
    `The stream ${wanted} cannot be made, since subjects belong to one stream: ${named || `another stream owns some of ${EVENT_SUBJECTS}`}. Set STREAM_NAME=${whole?.name ?? '<that stream>'} to use it, or take these subjects from it`,
  )
}

async function ownersOf(jsm: JetStreamManager): Promise<{ name: string; subjects: string[] }[]> {
  const names = await jsm.streams.names(EVENT_SUBJECTS).next()
  return Promise.all(
    names.slice(0, OWNERS_TOLD_MAX).map(async (name) => {
      const { config } = await jsm.streams.info(name)
      return { name, subjects: config.subjects.filter((subject) => /^(events\.|>|\*)/.test(subject)) }
    }),
  )
}
