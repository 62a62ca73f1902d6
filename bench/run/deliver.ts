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
  /** Counts connections that the server cut; otherwise one that is cut means that nothing was measured. */
  readonly countsCut?: boolean
  /** Called once a second meanwhile. Connections that leave come back. */
  readonly eachSecond?: (stage: Stage) => Promise<unknown>
}

const SAMPLE_MS = 500
/** Measured time of one turn. */
const TURN_S = 2.5
/**
 * Load before each turn that is not measured. After a pause a TCP receiver acknowledges the next 16 segments at once
 * (Linux' `TCP_MAX_QUICKACKS`). Over the loopback the sender's core does that work, and a delivery costs a quarter
 * more.
 */
const RUN_IN_S = 2

/** All connections in one room. */
export function oneRoom(connections: number): Delivering['groups'] {
  return (target) => [{ name: 'all', target, connections, common: true, series: 0 }]
}

/** Each connection in one of so many rooms. */
export function manyRooms(connections: number, rooms: number): Delivering['groups'] {
  return (target) => [{ name: 'all', target, connections, common: false, series: rooms }]
}

/** The figures of a server under load. */
export interface Delivered {
  readonly run: Run
  /** By group. */
  readonly tallies: ReadonlyMap<string, GroupTally>
}

/** The case and the round that are being measured. */
export interface At {
  readonly case: string
  readonly round: number
}

/**
 * Starts a server, connects all clients, publishes, measures, and stops everything.
 * @returns the run of all groups together, and what each of them had
 * @throws NotMeasured if not all clients could connect, or one was cut
 */
export async function deliver(peer: Peer, load: Delivering, place: Place, at: At, label: string): Promise<Delivered> {
  const [delivered] = await deliverInTurn([peer], load, place, at, label)
  return delivered as Delivered
}

/**
 * The same for servers that run side by side, each with its own clients, and are measured in turn: the cost of a
 * delivery on one machine may change by a third within seconds, and then it changes for all of them.
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
      // Sides take turns in going first: the machine may become faster or slower meanwhile.
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

/** Each turn publishes one event at least. */
function turnsOf(loads: readonly Load[]): number {
  return Math.max(
    1,
    Math.floor(Math.min(...loads.map(({ perSecond, seconds }) => Math.min(seconds / TURN_S, seconds * perSecond)))),
  )
}

/**
 * One round of all sides: Roomcast in turn with the raw server and with another build of itself, which its goals are
 * relative to, and each other side alone. In every second round they are started in reverse order.
 */
export async function deliverRound(session: Session, load: Delivering, at: At, label: string): Promise<void> {
  const together = session.peers.filter(({ name }) => name === 'raw' || name === 'roomcast' || name === 'before')
  const others = session.peers.filter((peer) => !together.includes(peer))
  for (const peers of [at.round % 2 === 1 ? together : together.toReversed(), ...others.map((peer) => [peer])]) {
    const of = `${label}, ${peers.map(({ title }) => title).join(' and ')}`
    await session.measureAll(of, peers, async () =>
      (await deliverInTurn(peers, load, session.place, at, of)).map(({ run }) => run),
    )
  }
}

/** Starts a server, connects all clients, and stops everything: what a connection costs. */
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
