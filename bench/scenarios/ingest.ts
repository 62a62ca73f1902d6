import { resolve } from 'node:path'
import type { Command } from 'commander'
import { monotonicUs } from '../machine/clock.ts'
import { merged } from '../load/crowd.ts'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import type { Peer } from '../peers/peer.ts'
import { roomcastBefore } from '../peers/roomcast.ts'
import { progress } from '../run/progress.ts'
import type { Figures, Result, Run, Threshold } from '../report/result.ts'
import { against, faultless, ratio, threshold } from '../report/thresholds.ts'
import { oneRoom } from '../run/deliver.ts'
import {
  check,
  checked,
  checkedAgainst,
  number,
  numbers,
  otherBuild,
  profile,
  seed,
  settingsOf,
} from '../run/options.ts'
import { Session } from '../run/session.ts'
import { NotMeasured, type Place, Stage } from '../run/stage.ts'
import { cpuSince, residentBytesMax, totalOf } from '../machine/usage.ts'
import { WORKLOADS } from '../events/workload.ts'

interface IngestFlags {
  readonly events: number
  readonly subscribers: readonly number[]
  readonly payload: number
  readonly warmup: number
  readonly rounds: number
  readonly against?: string
  readonly seed: number
  readonly profile?: string
  readonly check?: true
}

/** "Not slower", with an allowance for the noise that is left in the median of the rounds. */
const RATIO_MAX = 1.05

const EVENTS_READ = 'roomcast_events_total'
const ARRIVAL_TIMEOUT_MS = 120_000
const LOOK_MS_MIN = 5
const LOOK_MS_MAX = 200
/** The broker checks the rate of events once a second and sizes its heap for it: by then it has done so. */
const SETTLE_MS = 1_500

/** `ingest`: what an event costs the broker from JetStream on, with few subscribers or none. */
export function addIngest(program: Command): void {
  program
    .command('ingest')
    .description(
      'a burst that JetStream holds already: how fast the broker reads it, and what an event costs, with few subscribers or none',
    )
    .addOption(number('--events <n>', 'events of the burst', 100_000, 1))
    .addOption(
      numbers(
        '--subscribers <n>',
        'connections that get all of them; several, comma separated, are measured one after the other',
        [0, 1, 20],
        0,
      ),
    )
    .addOption(number('--payload <bytes>', "length of each event's data", 300, PAYLOAD_BYTES_MIN))
    .addOption(number('--warmup <events>', 'events of a burst before it, that is not measured', 20_000, 0))
    .addOption(number('--rounds <n>', 'a new broker each time', 3, 1))
    .addOption(otherBuild())
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: IngestFlags, command: Command) => {
      checkedAgainst(flags, command)
      checked(flags, await ingest(flags))
    })
}

async function ingest(flags: IngestFlags): Promise<Result> {
  const others = flags.against === undefined ? [] : [roomcastBefore(resolve(flags.against))]
  const session = await Session.open({
    scenario: 'ingest',
    settings: settingsOf(flags),
    peers: ['roomcast'],
    others,
    seed: flags.seed,
    profile: flags.profile,
  })
  for (let round = 1; round <= flags.rounds; round++) {
    // Sides take turns in going first: the machine may become faster or slower meanwhile.
    const peers = round % 2 === 1 ? session.peers : session.peers.toReversed()
    for (const subscribers of flags.subscribers) {
      const label = `${nameOf(subscribers)}, round ${round} of ${flags.rounds}`
      await session.measureAll(label, peers, () => inTurn(peers, subscribers, flags, session.place, round, label))
    }
  }
  return session.close([
    ...flags.subscribers.flatMap((subscribers) => thresholdsOf(subscribers, session.runs)),
    faultless(session.runs),
  ])
}

function nameOf(subscribers: number): string {
  return subscribers === 1 ? '1 subscriber' : `${subscribers.toLocaleString('en')} subscribers`
}

