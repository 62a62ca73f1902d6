import type { Command } from 'commander'
import type { GroupOptions } from '../load/connection-group.ts'
import type { Target } from '../load/dialects/target.ts'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import { roomcast } from '../peers/roomcast.ts'
import { targetOf } from '../peers/target.ts'
import type { Result } from '../report/result.ts'
import { faultless, threshold } from '../report/thresholds.ts'
import { deliver } from '../run/deliver.ts'
import { figuresOf } from '../run/deliveries.ts'
import { check, checked, number, seed, settingsOf, warmup } from '../run/options.ts'
import { Session } from '../run/session.ts'
import { requireWorkers, workersEnv } from '../run/workers.ts'
import { ROOM_WORKLOADS, type Workload } from '../events/workload.ts'

interface CrowdFlags {
  readonly workers: number
  readonly connections: number
  readonly rooms: number
  readonly payload: number
  readonly rate: number
  readonly roomRate: number
  readonly seconds: number
  readonly warmup: number
  readonly seed: number
  readonly check?: true
}

const KB_MAX = 4
const CONNECT_TIMEOUT_MS = 180_000
/** Everybody is in the room for all and in one of their own. */
const RAW: Workload = { ...ROOM_WORKLOADS.raw, subscribe: '{"rooms":["all","room:{series}"]}' }
const COMMON_TYPE = 'common'

/** `crowd`: tens of thousands of connections of both protocols, in one room for all and in many small ones. */
export function addCrowd(program: Command): void {
  program
    .command('crowd')
    .description(
      'tens of thousands of connections, half raw and half Socket.IO, in one room for all and in many small ones; nothing is pinned to a core',
    )
    .addOption(number('--workers <n>', 'WORKERS of the broker; each may open as many files as a process may', 4, 1))
    .addOption(number('--connections <n>', 'connections', 50_000, 2))
    .addOption(number('--rooms <n>', 'small rooms; members of both protocols in each', 2_000, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 300, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second to everybody', 1, 0.1))
    .addOption(number('--room-rate <events>', 'events a second to the small rooms, by chance', 200, 0.1))
    .addOption(number('--seconds <s>', 'measured time', 60, 1))
    .addOption(warmup())
    .addOption(seed())
    .addOption(check())
    .action(async (flags: CrowdFlags) => checked(flags, await crowd(flags)))
}

async function crowd(flags: CrowdFlags): Promise<Result> {
  const { workers, connections, rooms, payload, rate, roomRate, seconds } = flags
  requireWorkers(workers)
  const session = await Session.open({
    scenario: 'crowd',
    settings: settingsOf(flags),
    peers: ['roomcast'],
    seed: flags.seed,
    unpinned: true,
  })
  const half = Math.floor(connections / 2)
  const load = {
    workload: RAW,
    groups: ({ port }: Target): GroupOptions[] => [
      { name: 'raw', target: targetOf(RAW, port), connections: half, common: true, series: rooms },
      {
        name: 'socketio',
        target: targetOf(ROOM_WORKLOADS.socketio, port),
        connections: connections - half,
        common: true,
        series: rooms,
      },
    ],
    loads: [
      { perSecond: rate, seconds, dataBytes: payload, type: COMMON_TYPE },
      { perSecond: roomRate, seconds, dataBytes: payload, series: rooms },
    ],
    warmupSeconds: flags.warmup,
    env: workersEnv(workers),
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
  }
  await session.measure('crowd', roomcast, async () => {
    const { run, tallies } = await deliver(roomcast, load, session.place, { case: 'both', round: 1 }, 'crowd')
    for (const [name, tally] of tallies)
      session.runs.push({
        side: 'roomcast',
        case: name,
        round: 1,
        figures: figuresOf(tally),
        latencies: tally.latencies.encode(),
      })
    return run
  })
  const both = session.runs.filter((run) => run.case === 'both')
  return session.close([
    threshold('memory per connection, KB', (both[0]?.figures.connectionBytes ?? Number.NaN) / 1024, KB_MAX),
    faultless(both),
  ])
}
