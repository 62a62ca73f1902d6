import type { CohortOptions } from '../load/cohort.ts'
import { type CohortTally, merged } from '../load/crowd.ts'
import type { Target } from '../load/target.ts'
import type { Env, Peer } from '../peers/peer.ts'
import { progress } from '../progress.ts'
import type { Run } from '../report/result.ts'
import type { Workload } from '../workload.ts'
import { figuresOf, measureDeliveries, warmUp } from './deliveries.ts'
import { Recorder } from './recorder.ts'
import { type Load, NotMeasured, type Place, Stage } from './stage.ts'

/** A steady load: what most scenarios put a server through. */
export interface Delivering {
  readonly workload: Workload
  readonly cohorts: (target: Target) => readonly CohortOptions[]
  /** Published at the same time. */
  readonly loads: readonly Load[]
  readonly warmupSeconds: number
  /** Clients of the raw server subscribe by message, as Roomcast's do, instead of being subscribed as they open. */
  readonly rawByMessage?: boolean
  readonly env?: Env
  readonly connectTimeoutMs?: number
  /** Done each second meanwhile. Connections that leave come back. */
  readonly eachSecond?: (stage: Stage) => void
}

const SAMPLE_MS = 500

/** Everybody in one room for all. */
export function oneRoom(connections: number): Delivering['cohorts'] {
  return (target) => [{ name: 'all', target, connections, common: true, series: 0 }]
}

/** Everybody in one of so many. */
export function manyRooms(connections: number, rooms: number): Delivering['cohorts'] {
  return (target) => [{ name: 'all', target, connections, common: false, series: rooms }]
}

/**
 * Starts a server, connects everybody, publishes, measures; and ends all of it.
 * @returns the run of all cohorts together, and what each of them had
 * @throws NotMeasured where not everybody could be connected, or stayed so
 */
export async function deliver(peer: Peer, load: Delivering, place: Place, at: { readonly case: string; readonly round: number }, label: string): Promise<{ run: Run; tallies: ReadonlyMap<string, CohortTally> }> {
  const { loads, warmupSeconds, eachSecond } = load
  const seconds = Math.max(...loads.map((each) => each.seconds))
  progress(`${label}: starting`)
  const stage = await Stage.open({ ...load, peer, comeBack: eachSecond !== undefined }, place)
  try {
    progress(`${label}: connecting ${stage.crowd.size}`)
    const connecting = await stage.connect()
    progress(`${label}: warming up for ${warmupSeconds} s`, warmupSeconds)
    await warmUp(stage, loads, warmupSeconds)
    progress(`${label}: measuring for ${seconds} s`, seconds)
    const recorder = new Recorder(stage, SAMPLE_MS)
    const ticking = eachSecond && setInterval(() => eachSecond(stage), 1_000)
    const delivering = await measureDeliveries(stage, loads)
    clearInterval(ticking)
    await stage.arrival()
    const timeline = await recorder.stop()
    const tallies = await stage.tally()
    const all = merged([...tallies.values()])
    if (all.cut > 0) throw new NotMeasured(`${all.cut} connections were cut: ${all.reason}`)
    const figures = { ...delivering, ...figuresOf(all), ...connecting, peakBytes: Math.max(...timeline.memoryMb) * 2 ** 20 }
    return { run: { side: peer.name, ...at, figures, latencies: all.latencies.encode(), timeline }, tallies }
  } finally {
    await stage.close()
  }
}

/** Starts a server, connects everybody, and ends all of it: what a connection costs. */
export async function connectOnly(peer: Peer, load: Pick<Delivering, 'workload' | 'cohorts'>, place: Place, at: { readonly case: string; readonly round: number }, label: string): Promise<Run> {
  progress(`${label}: connecting`)
  const stage = await Stage.open({ ...load, peer }, place)
  try {
    return { side: peer.name, ...at, figures: await stage.connect() }
  } finally {
    await stage.close()
  }
}
