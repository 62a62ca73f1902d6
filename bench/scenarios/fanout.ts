import { resolve } from 'node:path'
import type { Command } from 'commander'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import type { PeerName, Side } from '../peers/peer.ts'
import { roomcastBefore } from '../peers/roomcast.ts'
import type { Result, Run, Threshold } from '../report/result.ts'
import { against, difference, faultless, medianOf, ratio, threshold } from '../report/thresholds.ts'
import { connectOnly, deliverRound, oneRoom } from '../run/deliver.ts'
import {
  check,
  checked,
  checkedAgainst,
  type CommonFlags,
  otherBuild,
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
import { Session } from '../run/session.ts'
import { type ProtocolName, WORKLOADS } from '../events/workload.ts'

export interface FanoutFlags extends CommonFlags {
  readonly subscribers: readonly number[]
  readonly payload: readonly number[]
  readonly rate: readonly number[]
  readonly seconds: number
  readonly warmup: number
  readonly rounds: number
  readonly connects: number
  readonly against?: string
  readonly rawByMessage?: true
}

const CPU_RATIO_MAX = 1.1
const P99_RATIO_MAX = 1.3
const MEMORY_DIFFERENCE_KB_MAX = 3
const SOCKETIO_MEMORY_KB_MAX = 5
const SOCKETIO_HANDSHAKE_RATIO_MAX = 0.5
/** What a simpler build may cost more than the one before. */
const LESS_MAX = 1.03

/**
 * Sides whose handshakes are compared. All handshakes take 0.6 s of CPU together, which varies by a quarter from time
 * to time, so they are repeated more often than there are rounds.
 */
const HANDSHAKE_SIDES: readonly Side[] = ['roomcast', 'socketio-uws', 'before']

export const PEERS_BY_DEFAULT: Readonly<Record<ProtocolName, readonly PeerName[]>> = {
  raw: ['raw'],
  socketio: ['raw', 'socketio-uws', 'socketio-ws'],
}

/** `fanout`: one room, every event to everybody in it. */
export function addFanout(program: Command): void {
  program
    .command('fanout')
    .description('one room, every event to everybody: Roomcast beside a raw uWebSockets.js server, and other servers')
    .addOption(protocol())
    .addOption(
      numbers(
        '--subscribers <n>',
        'connections, all in the room; several, comma separated, are measured one after the other',
        [5_000],
        1,
      ),
    )
    .addOption(numbers('--payload <bytes>', "length of each event's data; several as well", [200], PAYLOAD_BYTES_MIN))
    .addOption(numbers('--rate <events>', 'events a second; several as well', [20], 0.1))
    .addOption(
      number(
        '--seconds <s>',
        'measured time of each side of a round: Roomcast and raw side by side, 2.5 s each in turn; the others alone',
        10,
        1,
      ),
    )
    .addOption(warmup())
    .addOption(number('--rounds <n>', 'all sides this many times', 5, 1))
    .addOption(
      number(
        '--connects <n>',
        "with --protocol socketio or --against: times in each round that Roomcast's clients, and those of socketio-uws or the other build, only connect",
        6,
        0,
      ),
    )
    .addOption(peers('raw; with --protocol socketio also socketio-uws, socketio-ws'))
    .addOption(otherBuild())
    .option(
      '--raw-by-message',
      "the raw server's clients subscribe by message too: shows what that alone costs a connection ever after",
    )
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: FanoutFlags, command: Command) => {
      if (flags.protocol !== 'raw' && flags.rawByMessage)
        command.error('error: --raw-by-message: only with --protocol raw')
      if (Math.min(...flags.rate) * flags.seconds < 1)
        command.error('error: --rate and --seconds: not one event would be measured')
      checkedAgainst(flags, command)
      checked(flags, await fanout(flags))
    })
}

