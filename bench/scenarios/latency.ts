import type { Command } from 'commander'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import type { Result } from '../report/result.ts'
import { against, faultless, ratio, threshold } from '../report/thresholds.ts'
import { deliverRound, oneRoom } from '../run/deliver.ts'
import {
  check,
  checked,
  type CommonFlags,
  number,
  peers,
  profile,
  protocol,
  seed,
  settingsOf,
  sidesOf,
  warmup,
} from '../run/options.ts'
import { Session } from '../run/session.ts'
import { WORKLOADS } from '../events/workload.ts'

export interface LatencyFlags extends CommonFlags {
  readonly subscribers: number
  readonly payload: number
  readonly rate: number
  readonly seconds: number
  readonly warmup: number
  readonly rounds: number
}

const P99_RATIO_MAX = 1.3

/** `latency`: from publication to NATS until a client has it, with cores that are far from busy. */
export function addLatency(program: Command): void {
  program
    .command('latency')
    .description('NATS publish to client at moderate load, where no server is busy')
    .addOption(protocol())
    .addOption(number('--subscribers <n>', 'connections, all in the room', 200, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second', 50, 0.1))
    .addOption(
      number(
        '--seconds <s>',
        'measured time of each side of a round: Roomcast and raw side by side, 2.5 s each in turn; the others alone',
        15,
        1,
      ),
    )
    .addOption(warmup())
    .addOption(number('--rounds <n>', 'all sides this many times', 2, 1))
    .addOption(peers('raw'))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: LatencyFlags) => checked(flags, await latency(flags)))
}

export async function latency(flags: LatencyFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'latency',
    settings: settingsOf(flags),
    peers: sidesOf(flags, ['raw']),
    seed: flags.seed,
    profile: flags.profile,
  })
  const load = {
    workload: WORKLOADS[flags.protocol],
    groups: oneRoom(flags.subscribers),
    loads: [{ perSecond: flags.rate, seconds: flags.seconds, dataBytes: flags.payload }],
    warmupSeconds: flags.warmup,
  }
  for (let round = 1; round <= flags.rounds; round++)
    await deliverRound(session, load, { case: '', round }, `round ${round} of ${flags.rounds}`)
  const { runs } = session
  const p99 = runs.some(({ side }) => side === 'raw')
    ? [threshold('p99 latency, ratio', against(runs, 'raw', 'p99Ms', ratio), P99_RATIO_MAX)]
    : []
  return session.close([...p99, faultless(runs)])
}
