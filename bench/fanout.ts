import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { pinning } from './cores.ts'
import { machine } from './machine.ts'
import { endProgress } from './progress.ts'
import { PAYLOAD_BYTES_MIN } from './event-data.ts'
import { compare } from './comparison.ts'
import { PROTOCOLS, type ProtocolName, type Side, SIDE_NAMES } from './protocol.ts'
import { type Measured, report } from './report.ts'
import type { Round } from './rounds.ts'
import { startNats } from './servers/nats.ts'
import { type Figures, type Load, measure, type Place } from './side.ts'
import { filesMax } from './usage.ts'

const RESULTS = fileURLToPath(new URL('results', import.meta.url))
/** Files that a process needs beside its connections. */
const OTHER_FILES = 100

interface Flags {
  readonly protocol: ProtocolName
  readonly subscribers: number
  readonly payload: number
  readonly rate: number
  readonly seconds: number
  readonly warmup: number
  readonly rounds: number
  readonly rawByMessage?: true
  readonly check?: true
  readonly profile?: string
}

/** `fanout`: one room, every event to everybody in it; the broker beside a raw uWebSockets.js server, and `socket.io`. */
export function addFanout(program: Command): void {
  program
    .command('fanout')
    .description('one room, every event to everybody: Roomcast beside a raw uWebSockets.js server, and the socket.io package')
    .addOption(new Option('--protocol <name>', 'what the clients speak').choices(Object.keys(PROTOCOLS)).default('raw'))
    .addOption(number('--subscribers <n>', 'connections, all in the room', 5_000, 1))
    .addOption(number('--payload <bytes>', "length of each event's data", 200, PAYLOAD_BYTES_MIN))
    .addOption(number('--rate <events>', 'events a second', 20, 0.1))
    .addOption(number('--seconds <s>', 'measured time of each side of a round', 10, 1))
    .addOption(number('--warmup <s>', 'time before it under the same load; V8 collects garbage twice more some 8 s after the bench made it do so to weigh the memory', 10, 0))
    .addOption(number('--rounds <n>', 'all sides, one after the other, this many times', 5, 1))
    .option('--raw-by-message', "the raw server's clients subscribe by message too: shows what that alone costs a connection ever after")
    .option('--check', 'exit code 1 when a threshold is not met')
    .option('--profile <folder>', 'write CPU profiles of the servers there; the figures include what that costs')
    .action(async (flags: Flags, command: Command) => {
      if (process.platform !== 'linux') command.error('error: this bench reads /proc, so it needs Linux')
      const connectionsMax = filesMax() - OTHER_FILES
      if (flags.subscribers > connectionsMax) command.error(`error: --subscribers: a process may open ${filesMax()} files here (ulimit -n), which is enough for ${connectionsMax} subscribers`)
      if (flags.protocol !== 'raw' && flags.rawByMessage) command.error('error: --raw-by-message: only with --protocol raw')
      if (flags.rate * flags.seconds < 1) command.error('error: --rate and --seconds: not one event would be measured')
      const met = await run(flags)
      if (flags.check && !met) process.exit(1)
    })
}

/** @returns whether all thresholds are met */
async function run(flags: Flags): Promise<boolean> {
  const started = new Date()
  const protocol = PROTOCOLS[flags.protocol]
  const load: Load = { protocol, subscribers: flags.subscribers, payloadBytes: flags.payload, perSecond: flags.rate, seconds: flags.seconds, warmupSeconds: flags.warmup, rawByMessage: flags.rawByMessage === true }
  const where = machine()
  const cores = pinning()
  const nats = await startNats(cores?.rest)
  const measured = await measureRounds(flags.rounds, load, { nats, cores, profile: flags.profile })
  endProgress()
  const comparison = compare(protocol, measured.rounds)
  const settings = { ...load, rounds: flags.rounds, pinned: cores !== undefined }
  console.log(report(where, settings, measured, comparison))
  mkdirSync(RESULTS, { recursive: true })
  const file = join(RESULTS, `${started.toISOString().replaceAll(':', '-').slice(0, 19)}-fanout${protocol.name === 'raw' ? '' : `-${protocol.name}`}.json`)
  writeFileSync(file, `${JSON.stringify({ scenario: 'fanout', started, machine: where, settings, comparison, ...measured }, null, 2)}\n`)
  console.log(`\nwritten to ${file}`)
  return comparison.thresholds.every(({ met }) => met)
}

/** All sides in turn, so many times. A peer may fail to connect everybody; the two that are compared may not. */
async function measureRounds(count: number, load: Load, place: Place): Promise<Measured> {
  const rounds: Round[] = []
  const failures: string[] = []
  for (let round = 1; round <= count; round++) {
    const figures: Partial<Record<Side, Figures>> = {}
    for (const side of load.protocol.sides) {
      const label = `round ${round} of ${count}, ${SIDE_NAMES[side]}`
      const outcome = await measure(side, load, place, label)
      if ('notConnected' in outcome) failures.push(`${label}: ${outcome.notConnected}`)
      else figures[side] = outcome
    }
    const { raw, roomcast } = figures
    if (!raw || !roomcast) throw new Error(failures.join('\n'))
    rounds.push({ ...figures, raw, roomcast })
  }
  return { rounds, failures }
}

function number(flags: string, about: string, fallback: number, min: number): Option {
  const whole = Number.isInteger(min)
  return new Option(flags, about).default(fallback).argParser((text) => {
    const value = Number(text)
    if (!(value >= min) || (whole && !Number.isInteger(value))) throw new InvalidArgumentError(`It wants a ${whole ? 'whole ' : ''}number from ${min} on.`)
    return value
  })
}
