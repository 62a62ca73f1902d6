import type { Command } from 'commander'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import type { Result } from '../report/result.ts'
import { faultless } from '../report/thresholds.ts'
import { deliver, manyRooms } from '../run/deliver.ts'
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
import { ROOM_WORKLOADS } from '../events/workload.ts'

interface RoomsFlags extends CommonFlags {
  readonly subscribers: number
  readonly rooms: number
  readonly payload: number
  readonly rate: number
  readonly seconds: number
  readonly warmup: number
}

/** `rooms`: many small rooms, few to each event, and many events. */
export function addRooms(program: Command): void {
  program
    .command('rooms')
    .description('many small rooms, a high rate of events, each to a few')
    .addOption(protocol())
    .addOption(number('--subscribers <n>', 'connections, each in one room', 10_000, 1))
    .addOption(number('--rooms <n>', 'rooms', 2_000, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second, each to a room by chance', 2_000, 0.1))
    .addOption(number('--seconds <s>', 'measured time', 15, 1))
    .addOption(warmup())
    .addOption(peers('raw'))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: RoomsFlags, command: Command) => {
      if (flags.peers?.some((name) => name !== 'raw')) command.error('error: --peers: only raw has rooms here')
      checked(flags, await rooms(flags))
    })
}

async function rooms(flags: RoomsFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'rooms',
    settings: settingsOf(flags),
    peers: sidesOf(flags, ['raw']),
    seed: flags.seed,
    profile: flags.profile,
  })
  const load = {
    workload: ROOM_WORKLOADS[flags.protocol],
    groups: manyRooms(flags.subscribers, flags.rooms),
    loads: [{ perSecond: flags.rate, seconds: flags.seconds, dataBytes: flags.payload, series: flags.rooms }],
    warmupSeconds: flags.warmup,
    rawByMessage: true,
  }
  for (const peer of session.peers)
    await session.measure(
      peer.title,
      peer,
      async () => (await deliver(peer, load, session.place, { case: '', round: 1 }, peer.title)).run,
    )
  return session.close([faultless(session.runs)])
}
