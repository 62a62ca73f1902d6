import { type Command, Option } from 'commander'
import { monotonicUs } from '../machine/clock.ts'
import type { GroupTally } from '../load/crowd.ts'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import type { Peer } from '../peers/peer.ts'
import { progress } from '../run/progress.ts'
import type { Result, Run, Threshold } from '../report/result.ts'
import { median } from '../report/summary.ts'
import { faultless, threshold } from '../report/thresholds.ts'
import { Deliveries, figuresOf, warmUp } from '../run/deliveries.ts'
import {
  check,
  checked,
  type CommonFlags,
  number,
  numbers,
  peers,
  profile,
  protocol,
  seed,
  settingsOf,
  sidesOf,
  warmup,
} from '../run/options.ts'
import { Recorder } from '../run/recorder.ts'
import { Session } from '../run/session.ts'
import { type Place, Stage } from '../run/stage.ts'
import { WORKLOADS } from '../events/workload.ts'

export interface SlowFlags extends CommonFlags {
  readonly subscribers: number
  readonly slow: readonly number[]
  readonly how: 'stalled' | 'throttled'
  readonly bytesPerSecond: number
  readonly payload: number
  readonly rate: number
  readonly seconds: number
  readonly warmup: number
  readonly release: number
  readonly rounds: number
}

const P99_RATIO_MAX = 1.2
const SAMPLE_MS = 250
/** Bytes per read of a throttled client. */
const THROTTLED_READ_BYTES = 4_096

/**
 * `slow`: how slow clients affect healthy ones and the server's memory, and whether they get everything once they are
 * fast again.
 */
export function addSlow(program: Command): void {
  program
    .command('slow')
    .description(
      '1, 5, 20 % of the clients read nothing, or little: what the others feel, memory, nothing missing after their release',
    )
    .addOption(protocol())
    .addOption(number('--subscribers <n>', 'connections, the slow ones included', 1_000, 1))
    .addOption(
      numbers(
        '--slow <percent>',
        'how many of them are slow, in percent; each is measured, and 0 before',
        [1, 5, 20],
        0.01,
      ),
    )
    .addOption(
      new Option('--how <way>', 'they read nothing, or so many bytes a second')
        .choices(['stalled', 'throttled'])
        .default('stalled'),
    )
    .addOption(number('--bytes-per-second <n>', 'what a throttled one reads', 20_000, 1))
    .addOption(
      number(
        '--payload <bytes>',
        "length of each event's data; the system buffers 4 to 5 MB for a stalled client before a server feels it",
        16_000,
        PAYLOAD_BYTES_MIN,
      ),
    )
    .addOption(number('--rate <events>', 'events a second', 30, 0.1))
    .addOption(number('--seconds <s>', 'time that they are slow', 15, 1))
    .addOption(warmup())
    .addOption(number('--release <s>', 'time that they may take afterwards to get everything', 60, 1))
    .addOption(number('--rounds <n>', 'everything this many times', 1, 1))
    .addOption(peers('none'))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: SlowFlags) => checked(flags, await slow(flags)))
}

export async function slow(flags: SlowFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'slow',
    settings: settingsOf(flags),
    peers: sidesOf(flags, []),
    seed: flags.seed,
    profile: flags.profile,
  })
  for (let round = 1; round <= flags.rounds; round++) {
    for (const peer of session.peers) {
      for (const percent of [0, ...flags.slow]) {
        const name = percent === 0 ? 'none slow' : `${percent} % ${flags.how}`
        const label = `round ${round} of ${flags.rounds}, ${peer.title}, ${name}`
        await session.measure(label, peer, async () => {
          const run = await measureSlow(peer, flags, percent, session.place, label)
          const without = session.runs.find(
            (other) => other.side === peer.name && other.case === 'none slow' && other.round === round,
          )
          const ratio =
            without === undefined
              ? undefined
              : { p99OfNoneSlow: (run.figures.p99Ms ?? Number.NaN) / (without.figures.p99Ms ?? Number.NaN) }
          return { ...run, case: name, round, figures: { ...run.figures, ...ratio } }
        })
      }
    }
  }
  return session.close(thresholdsOf(flags, session.runs))
}

function thresholdsOf({ slow: percents, how }: SlowFlags, runs: readonly Run[]): Threshold[] {
  const p99 = percents.map((percent) => {
    const name = `${percent} % ${how}`
    const values = runs
      .filter((run) => run.side === 'roomcast' && run.case === name)
      .map(({ figures }) => figures.p99OfNoneSlow ?? Number.NaN)
    return threshold(`healthy clients' p99 with ${name}, ratio to none`, median(values), P99_RATIO_MAX)
  })
  return [...p99, faultless(runs)]
}

async function measureSlow(
  peer: Peer,
  flags: SlowFlags,
  percent: number,
  place: Place,
  label: string,
): Promise<Omit<Run, 'case' | 'round'>> {
  const { subscribers, how, bytesPerSecond, payload, rate, seconds } = flags
  const slowOnes = Math.round((subscribers * percent) / 100)
  progress(`${label}: starting`)
  const stage = await Stage.open(
    {
      peer,
      workload: WORKLOADS[flags.protocol],
      groups: (target) => [
        { name: 'healthy', target, connections: subscribers - slowOnes, common: true, series: 0 },
        {
          name: 'slow',
          target,
          connections: slowOnes,
          common: true,
          series: 0,
          ...(how === 'throttled' ? { readBytes: THROTTLED_READ_BYTES } : undefined),
        },
      ],
    },
    place,
  )
  try {
    progress(`${label}: connecting ${subscribers}`)
    const { emptyBytes, connectionBytes } = await stage.connect()
    const load = { perSecond: rate, seconds, dataBytes: payload }
    await warmUp(stage, [load], flags.warmup)
    const recorder = new Recorder(stage, SAMPLE_MS)
    progress(`${label}: measuring for ${seconds} s`, seconds)
    await stage.crowd.pace('slow', how === 'stalled' ? 'stalled' : bytesPerSecond)
    if (slowOnes > 0) recorder.mark(how)
    const delivering = new Deliveries(stage)
    await delivering.turn([load], ['healthy'])
    const { cpuPerEventUs: _, ...figures } = delivering.figures()
    const fallen = await stage.metric('roomcast_sessions_fallen_total')
    if (slowOnes > 0) recorder.mark('released')
    progress(`${label}: released`, flags.release)
    const heldBack = await stage.arrival(0, ['slow'])
    const releasedUs = monotonicUs()
    await stage.crowd.pace('slow', undefined)
    const outstanding = await stage.arrival(flags.release * 1000)
    const releaseSeconds = (monotonicUs() - releasedUs) / 1e6
    if (slowOnes > 0) recorder.mark('all have all')
    const timeline = await recorder.stop()
    const tallies = await stage.tally()
    const healthy = tallies.get('healthy') as GroupTally
    const slowTally = tallies.get('slow')
    return {
      side: peer.name,
      figures: {
        ...figures,
        ...figuresOf(healthy),
        emptyBytes,
        connectionBytes,
        peakBytes: Math.max(...timeline.memoryMb) * 2 ** 20,
        ...(slowTally === undefined
          ? undefined
          : {
              heldBack: heldBack / slowOnes,
              slowMissing: slowTally.missing + slowTally.twice + slowTally.disordered,
              slowCut: slowTally.cut,
            }),
        ...(slowTally === undefined || outstanding > 0 ? undefined : { releaseSeconds }),
        ...(fallen === undefined ? undefined : { fallen }),
      },
      latencies: healthy.latencies.encode(),
      timeline,
    }
  } finally {
    await stage.close()
  }
}