export async function fanout(flags: FanoutFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'fanout',
    settings: settingsOf(flags),
    peers: sidesOf(flags, PEERS_BY_DEFAULT[flags.protocol]),
    others: flags.against === undefined ? [] : [roomcastBefore(resolve(flags.against))],
    seed: flags.seed,
    profile: flags.profile,
  })
  const sweep = flags.subscribers.flatMap((subscribers) =>
    flags.payload.flatMap((payload) => flags.rate.map((rate) => ({ subscribers, payload, rate }))),
  )
  for (const { subscribers, payload, rate } of sweep) {
    const name = sweep.length === 1 ? '' : `${subscribers.toLocaleString('en')} subscribers, ${payload} B, ${rate}/s`
    for (let round = 1; round <= flags.rounds; round++) {
      const load = {
        workload: WORKLOADS[flags.protocol],
        groups: oneRoom(subscribers),
        loads: [{ perSecond: rate, seconds: flags.seconds, dataBytes: payload }],
        warmupSeconds: flags.warmup,
        rawByMessage: flags.rawByMessage === true,
      }
      await deliverRound(
        session,
        load,
        { case: name, round },
        `${name === '' ? '' : `${name}, `}round ${round} of ${flags.rounds}`,
      )
      if (flags.protocol === 'raw' && flags.against === undefined) continue
      const alone = { workload: WORKLOADS[flags.protocol], groups: oneRoom(subscribers) }
      const of = `${name === '' ? '' : `${name}, `}connecting alone`
      const sides = session.peers.filter((each) => HANDSHAKE_SIDES.includes(each.name))
      for (let time = (round - 1) * flags.connects + 1; time <= round * flags.connects; time++) {
        // Sides take turns in going first: the machine may become faster or slower meanwhile.
        for (const peer of time % 2 === 1 ? sides : sides.toReversed()) {
          const label = `${of}, ${time} of ${flags.rounds * flags.connects}, ${peer.title}`
          await session.measure(label, peer, () =>
            connectOnly(peer, alone, session.place, { case: of, round: time }, label),
          )
        }
      }
    }
  }
  return session.close(thresholdsOf(flags.protocol, session.runs))
}

function thresholdsOf(protocolName: ProtocolName, runs: readonly Run[]): Threshold[] {
  const beside = (name: PeerName) => runs.some(({ side }) => side === name)
  const cpu = beside('raw')
    ? [threshold('CPU per delivery, ratio', against(runs, 'raw', 'cpuUs', ratio), CPU_RATIO_MAX)]
    : []
  if (runs.some(({ side }) => side === 'before'))
    return [
      ...cpu,
      threshold('CPU per delivery, ratio to the other build', against(runs, 'before', 'cpuUs', ratio), LESS_MAX),
      threshold('handshake CPU, ratio to the other build', against(runs, 'before', 'handshakeUs', ratio), LESS_MAX),
      threshold(
        'memory per connection, ratio to the other build',
        against(runs, 'before', 'connectionBytes', ratio),
        LESS_MAX,
      ),
      faultless(runs),
    ]
  if (protocolName === 'raw') {
    const others = beside('raw')
      ? [
          threshold('p99 latency, ratio', against(runs, 'raw', 'p99Ms', ratio), P99_RATIO_MAX),
          threshold(
            'memory per connection, difference in KB',
            against(runs, 'raw', 'connectionBytes', difference) / 1024,
            MEMORY_DIFFERENCE_KB_MAX,
          ),
        ]
      : []
    return [...cpu, ...others, faultless(runs)]
  }
  return [
    ...cpu,
    threshold(
      'memory per connection, KB',
      medianOf(runs, 'roomcast', 'connectionBytes') / 1024,
      SOCKETIO_MEMORY_KB_MAX,
    ),
    ...(beside('socketio-uws')
      ? [
          threshold(
            'handshake CPU, ratio to socket.io on uWS',
            against(runs, 'socketio-uws', 'handshakeUs', ratio),
            SOCKETIO_HANDSHAKE_RATIO_MAX,
          ),
        ]
      : []),
    faultless(runs),
  ]
}
