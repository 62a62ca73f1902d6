import type { Command } from 'commander'
import type { CohortTally } from '../load/crowd.ts'
import { PAYLOAD_BYTES_MIN } from '../payload.ts'
import { roomcast } from '../peers/roomcast.ts'
import { progress } from '../progress.ts'
import type { Result, Timeline } from '../report/result.ts'
import { faultless, threshold } from '../report/thresholds.ts'
import { figuresOf, measureDeliveries, warmUp } from '../run/deliveries.ts'
import { check, checked, number, profile, protocol, seed, settingsOf } from '../run/options.ts'
import { Recorder } from '../run/recorder.ts'
import { Session } from '../run/session.ts'
import { Stage } from '../run/stage.ts'
import { type ProtocolName, WORKLOADS } from '../workload.ts'

interface SoakFlags {
  readonly protocol: ProtocolName
  readonly minutes: number
  readonly subscribers: number
  readonly payload: number
  readonly rate: number
  readonly churn: number
  readonly slope: number
  readonly seed: number
  readonly profile?: string
  readonly check?: true
}

const WARMUP_SECONDS = 5
const SAMPLE_MS = 1_000
/** Part of the time that is not looked at for the slope: ring and heap fill first. */
const FILLING = 0.4

/** `soak`: a steady load for long, with clients that come and go; does memory grow? */
export function addSoak(program: Command): void {
  program
    .command('soak')
    .description('minutes to hours of a steady load, with clients that leave and come back: memory slope')
    .addOption(protocol())
    .addOption(number('--minutes <n>', 'how long', 2, 0.1))
    .addOption(number('--subscribers <n>', 'connections', 2_000, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second, to everybody', 20, 0.1))
    .addOption(number('--churn <n>', 'connections a second that leave, and come back with their position', 20, 0))
    .addOption(number('--slope <kb>', 'KB a minute that memory may grow by; the ring (LOG_RING_BYTES) fills for a while', 1_024, 0.1))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: SoakFlags) => checked(flags, await soak(flags)))
}

async function soak(flags: SoakFlags): Promise<Result> {
  const session = await Session.open({ scenario: 'soak', settings: settingsOf(flags), peers: ['roomcast'], seed: flags.seed, profile: flags.profile })
  const seconds = flags.minutes * 60
  const load = { perSecond: flags.rate, seconds, dataBytes: flags.payload }
  await session.measure('soak', roomcast, async () => {
    progress(`connecting ${flags.subscribers}`)
    const stage = await Stage.open({ peer: roomcast, workload: WORKLOADS[flags.protocol], comeBack: true, cohorts: (target) => [{ name: 'all', target, connections: flags.subscribers, common: true, series: 0 }] }, session.place)
    try {
      const connecting = await stage.connect()
      await warmUp(stage, [load], WARMUP_SECONDS)
      progress(`soaking for ${flags.minutes} minutes`, seconds)
      const recorder = new Recorder(stage, SAMPLE_MS)
      const churning = setInterval(() => void stage.crowd.churn(flags.churn), 1_000)
      const figures = await measureDeliveries(stage, [load])
      clearInterval(churning)
      await stage.arrival()
      const timeline = await recorder.stop()
      const tally = (await stage.tally()).get('all') as CohortTally
      return {
        side: 'roomcast',
        case: '',
        round: 1,
        figures: { ...connecting, ...figures, ...figuresOf(tally), peakBytes: Math.max(...timeline.memoryMb) * 2 ** 20, memoryPerMinute: slopeOf(timeline) },
        latencies: tally.latencies.encode(),
        timeline,
      }
    } finally {
      await stage.close()
    }
  })
  const slope = session.runs[0]?.figures.memoryPerMinute ?? Number.NaN
  return session.close([threshold('memory slope, KB/min', slope / 1024, flags.slope), faultless(session.runs)])
}

/** Least squares over the later part. @returns bytes a minute */
export function slopeOf({ seconds, memoryMb }: Pick<Timeline, 'seconds' | 'memoryMb'>): number {
  const from = Math.floor(seconds.length * FILLING)
  const xs = seconds.slice(from)
  const ys = memoryMb.slice(from)
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
  const [mx, my] = [mean(xs), mean(ys)]
  const above = xs.reduce((sum, x, i) => sum + (x - mx) * ((ys[i] as number) - my), 0)
  const below = xs.reduce((sum, x) => sum + (x - mx) ** 2, 0)
  return (above / below) * 60 * 2 ** 20
}
