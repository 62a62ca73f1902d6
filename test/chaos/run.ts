import { JSONCodec } from 'nats'
import { eventually } from '../support/client.ts'
import { carryOut } from './actions.ts'
import { STREAM, versionOf } from './nats-cluster.ts'
import { judge, type Truth, type Verdict } from './oracle.ts'
import { type Fault, plan } from './plan.ts'
import { Stage, type StageOptions } from './stage.ts'

export interface RunOptions extends StageOptions {
  readonly seed: number
  /** How long faults go on. */
  readonly seconds: number
}

export interface ActionDone {
  readonly atMs: number
  readonly endedMs: number
  readonly fault: Fault
}

export interface Result {
  readonly schedule: string
  readonly seed: number
  readonly natsVersion: string
  /** Events that were acknowledged. */
  readonly published: number
  readonly verdicts: readonly Verdict[]
  readonly actions: readonly ActionDone[]
  /** Brokers that ended, and workers, without our doing. */
  readonly exits: readonly string[]
  /** What else is wrong: a broker that is not ready in the end, events that NATS lost. */
  readonly faults: readonly string[]
  readonly passed: boolean
  /** Everything that happened, for a file. */
  readonly evidence: Evidence
}

export interface Evidence {
  readonly startMs: number
  readonly clients: Stage['clients']
  readonly brokerLogs: readonly string[]
  readonly natsLogs: readonly string[]
}

const READY_MS = 60_000
const HEALED_MS = 40_000
const CATCH_UP_MS = 150_000
const ROUND_MS = 3_000
/** What comes twice comes soon. */
const AFTERGLOW_MS = 500
const AUDIT_BATCH = 500
const READS_IN_VAIN_MAX = 10
const codec = JSONCodec<{ data: { room: string; n: number } }>()

/**
 * One schedule, once: sets the stage, breaks things for a while, heals everything, waits until everybody has the last
 * event, and judges.
 */
export async function run(options: RunOptions): Promise<Result> {
  const { schedule, seed, seconds } = options
  const stage = await Stage.set(options)
  const startMs = Date.now()
  try {
    const { publisher, clients, brokers } = stage
    await eventually(() => clients.every(({ recorder }) => recorder.connects > 0), READY_MS)
    await publisher.once()
    await eventually(
      () => clients.every((client) => client.rooms.every((room) => client.recorder.newest.has(room))),
      READY_MS,
    )
    publisher.start()
    const endMs = Date.now() + seconds * 1_000
    const actions: ActionDone[] = []
    await Promise.all(plan(schedule, seed, seconds).map((faults) => play(faults, stage, endMs, actions)))
    await heal(stage)
    const faults: string[] = []
    const note = (error: Error) => void faults.push(error.message.slice(0, 300))
    await publisher.finish(HEALED_MS).catch(note)
    await everybodyHasTheLast(stage)
    await Promise.all(
      brokers.map((broker, i) =>
        eventually(async () => (await broker.whyNotReady()) === undefined, HEALED_MS / 4).catch(
          async () => void faults.push(`broker ${i} is not ready: ${await broker.whyNotReady()}`),
        ),
      ),
    )
    await new Promise((resolve) => setTimeout(resolve, AFTERGLOW_MS))
    const truth = {
      published: publisher.published,
      repeated: publisher.repeated,
      destroys: schedule.destroys ?? false,
      stored: await readStored(stage).catch((error: Error) => {
        note(error)
        return new Map<string, number[]>()
      }),
    }
    for (const client of clients) client.end()
    if (!truth.destroys) faults.push(...lostByNats(truth))
    const verdicts = clients.map((client) => judge(client, truth))
    const exits = brokers.flatMap((broker) => [...broker.exits, ...broker.workerDeaths])
    return {
      schedule: schedule.name,
      seed,
      natsVersion: versionOf(options.nats),
      published: publisher.total,
      verdicts,
      actions,
      exits,
      faults,
      passed: verdicts.every(({ passed }) => passed) && exits.length === 0 && faults.length === 0,
      evidence: {
        startMs,
        clients,
        brokerLogs: brokers.map(({ broker }) => broker.log),
        natsLogs: stage.nats.nodes.map(({ log }) => log),
      },
    }
  } finally {
    await stage.clear()
  }
}

/** The faults of one lane, one after another, until the time is over. */
async function play(faults: readonly Fault[], stage: Stage, endMs: number, actions: ActionDone[]): Promise<void> {
  for (const fault of faults) {
    if (Date.now() + fault.pauseMs > endMs) break
    await new Promise((resolve) => setTimeout(resolve, fault.pauseMs))
    const atMs = Date.now()
    await carryOut(fault, stage)
    actions.push({ atMs, endedMs: Date.now(), fault })
  }
}

async function heal({ nats, brokers, natsProxies, clientProxies }: Stage): Promise<void> {
  for (const proxy of [...natsProxies, ...clientProxies]) proxy.heal()
  await nats.heal()
  await nats.settled(HEALED_MS)
  for (const broker of brokers) broker.resume()
  await Promise.all(brokers.map((broker) => broker.start()))
}

/**
 * Who comes back anew has nothing to wait for: there is another event for each room every while. A slow client may take
 * its time, as long as it gets on.
 */
async function everybodyHasTheLast(stage: Stage): Promise<void> {
  const { clients, publisher } = stage
  const late = () => clients.filter((client) => !client.rooms.every((room) => hasLast(stage, client, room)))
  const stepOf = () => late().reduce((sum, { marks }) => sum + marks.length, 0)
  const capMs = Date.now() + CATCH_UP_MS
  let [step, sinceMs] = [stepOf(), Date.now()]
  while (
    !(await eventually(() => late().length === 0, ROUND_MS).then(
      () => true,
      () => false,
    ))
  ) {
    if (stepOf() !== step) [step, sinceMs] = [stepOf(), Date.now()]
    if (Date.now() > Math.min(capMs, sinceMs + HEALED_MS)) return
    await publisher.once()
  }
}

function hasLast({ publisher }: Stage, { recorder }: Stage['clients'][number], room: string): boolean {
  return recorder.newest.get(room) === (publisher.published.get(room) ?? 0) - 1
}

/** Reads the whole stream, past all proxies. */
async function readStored({ nats }: Stage): Promise<Map<string, number[]>> {
  const js = (await nats.client()).jetstream()
  const { state } = await (await nats.manager()).streams.info(STREAM)
  const stored = new Map<string, number[]>()
  const consumer = await js.consumers.get(STREAM)
  for (let seq = state.first_seq - 1, inVain = 0; seq < state.last_seq; ) {
    const before = seq
    for await (const message of await consumer.fetch({ max_messages: AUDIT_BATCH, expires: 2_000 })) {
      seq = message.seq
      const { room, n } = codec.decode(message.data).data
      const key = `${room}#${n}`
      stored.set(key, [...(stored.get(key) ?? []), seq])
      if (seq >= state.last_seq) break
    }
    inVain = seq === before ? inVain + 1 : 0
    // On a busy machine a fetch may end before its first message.
    if (inVain > READS_IN_VAIN_MAX) throw new Error(`the stream could be read up to ${seq} of ${state.last_seq} only`)
  }
  return stored
}

function lostByNats({ published, stored }: Truth): string[] {
  const missing = [...published]
    .flatMap(([room, count]) => Array.from({ length: count }, (_, n) => `${room}#${n}`))
    .filter((key) => !stored.has(key))
  return missing.length === 0
    ? []
    : [`NATS acknowledged ${missing.length} events that it does not have: ${missing.slice(0, 5).join(', ')}`]
}
