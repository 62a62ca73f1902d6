import type { Command } from 'commander'
import { PAYLOAD_BYTES_MIN } from '../payload.ts'
import { roomcast } from '../peers/roomcast.ts'
import type { Result, Timeline } from '../report/result.ts'
import { faultless, threshold } from '../report/thresholds.ts'
import { deliver, oneRoom } from '../run/deliver.ts'
import { check, checked, number, profile, protocol, seed, settingsOf } from '../run/options.ts'
import { Session } from '../run/session.ts'
import type { Stage } from '../run/stage.ts'
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

const WARMUP_SECONDS = 10
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
  const load = {
    workload: WORKLOADS[flags.protocol],
    cohorts: oneRoom(flags.subscribers),
    loads: [{ perSecond: flags.rate, seconds: flags.minutes * 60, dataBytes: flags.payload }],
    warmupSeconds: WARMUP_SECONDS,
    eachSecond: (stage: Stage) => void stage.crowd.churn(flags.churn),
  }
  await session.measure('soak', roomcast, async () => {
    const { run } = await deliver(roomcast, load, session.place, { case: '', round: 1 }, 'soak')
    return { ...run, figures: { ...run.figures, memoryPerMinute: slopeOf(run.timeline as Timeline) } }
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
