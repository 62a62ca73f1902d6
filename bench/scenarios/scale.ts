import { availableParallelism } from 'node:os'
import type { Command } from 'commander'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import { roomcast } from '../peers/roomcast.ts'
import type { Result } from '../report/result.ts'
import { faultless } from '../report/thresholds.ts'
import { deliver, oneRoom } from '../run/deliver.ts'
import { check, checked, number, protocol, seed, settingsOf, warmup } from '../run/options.ts'
import { Session } from '../run/session.ts'
import { requireWorkers, workersEnv } from '../run/workers.ts'
import { type ProtocolName, WORKLOADS } from '../events/workload.ts'

interface ScaleFlags {
  readonly protocol: ProtocolName
  readonly workers: number
  readonly subscribers: number
  readonly payload: number
  readonly rate: number
  readonly seconds: number
  readonly warmup: number
  readonly seed: number
  readonly check?: true
}

/** `scale`: the same load on 1 to n workers. */
export function addScale(program: Command): void {
  program
    .command('scale')
    .description('1 to n workers under the same load; nothing is pinned to a core')
    .addOption(protocol())
    .addOption(number('--workers <n>', 'up to so many; 1, 2, 4 … are measured', availableParallelism(), 1))
    .addOption(number('--subscribers <n>', 'connections', 10_000, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second, to everybody', 10, 0.1))
    .addOption(number('--seconds <s>', 'measured time', 15, 1))
    .addOption(warmup())
    .addOption(seed())
    .addOption(check())
    .action(async (flags: ScaleFlags) => checked(flags, await scale(flags)))
}

async function scale(flags: ScaleFlags): Promise<Result> {
  requireWorkers(flags.workers)
  const session = await Session.open({
    scenario: 'scale',
    settings: settingsOf(flags),
    peers: ['roomcast'],
    seed: flags.seed,
    unpinned: true,
  })
  const counts = new Set<number>()
  for (let workers = 1; workers < flags.workers; workers *= 2) counts.add(workers)
  counts.add(flags.workers)
  for (const workers of counts) {
    const label = `${workers} worker${workers === 1 ? '' : 's'}`
    const load = {
      workload: WORKLOADS[flags.protocol],
      groups: oneRoom(flags.subscribers),
      loads: [{ perSecond: flags.rate, seconds: flags.seconds, dataBytes: flags.payload }],
      warmupSeconds: flags.warmup,
      env: workersEnv(workers),
    }
    await session.measure(
      label,
      roomcast,
      async () => (await deliver(roomcast, load, session.place, { case: label, round: 1 }, label)).run,
    )
  }
  return session.close([faultless(session.runs)])
}
