import { type JetStreamManager, NatsError } from 'nats'
import { BrokerError } from '../../errors.ts'
import { EVENT_SUBJECTS } from '../source.ts'
import { intersects } from '../../subjects.ts'

/** JetStream's answer if another stream has some of the subjects. */
const SUBJECTS_OVERLAP = 10065
/** As many owners are named; a stream that could be used is among the first. */
const OWNERS_TOLD_MAX = 5

export function isOverlap(error: unknown): boolean {
  return error instanceof NatsError && error.api_error?.err_code === SUBJECTS_OVERLAP
}

/** Which streams have the subjects that another one is to hold, and what to do. */
export async function overlapping(
  jsm: JetStreamManager,
  wanted: string,
  subjects: readonly string[],
): Promise<BrokerError> {
  // Permissions may forbid to ask for the names of streams.
  const owners = (await Promise.all(subjects.map((subject) => ownersOf(jsm, subject).catch(() => []))))
    .flat()
    .filter(({ name }, index, all) => name !== wanted && index === all.findIndex((other) => other.name === name))
  const [first] = owners
  const whole = owners.find((owner) => owner.subjects.includes(EVENT_SUBJECTS)) ?? first
  const named = owners.map((owner) => `stream ${owner.name} owns ${owner.subjects.join(', ')}`).join(', ')
  const sources = owners.map(({ name }) => name).join()
  return new BrokerError(
    'SOURCE_UNFIT',
    `The stream ${wanted} cannot be made, since subjects belong to one stream: ${named || `another stream owns some of ${subjects.join(', ')}`}. Set STREAM_NAME=${whole?.name ?? '<that stream>'} to use it, or take these subjects from it${sources === '' ? '' : `; SOURCE_STREAMS=${sources} takes its events in`}`,
  )
}

async function ownersOf(jsm: JetStreamManager, wanted: string): Promise<{ name: string; subjects: string[] }[]> {
  const names = await jsm.streams.names(wanted).next()
  return Promise.all(
    names.slice(0, OWNERS_TOLD_MAX).map(async (name) => {
      const { config } = await jsm.streams.info(name)
      return { name, subjects: config.subjects.filter((subject) => intersects(subject, wanted)) }
    }),
  )
}
