import type { Command } from 'commander'
import { monotonicUs } from '../machine/clock.ts'
import type { GroupTally } from '../load/crowd.ts'
import { PAYLOAD_BYTES_MIN } from '../events/payload.ts'
import type { Peer } from '../peers/peer.ts'
import { progress } from '../run/progress.ts'
import type { Result, Run } from '../report/result.ts'
import { against, difference, faultless, threshold } from '../report/thresholds.ts'
import { figuresOf } from '../run/deliveries.ts'
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
} from '../run/options.ts'
import { Recorder } from '../run/recorder.ts'
import { Session } from '../run/session.ts'
import { type Load, NotMeasured, type Place, Stage } from '../run/stage.ts'
import { cpuOfTree, cpuSince, totalOf } from '../machine/usage.ts'
import { WORKLOADS } from '../events/workload.ts'

export interface StormFlags extends CommonFlags {
  readonly subscribers: number
  readonly payload: number
  readonly rate: number
  readonly atOnce: number
  readonly rounds: number
}

const HANDSHAKE_DIFFERENCE_US_MAX = 200
const SAMPLE_MS = 200
const CONNECT_TIMEOUT_MS = 90_000
const LOOK_MS = 20
/** Events before the kill, so that everybody has a position; and after all are back. */
const BEFORE_SECONDS = 2
const AFTER_SECONDS = 1
const CHUNK_SECONDS = 0.5

/** `storm`: everybody connects at once; then the server is killed, and everybody comes back at once. */
export function addStorm(program: Command): void {
  program
    .command('storm')
    .description('all connect and subscribe as fast as they can; then kill -9, and all come back with their positions')
    .addOption(protocol())
    .addOption(number('--subscribers <n>', 'connections', 5_000, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second, also while the server is down', 5, 0.1))
    .addOption(number('--at-once <n>', 'connections being opened at the same time', 500, 1))
    .addOption(number('--rounds <n>', 'all sides, one after the other, this many times', 1, 1))
    .addOption(peers('raw'))
    .addOption(seed())
    .addOption(check())
    .addOption(profile())
    .action(async (flags: StormFlags) => checked(flags, await storm(flags)))
}

export async function storm(flags: StormFlags): Promise<Result> {
  const session = await Session.open({
    scenario: 'storm',
    settings: settingsOf(flags),
    peers: sidesOf(flags, ['raw']),
    seed: flags.seed,
    profile: flags.profile,
  })
  for (let round = 1; round <= flags.rounds; round++) {
    for (const peer of session.peers) {
      const label = `round ${round} of ${flags.rounds}, ${peer.title}`
      await session.measure(label, peer, () => measureStorm(peer, flags, session.place, round, label))
    }
  }
  const { runs } = session
  const handshake = runs.some(({ side }) => side === 'raw')
    ? [
        threshold(
          'handshake CPU beyond raw uWS, µs per connection',
          against(runs, 'raw', 'handshakeUs', difference),
          HANDSHAKE_DIFFERENCE_US_MAX,
        ),
      ]
    : []
  return session.close([...handshake, faultless(runs)])
}

async function measureStorm(peer: Peer, flags: StormFlags, place: Place, round: number, label: string): Promise<Run> {
  const { subscribers, atOnce, rate, payload } = flags
  progress(`${label}: starting`)
  const stage = await Stage.open(
    {
      peer,
      workload: WORKLOADS[flags.protocol],
      groups: (target) => [{ name: 'all', target, connections: subscribers, common: true, series: 0 }],
      comeBack: true,
      atOnce,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
    },
    place,
  )
  try {
    progress(`${label}: ${subscribers} connect`)
    const connecting = await stage.connect()
    const events = new SteadyPublisher(stage, { perSecond: rate, seconds: CHUNK_SECONDS, dataBytes: payload })
    const recorder = new Recorder(stage, SAMPLE_MS)
    await seconds(BEFORE_SECONDS)
    await stage.arrival()

    progress(`${label}: killed, ${subscribers} come back`)
    await stage.crowd.record(true)
    // The server under test is nats-server itself: while it is down there is nothing to publish to.
    if (stage.server.publish.core) await events.pause()
    const killedUs = monotonicUs()
    const cpuListening = await stage.restart(() => recorder.mark('killed'))
    const listeningUs = monotonicUs()
    recorder.mark('listens')
    events.go()
    const giveUpUs = listeningUs + CONNECT_TIMEOUT_MS * 1000
    let state = await stage.crowd.state()
    while (state.ready < subscribers && monotonicUs() < giveUpUs) {
      await seconds(LOOK_MS / 1000)
      state = await stage.crowd.state()
    }
    if (state.ready < subscribers)
      throw new NotMeasured(
        `of ${subscribers} only ${state.ready} were back ${CONNECT_TIMEOUT_MS / 1000} s after the kill`,
      )
    recorder.mark('all subscribed')
    await stage.arrival()
    const liveUs = monotonicUs()
    recorder.mark('all live')
    const cpu = cpuSince(cpuListening, cpuOfTree(stage.pid))

    await seconds(AFTER_SECONDS)
    await events.pause()
    await stage.arrival()
    const timeline = await recorder.stop()
    // The kill cut all connections, and events published while the server was down are late: neither compares servers.
    const { deliveries, missing, twice, disordered } = figuresOf((await stage.tally()).get('all') as GroupTally)
    return {
      side: peer.name,
      case: '',
      round,
      figures: {
        ...connecting,
        deliveries,
        missing,
        twice,
        disordered,
        downSeconds: (listeningUs - killedUs) / 1e6,
        readySeconds: (state.lastReadyUs - listeningUs) / 1e6,
        liveSeconds: (liveUs - listeningUs) / 1e6,
        comeBackUs: totalOf(cpu) / subscribers,
      },
      timeline,
    }
  } finally {
    await stage.close()
  }
}

/** Publishes until it is paused. */
class SteadyPublisher {
  private readonly stage: Stage
  private readonly load: Load
  private running: Promise<void> | undefined
  private paused = false

  constructor(stage: Stage, load: Load) {
    this.stage = stage
    this.load = load
    this.go()
  }

  go(): void {
    this.paused = false
    this.running ??= this.run()
  }

  async pause(): Promise<void> {
    this.paused = true
    await this.running
  }

  private async run(): Promise<void> {
    while (!this.paused) await this.stage.publish(this.load)
    this.running = undefined
  }
}

function seconds(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, time * 1000))
}