function thresholdsOf(subscribers: number, all: readonly Run[]): Threshold[] {
  const name = nameOf(subscribers)
  const runs = all.filter((run) => run.case === name)
  if (runs.every(({ side }) => side !== 'before')) return []
  return [
    threshold(
      `${name}: CPU per event, ratio to the build before`,
      against(runs, 'before', 'cpuPerEventUs', ratio),
      RATIO_MAX,
    ),
    threshold(
      `${name}: time for the burst, ratio to the build before`,
      against(runs, 'before', 'eventsPerSecond', (now, before) => before / now),
      RATIO_MAX,
    ),
  ]
}

/**
 * Starts all sides, each with its own nats-server and clients, and measures one after the other.
 */
async function inTurn(
  peers: readonly Peer[],
  subscribers: number,
  flags: IngestFlags,
  place: Place,
  round: number,
  label: string,
): Promise<Run[]> {
  const stages: { readonly peer: Peer; readonly stage: Stage }[] = []
  try {
    for (const peer of peers) {
      progress(`${label}: starting ${peer.title}`)
      const stage = await Stage.open({ peer, workload: WORKLOADS.raw, groups: oneRoom(subscribers) }, place)
      stages.push({ peer, stage })
      await stage.connect()
    }
    for (const { peer, stage } of stages) {
      progress(`${label}: warming ${peer.title} up`)
      await stage.burst(flags.warmup, flags.payload)
      await allRead(stage, 0, flags.warmup, subscribers)
    }
    const runs: Run[] = []
    for (const { peer, stage } of stages) {
      progress(`${label}: a burst for ${peer.title}`)
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
      runs.push({ side: peer.name, case: nameOf(subscribers), round, figures: await burst(stage, subscribers, flags) })
    }
    return runs
  } finally {
    for (const { stage } of stages) await stage.close()
  }
}

/**
 * The broker is suspended while nats-server stores the burst, so that neither the publisher nor the storing is
 * measured.
 */
async function burst(stage: Stage, subscribers: number, { events, payload, warmup }: IngestFlags): Promise<Figures> {
  const { arrived: arrivedBefore } = await stage.crowd.state()
  stage.suspend()
  await stage.burst(events, payload)
  const start = stage.usage()
  stage.resume()
  const lastUs = await allRead(stage, warmup, events, subscribers)
  const end = stage.usage()
  const { arrived } = await stage.crowd.state()
  const { missing, twice, disordered } = merged([...(await stage.tally()).values()])
  const deliveries = arrived - arrivedBefore
  const cpuUs = totalOf(cpuSince(start.server, end.server))
  return {
    cpuPerEventUs: cpuUs / events,
    eventsPerSecond: events / ((lastUs - start.us) / 1e6),
    peakBytes: residentBytesMax(stage.pid),
    clientBusy: (end.clientUs - start.clientUs) / (end.us - start.us),
    othersBusy: Math.max(0, end.othersUs - start.othersUs) / (end.us - start.us),
    deliveries,
    missing,
    twice,
    disordered,
  }
}

/**
 * Waits until the broker has read so many events after the first `before`, or all subscribers have them.
 * @returns when the last came, µs
 */
async function allRead(stage: Stage, before: number, events: number, subscribers: number): Promise<number> {
  if (subscribers > 0) {
    // Events that never arrive are counted as missing.
    await stage.arrival(ARRIVAL_TIMEOUT_MS)
    return (await stage.crowd.state()).lastArrivedUs
  }
  const startUs = monotonicUs()
  for (;;) {
    const read = ((await stage.metric(EVENTS_READ)) ?? 0) - before
    const atUs = monotonicUs()
    if (read >= events) return atUs
    const passedMs = (atUs - startUs) / 1000
    if (passedMs > ARRIVAL_TIMEOUT_MS)
      throw new NotMeasured(`read ${read} of ${events} events in ${ARRIVAL_TIMEOUT_MS / 1000} s`)
    // Each request costs the broker CPU: ask seldom while much is left, and often at the end.
    const leftMs = read <= 0 ? LOOK_MS_MAX : (passedMs * (events - read)) / read
    await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK_MS_MAX, Math.max(LOOK_MS_MIN, leftMs / 2))))
  }
}
