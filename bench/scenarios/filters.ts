import type { Command } from 'commander'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import { roomcast } from '../peers/roomcast.ts'
import type { Result } from '../report/result.ts'
import { faultless } from '../report/thresholds.ts'
import { deliver, manyRooms } from '../run/deliver.ts'
import { check, checked, number, numbers, profile, seed, settingsOf, warmup } from '../run/options.ts'
import { Session } from '../run/session.ts'
import { type Workload, WORKLOADS } from '../events/workload.ts'

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
const WORKLOAD: Workload = {
  ...WORKLOADS.raw,
  id: 'library-{series}',
  subscribe: '{"events":["game_added"],"filters":{"library_id":"library-{series}"}}',
}

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
    .addOption(warmup())
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: FiltersFlags) => checked(flags, await filters(flags)))
}

async function filters(flags: FiltersFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'filters',
    settings: settingsOf(flags),
    peers: ['roomcast'],
    seed: flags.seed,
    profile: flags.profile,
  })
  for (const distinct of flags.distinct) {
    const label = `${distinct.toLocaleString('en')} distinct`
    const load = {
      workload: WORKLOAD,
      groups: manyRooms(flags.subscribers, distinct),
      loads: [{ perSecond: flags.rate, seconds: flags.seconds, dataBytes: flags.payload, series: distinct }],
      warmupSeconds: flags.warmup,
    }
    await session.measure(
      label,
      roomcast,
      async () => (await deliver(roomcast, load, session.place, { case: label, round: 1 }, label)).run,
    )
  }
  return session.close([faultless(session.runs)])
}
