import type { Command } from 'commander'
import { monotonicUs } from '../machine/clock.ts'
import type { PeerName, Peer, Side } from '../peers/peer.ts'
import { progress } from '../run/progress.ts'
import type { Result, Run, Threshold } from '../report/result.ts'
import { threshold } from '../report/thresholds.ts'
import { check, checked, number, peers, profile, seed, settingsOf, sidesOf } from '../run/options.ts'
import { Session } from '../run/session.ts'
import { type Place, Stage } from '../run/stage.ts'
import { cpuOfTree, cpuSince, totalOf } from '../machine/usage.ts'
import { type ProtocolName, WORKLOADS } from '../events/workload.ts'

interface IdleFlags {
  readonly connections: number
  readonly seconds: number
  readonly empty: number
  readonly idleTimeout: number
  readonly peers?: readonly PeerName[]
  readonly seed: number
  readonly profile?: string
  readonly check?: true
}

const US_PER_SECOND_MAX = 1
const KB_MAX = 4
/** Longer than the 8 s after which V8 collects garbage again once memory was measured. */
const SETTLE_SECONDS = 10

/** `idle`: what a connection costs that nothing is sent to, heartbeats included. */
export function addIdle(program: Command): void {
  program
    .command('idle')
    .description('CPU per second and memory of a quiet connection, heartbeats included, in both protocols')
    .addOption(number('--connections <n>', 'quiet connections', 10_000, 1))
    .addOption(number('--seconds <s>', 'measured time; Socket.IO pings every 25 s', 50, 1))
    .addOption(number('--empty <s>', 'time that is measured before, without connections', 5, 1))
    .addOption(
      number(
        '--idle-timeout <s>',
        "IDLE_TIMEOUT_S: 40 pings a raw client after 24 s of silence, about as often as Socket.IO does; the broker's default, 120, after 104 s",
        40,
        8,
      ),
    )
    .addOption(peers('raw'))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: IdleFlags) => checked(flags, await idle(flags)))
}

async function idle(flags: IdleFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'idle',
    settings: settingsOf(flags),
    peers: sidesOf({ protocol: 'raw', ...flags }, ['raw']),
    seed: flags.seed,
    profile: flags.profile,
  })
  for (const protocol of ['raw', 'socketio'] as const) {
    for (const peer of session.peers.filter(({ name }) => speaks(name, protocol))) {
      const label = `${peer.title}, ${protocol}`
      await session.measure(label, peer, () => rest(peer, protocol, flags, session.place, label))
    }
  }
  return session.close(thresholdsOf(session.runs))
}

/** Roomcast speaks both; the others are measured with what they speak. */
function speaks(name: Side, protocol: ProtocolName): boolean {
  return name === 'roomcast' || name.startsWith('socketio') === (protocol === 'socketio')
}

function thresholdsOf(runs: readonly Run[]): Threshold[] {
  return runs
    .filter(({ side }) => side === 'roomcast')
    .flatMap(({ case: protocol, figures: { idleUsPerSecond = Number.NaN, connectionBytes = Number.NaN } }) => [
      threshold(`${protocol}: CPU per quiet connection, µs/s`, idleUsPerSecond, US_PER_SECOND_MAX),
      threshold(`${protocol}: memory per quiet connection, KB`, connectionBytes / 1024, KB_MAX),
    ])
}

async function rest(
  peer: Peer,
  protocol: ProtocolName,
  { connections, seconds, empty, idleTimeout }: IdleFlags,
  place: Place,
  label: string,
): Promise<Run> {
  progress(`${label}: starting`)
  const stage = await Stage.open(
    {
      peer,
      workload: WORKLOADS[protocol],
      groups: (target) => [{ name: 'all', target, connections, common: true, series: 0 }],
      env: { IDLE_TIMEOUT_S: String(idleTimeout) },
    },
    place,
  )
  const cpuPerSecond = async (time: number) => {
    const start = { cpu: cpuOfTree(stage.pid), us: monotonicUs() }
    await new Promise((resolve) => setTimeout(resolve, time * 1000))
    return totalOf(cpuSince(start.cpu, cpuOfTree(stage.pid))) / ((monotonicUs() - start.us) / 1e6)
  }
  try {
    progress(`${label}: empty for ${empty} s`, empty)
    // Measured at rest: in the first seconds V8 still compiles.
    await stage.weigh()
    const emptyUsPerSecond = await cpuPerSecond(empty)
    progress(`${label}: connecting ${connections}`)
    const { connectSeconds: _, connectsPerSecond: __, ...connecting } = await stage.connect()
    await new Promise((resolve) => setTimeout(resolve, SETTLE_SECONDS * 1000))
    progress(`${label}: quiet for ${seconds} s`, seconds)
    const quietUsPerSecond = await cpuPerSecond(seconds)
    const { ready } = await stage.crowd.state()
    return {
      side: peer.name,
      case: protocol,
      round: 1,
      figures: {
        idleUsPerSecond: (quietUsPerSecond - emptyUsPerSecond) / connections,
        emptyUsPerSecond,
        ...connecting,
        ...(ready < connections ? { cut: connections - ready } : undefined),
      },
    }
  } finally {
    await stage.close()
  }
}
