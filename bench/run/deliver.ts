import type { GroupOptions } from '../load/connection-group.ts'
import { type GroupTally, merged } from '../load/crowd.ts'
import type { Target } from '../load/dialects/target.ts'
import type { Env, Peer } from '../peers/peer.ts'
import { progress } from './progress.ts'
import type { Run } from '../report/result.ts'
import type { Workload } from '../events/workload.ts'
import { Deliveries, figuresOf, warmUp } from './deliveries.ts'
import { Recorder } from './recorder.ts'
import type { Session } from './session.ts'
import { type Load, NotMeasured, type Place, Stage } from './stage.ts'

/** A steady load: what most scenarios put a server through. */
export interface Delivering {
  readonly workload: Workload
  readonly groups: (target: Target) => readonly GroupOptions[]
  /** Published at the same time. */
  readonly loads: readonly Load[]
  readonly warmupSeconds: number
  /** Clients of the raw server subscribe by message, as Roomcast's do, instead of being subscribed as they open. */
  readonly rawByMessage?: boolean
  readonly env?: Env
  readonly connectTimeoutMs?: number
  readonly arrivalTimeoutMs?: number
  /** Connections that the server cut are counted, rather than nothing is measured. */
  readonly countsCut?: boolean
  /** Done each second meanwhile. Connections that leave come back. */
  readonly eachSecond?: (stage: Stage) => Promise<unknown>
}

const SAMPLE_MS = 500
/** Measured in one turn. */
const TURN_S = 2.5
/**
 * Load before each turn, unmeasured. Who had nothing for a while acknowledges the next 16 segments at once (Linux'
 * `TCP_MAX_QUICKACKS`), and over the loopback it is the sender's core that this is done on: a delivery costs a quarter
 * more.
 */
const RUN_IN_S = 2

/** Everybody in one room for all. */
export function oneRoom(connections: number): Delivering['groups'] {
  return (target) => [{ name: 'all', target, connections, common: true, series: 0 }]
}

/** Everybody in one of so many. */
export function manyRooms(connections: number, rooms: number): Delivering['groups'] {
  return (target) => [{ name: 'all', target, connections, common: false, series: rooms }]
}

/** What a server had to say to its load. */
export interface Delivered {
  readonly run: Run
  /** By group. */
  readonly tallies: ReadonlyMap<string, GroupTally>
}

/** Which case and which round it is. */
export interface At {
  readonly case: string
  readonly round: number
}

/**
 * Starts a server, connects everybody, publishes, measures; and ends all of it.
 * @returns the run of all groups together, and what each of them had
 * @throws NotMeasured where not everybody could be connected, or stayed so
 */
export async function deliver(peer: Peer, load: Delivering, place: Place, at: At, label: string): Promise<Delivered> {
  const [delivered] = await deliverInTurn([peer], load, place, at, label)
  return delivered as Delivered
}

/**
 * The same with servers that run side by side, each with clients of its own, and are measured in turn: what a delivery
 * costs on a machine may change by a third within seconds, which then meets them all.
 * @returns as many as there are peers, in their order
 */
async function deliverInTurn(
  peers: readonly Peer[],
  load: Delivering,
  place: Place,
  at: At,
  label: string,
): Promise<Delivered[]> {
  const { loads, warmupSeconds, eachSecond } = load
  const seconds = Math.max(...loads.map((each) => each.seconds))
  const stages: Stage[] = []
  try {
    const sides = []
    for (const peer of peers) {
      const who = peers.length === 1 ? '' : ` ${peer.title}`
      progress(`${label}: starting${who}`)
      const stage = await Stage.open({ ...load, peer, comeBack: eachSecond !== undefined }, place)
      stages.push(stage)
      progress(`${label}: connecting ${stage.crowd.size}${who && ` to${who}`}`)
      sides.push({ peer, stage, connecting: await stage.connect() })
    }
    progress(`${label}: warming up for ${warmupSeconds * peers.length} s`, warmupSeconds * peers.length)
    for (const { stage } of sides) await warmUp(stage, loads, warmupSeconds)
    const turns = peers.length === 1 ? 1 : turnsOf(loads)
    const runIn = peers.length === 1 ? 0 : RUN_IN_S
    const allSeconds = (seconds + turns * runIn) * peers.length
    progress(`${label}: measuring for ${allSeconds} s`, allSeconds)
    const measured = sides.map((side) => ({
      ...side,
      recorder: new Recorder(side.stage, SAMPLE_MS),
      deliveries: new Deliveries(side.stage),
    }))
    for (const { recorder } of measured) recorder.pause()
    const turnLoads = loads.map((each) => ({ ...each, seconds: each.seconds / turns }))
    for (let turn = 0; turn < turns; turn++) {
      // Who comes first takes turns as well: the machine may become faster or slower meanwhile.
      for (const { stage, recorder, deliveries } of turn % 2 === 0 ? measured : measured.toReversed()) {
        let done: Promise<unknown> = Promise.resolve()
        const tick = () => {
          done = Promise.all([done, eachSecond?.(stage)])
        }
        const ticking = eachSecond && setInterval(tick, 1_000)
        recorder.resume()
        await deliveries.runIn(loads, runIn)
        await deliveries.turn(turnLoads)
        recorder.pause()
        clearInterval(ticking)
        await done
      }
    }
    const delivered = []
    for (const { peer, stage, connecting, recorder, deliveries } of measured) {
      const delivering = deliveries.figures()
      await stage.arrival()
      const timeline = await recorder.stop()
      const tallies = await stage.tally()
      const all = merged([...tallies.values()])
      if (all.cut > 0 && !load.countsCut)
        throw new NotMeasured(`${all.cut} connections to ${peer.title} were cut: ${all.reason}`)
      const figures = {
        ...delivering,
        ...figuresOf(all),
        ...connecting,
        peakBytes: Math.max(...timeline.memoryMb) * 2 ** 20,
      }
      delivered.push({ run: { side: peer.name, ...at, figures, latencies: all.latencies.encode(), timeline }, tallies })
    }
    return delivered
  } finally {
    for (const stage of stages) await stage.close()
  }
}

/** Not of less than an event. */
function turnsOf(loads: readonly Load[]): number {
  return Math.max(
    1,
    Math.floor(Math.min(...loads.map(({ perSecond, seconds }) => Math.min(seconds / TURN_S, seconds * perSecond)))),
  )
}

/**
 * One round of all sides: Roomcast in turn with the raw server that its goals are set by, each of the others alone. In
 * each second round Roomcast is started and connected before the raw one.
 */
export async function deliverRound(session: Session, load: Delivering, at: At, label: string): Promise<void> {
  const pair = session.peers.filter(({ name }) => name === 'raw' || name === 'roomcast')
  const others = session.peers.filter((peer) => !pair.includes(peer))
  for (const peers of [at.round % 2 === 1 ? pair : pair.toReversed(), ...others.map((peer) => [peer])]) {
    const of = `${label}, ${peers.map(({ title }) => title).join(' and ')}`
    await session.measureAll(of, peers, async () =>
      (await deliverInTurn(peers, load, session.place, at, of)).map(({ run }) => run),
    )
  }
}

/** Starts a server, connects everybody, and ends all of it: what a connection costs. */
export async function connectOnly(
  peer: Peer,
  load: Pick<Delivering, 'workload' | 'groups'>,
  place: Place,
  at: At,
  label: string,
): Promise<Run> {
  progress(`${label}: connecting`)
  const stage = await Stage.open({ ...load, peer }, place)
  try {
    return { side: peer.name, ...at, figures: await stage.connect() }
  } finally {
    await stage.close()
  }
}
