import { connect } from 'nats'

/** As long as a stream's epoch in Roomcast's positions. */
const EPOCH = '0123456789'
const decoder = new TextDecoder()

/** An event, as clients get it. */
export interface Event {
  readonly type: string
  readonly timestamp: string
  readonly data: unknown
  /** Position: epoch and sequence. */
  readonly id: string
}

/** Calls back with each event of a subject: the least that a peer of Roomcast does with NATS. */
export async function subscribeEvents(
  url: string,
  subject: string,
  type: string,
  onEvent: (event: Event) => void,
): Promise<void> {
  const nc = await connect({ servers: url })
  let events = 0
  nc.subscribe(subject, {
    callback: (_error, message) => {
      const { data } = JSON.parse(decoder.decode(message.data))
      onEvent({ type, timestamp: new Date().toISOString(), data, id: `${EPOCH}-${++events}` })
    },
  })
  await nc.flush()
}

/** Tells the bench where the server listens. */
export function printPort(port: number): void {
  process.stdout.write(`${JSON.stringify({ port })}\n`)
}
