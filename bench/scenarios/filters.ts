import type { Command } from 'commander'
import type { CohortTally } from '../load/crowd.ts'
import { PAYLOAD_BYTES_MIN } from '../payload.ts'
import { roomcast } from '../peers/roomcast.ts'
import { progress } from '../progress.ts'
import type { Result } from '../report/result.ts'
import { faultless } from '../report/thresholds.ts'
import { figuresOf, measureDeliveries, warmUp } from '../run/deliveries.ts'
import { check, checked, number, numbers, profile, seed, settingsOf } from '../run/options.ts'
import { Session } from '../run/session.ts'
import { Stage } from '../run/stage.ts'
import { type Workload, WORKLOADS } from '../workload.ts'

interface FiltersFlags {
  readonly subscribers: number
  readonly distinct: readonly number[]
  readonly payload: number
  readonly rate: number
  readonly seconds: number
  readonly warmup: number
  readonly seed: number
  readonly profile?: string
  readonly check?: true
}

/** Everybody filters by a library; each event is of one. */
const WORKLOAD: Workload = { ...WORKLOADS.raw, id: 'library-{series}', subscribe: '{"events":["game_added"],"filters":{"library_id":"library-{series}"}}' }

/** `filters`: what distinct filters cost, from one that all share to one for each connection. */
export function addFilters(program: Command): void {
  program
    .command('filters')
    .description('1 to 10,000 distinct filters of one event type')
    .addOption(number('--subscribers <n>', 'connections, each with one filter', 10_000, 1))
    .addOption(numbers('--distinct <n>', 'distinct filters; each is measured', [1, 10, 100, 1_000, 10_000], 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second, each of one filter by chance', 10, 0.1))
    .addOption(number('--seconds <s>', 'measured time', 10, 1))
    .addOption(number('--warmup <s>', 'time before it under the same load', 2, 0))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: FiltersFlags) => checked(flags, await filters(flags)))
}

async function filters(flags: FiltersFlags): Promise<Result> {
  const session = await Session.open({ scenario: 'filters', settings: settingsOf(flags), peers: ['roomcast'], seed: flags.seed, profile: flags.profile })
  const { subscribers, rate, seconds, payload } = flags
  for (const distinct of flags.distinct) {
    const label = `${distinct.toLocaleString('en')} distinct`
    const load = { perSecond: rate, seconds, dataBytes: payload, series: distinct }
    await session.measure(label, roomcast, async () => {
      progress(`${label}: connecting ${subscribers}`)
      const stage = await Stage.open({ peer: roomcast, workload: WORKLOAD, cohorts: (target) => [{ name: 'all', target, connections: subscribers, common: false, series: distinct }] }, session.place)
      try {
        const connecting = await stage.connect()
        await warmUp(stage, [load], flags.warmup)
        progress(`${label}: measuring for ${seconds} s`, seconds)
        const figures = await measureDeliveries(stage, [load])
        const tally = (await stage.tally()).get('all') as CohortTally
        return { side: 'roomcast', case: label, round: 1, figures: { ...connecting, ...figures, ...figuresOf(tally) }, latencies: tally.latencies.encode() }
      } finally {
        await stage.close()
      }
    })
  }
  return session.close([faultless(session.runs)])
}
