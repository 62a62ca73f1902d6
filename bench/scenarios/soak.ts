import type { Command } from 'commander'
import type { GroupOptions } from '../load/connection-group.ts'
import type { Target } from '../load/dialects/target.ts'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import { roomcast } from '../peers/roomcast.ts'
import { targetOf } from '../peers/target.ts'
import type { Figures, Result, Threshold, Vitals } from '../report/result.ts'
import { faultless, threshold } from '../report/thresholds.ts'
import { type Trend, trendOf } from '../report/trend.ts'
import { deliver } from '../run/deliver.ts'
import { check, checked, number, profile, seed, settingsOf } from '../run/options.ts'
import { Session } from '../run/session.ts'
import type { Stage } from '../run/stage.ts'
import { VitalsRecorder } from '../run/vitals.ts'
import { ROOM_WORKLOADS, type Workload } from '../events/workload.ts'

interface SoakFlags {
  readonly minutes: number
  readonly connections: number
  readonly rooms: number
  readonly payload: number
  readonly rate: number
  readonly roomRate: number
  readonly churn: number
  readonly commands: number
  readonly slope: number
  readonly seed: number
  readonly profile?: string
  readonly check?: true
}

const WARMUP_SECONDS = 10
/** Part of the time left out at the start, while whatever is bounded fills up. */
const RUN_IN = 0.4
/** Long, since a soak may share the machine. */
const CONNECT_TIMEOUT_MS = 180_000
const ARRIVAL_TIMEOUT_MS = 180_000
const LOOKS = 60
const LOOK_MS_MAX = 30_000
/** One of so many connections that leave comes back as a new client, the others with their position. */
const NEWCOMERS = 2
/** The ring is full within the run-in, rather than after hours. */
const RING = { LOG_RING_EVENTS: '2000', LOG_RING_BYTES: '4194304' }
/** Everybody is in the room for all and in one of their own. */
const RAW: Workload = { ...ROOM_WORKLOADS.raw, subscribe: '{"rooms":["all","room:{series}"]}' }
const COMMON_TYPE = 'common'

/**
 * What must not grow: where it is read, and the change that does not count as growth, as a part of its level and in its
 * own unit.
 */
const LOOKED_AT = [
  { name: 'memory', of: ({ residentBytes }: Vitals) => residentBytes, part: 0.03, least: 2 ** 20 },
  { name: 'live JavaScript objects', of: ({ heapBytes }: Vitals) => heapBytes, part: 0.03, least: 2 ** 19 },
  { name: 'open files', of: ({ files }: Vitals) => files, part: 0.01, least: 5 },
  { name: 'event-loop delay p99', of: ({ delayMs }: Vitals) => delayMs, part: 0.2, least: 5 },
] as const

/**
 * `soak`: a steady load for a long time, while clients of all kinds come and go, join, leave and ask. Does anything
 * grow?
 */
export function addSoak(program: Command): void {
  program
    .command('soak')
    .description(
      'minutes to hours of a steady load, with clients that leave and come back, join rooms and send commands: slopes of memory, files and event-loop delay',
    )
    .addOption(number('--minutes <n>', 'how long', 2, 0.1))
    .addOption(
      number(
        '--connections <n>',
        'connections: half of them raw, a quarter Socket.IO, a quarter Socket.IO that begins by long-polling',
        5_000,
        4,
      ),
    )
    .addOption(number('--rooms <n>', 'small rooms; everybody is in the room for all as well', 500, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second, to everybody', 2, 0.1))
    .addOption(number('--room-rate <events>', 'events a second to the small rooms, by chance', 50, 0.1))
    .addOption(
      number(
        '--churn <n>',
        'connections a second that leave, and come back: every second one as somebody new, the others with their position',
        20,
        0,
      ),
    )
    .addOption(
      number(
        '--commands <n>',
        'connections a second that join or leave a room, ask something and say something',
        50,
        0,
      ),
    )
    .addOption(number('--slope <kb>', 'KB a minute that memory may grow by', 1_024, 0.1))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: SoakFlags) => checked(flags, await soak(flags)))
}

async function soak(flags: SoakFlags): Promise<Result> {
  const { minutes, rooms, payload, rate, roomRate, churn, commands } = flags
  const session = await Session.open({
    scenario: 'soak',
    settings: settingsOf(flags),
    peers: ['roomcast'],
    seed: flags.seed,
    profile: flags.profile,
  })
  const seconds = minutes * 60
  const vitals = new VitalsRecorder(Math.min(LOOK_MS_MAX, (seconds * 1000) / LOOKS))
  const load = {
    workload: RAW,
    groups: (target: Target) => groupsOf(target, flags.connections, rooms),
    loads: [
      { perSecond: rate, seconds, dataBytes: payload, type: COMMON_TYPE },
      { perSecond: roomRate, seconds, dataBytes: payload, series: rooms },
    ],
    warmupSeconds: WARMUP_SECONDS,
    env: RING,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    arrivalTimeoutMs: ARRIVAL_TIMEOUT_MS,
    countsCut: true,
    eachSecond: (stage: Stage) =>
      Promise.all([stage.crowd.churn(churn, NEWCOMERS), stage.crowd.sendCommands(commands), vitals.look(stage)]),
  }
  await session.measure('soak', roomcast, async () => {
    const { run } = await deliver(roomcast, load, session.place, { case: '', round: 1 }, 'soak')
    return { ...run, vitals: vitals.samples, figures: { ...run.figures, ...slopesOf(vitals.samples) } }
  })
  const { memoryPerMinute: memory = Number.NaN, cut = 0 } = session.runs[0]?.figures ?? {}
  return session.close([
    threshold('memory slope, KB/min', memory / 1024, flags.slope),
    ...LOOKED_AT.map((looked) => verdictOn(looked, vitals.samples)),
    threshold('connections cut', cut, 0),
    faultless(session.runs),
  ])
}

function groupsOf({ port }: Target, connections: number, rooms: number): GroupOptions[] {
  const half = Math.floor(connections / 2)
  const quarter = Math.floor(connections / 4)
  const socketio = targetOf(ROOM_WORKLOADS.socketio, port)
  return [
    { name: 'raw', target: targetOf(RAW, port), connections: connections - half, common: true, series: rooms },
    { name: 'socketio', target: socketio, connections: half - quarter, common: true, series: rooms },
    { name: 'polling', target: { ...socketio, polling: true }, connections: quarter, common: true, series: rooms },
  ]
}

function slopesOf(samples: readonly Vitals[]): Figures {
  const [memory, heap, files, delay] = LOOKED_AT.map(({ of }) => trend(samples, of)) as [Trend, Trend, Trend, Trend]
  return {
    memoryPerMinute: memory.perMinute,
    heapBytes: heap.level,
    heapPerMinute: heap.perMinute,
    files: files.level,
    filesPerMinute: files.perMinute,
    delayMs: delay.level,
    delayPerMinute: delay.perMinute,
  }
}

function trend(samples: readonly Vitals[], of: (vitals: Vitals) => number): Trend {
  return trendOf(
    samples.map(({ second }) => second),
    samples.map(of),
    RUN_IN,
  )
}

/** Growth beyond noise: beyond what values vary around their line, and beyond what does not count as growth. */
function verdictOn({ name, of, part, least }: (typeof LOOKED_AT)[number], samples: readonly Vitals[]): Threshold {
  const { growth, noise, level } = trend(samples, of)
  return threshold(`${name}: growth, in times of its noise`, growth / Math.max(noise, part * level, least), 1)
}
