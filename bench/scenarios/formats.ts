import type { Command } from 'commander'
import type { GroupOptions } from '../load/connection-group.ts'
import type { Target } from '../load/dialects/target.ts'
import { roomcast } from '../peers/roomcast.ts'
import { targetOf } from '../peers/target.ts'
import type { Result } from '../report/result.ts'
import { faultless } from '../report/thresholds.ts'
import { deliver } from '../run/deliver.ts'
import { check, checked, number, profile, seed, settingsOf, warmup } from '../run/options.ts'
import { Session } from '../run/session.ts'
import type { Workload } from '../events/workload.ts'

interface FormatsFlags {
  readonly subscribers: number
  readonly rate: number
  readonly seconds: number
  readonly warmup: number
  readonly seed: number
  readonly profile?: string
  readonly check?: true
}

/** A realistic event: Game Djinn's `sync_progress`, as its document has it. */
const SYNC_PROGRESS =
  '"library_id":"123e4567-e89b-12d3-a456-426614174000","status":"in_progress","progress_percentage":45,"games_processed":89,"games_total":198,"games_added":3,"games_updated":12,"current_game":{"title":"The Witcher 3: Wild Hunt","platform_game_id":"292030"},"rate_per_minute":18,"estimated_completion":"2024-07-20T12:03:00Z","errors_count":0,'

const BASE: Workload = {
  protocol: 'raw',
  app: 'bench',
  type: 'common',
  idField: 'operation_id',
  id: '456e7890-e89b-12d3-a456-426614174001',
  fields: SYNC_PROGRESS,
  path: '/bench',
  subscribe: '{"rooms":["all"]}',
}

const FORMATS: Readonly<Record<string, Workload>> = {
  json: BASE,
  msgpack: { ...BASE, format: 'msgpack' },
  'socket.io': { ...BASE, protocol: 'socketio', namespace: '/bench' },
}

/** `formats`: the same events in each wire format, and in all at once. */
export function addFormats(program: Command): void {
  program
    .command('formats')
    .description('bytes and CPU by wire format: JSON, msgpack, Socket.IO, and all three at once')
    .addOption(number('--subscribers <n>', 'connections', 3_000, 3))
    .addOption(number('--rate <events>', 'events a second, to everybody', 30, 0.1))
    .addOption(number('--seconds <s>', 'measured time', 10, 1))
    .addOption(warmup())
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: FormatsFlags) => checked(flags, await formats(flags)))
}

async function formats(flags: FormatsFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'formats',
    settings: settingsOf(flags),
    peers: ['roomcast'],
    seed: flags.seed,
    profile: flags.profile,
  })
  const all = Object.keys(FORMATS)
  for (const [label, names] of [...all.map((name) => [name, [name]] as const), ['all three', all] as const]) {
    const load = {
      workload: BASE,
      groups: ({ port }: Target) =>
        names.map(
          (name): GroupOptions => ({
            name,
            target: targetOf(FORMATS[name] as Workload, port),
            connections: Math.floor(flags.subscribers / names.length),
            common: true,
            series: 0,
          }),
        ),
      loads: [{ perSecond: flags.rate, seconds: flags.seconds, dataBytes: 0 }],
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
