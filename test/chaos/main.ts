import { existsSync } from 'node:fs'
import { delimiter, resolve } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { endProgress, progress } from '../../bench/run/progress.ts'
import { canCluster, versionOf } from './nats-cluster.ts'
import { explain, type Row, rowOf, tableOf, writeEvidence } from './report.ts'
import { run } from './run.ts'
import { SCHEDULES, type Schedule } from './schedules.ts'

interface Options {
  readonly seed: number
  readonly seeds: number
  readonly seconds: number
  readonly rate: number
  readonly clients: number
  readonly nats: readonly string[]
  readonly keep?: true
  readonly json?: true
}

/** Faults of the command line end with this code, failed schedules with 1. */
const USAGE = 2
const WIDTH = Math.max(...SCHEDULES.map(({ name }) => name.length))
const LIST = [
  '',
  'Schedules:',
  ...SCHEDULES.map(
    ({ name, about, nodes, destroys }) =>
      `  ${name.padEnd(WIDTH)}  ${about}${nodes ? ' (nats-server 2.10 or newer)' : ''}${destroys ? '; being told is allowed' : ''}`,
  ),
  `  ${'all'.padEnd(WIDTH)}  each of them`,
].join('\n')

const whole = (text: string) => {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number from 1 on')
  return value
}

const program = new Command('npm run chaos --')
  .description(
    'breaks things around the broker while clients record what they get, and judges each of them: in order, once, nothing missing unless told',
  )
  .argument('<schedule...>', 'what is broken; several, or all')
  .option('--seed <n>', 'what is broken when: the same for the same seed', whole, 1)
  .option('--seeds <n>', 'so many seeds, from --seed on', whole, 1)
  .option('--seconds <s>', 'how long things are broken', whole, 15)
  .option('--rate <n>', 'events a second', whole, 150)
  .option(
    '--clients <n>',
    'raw ones (JSON, msgpack) and Socket.IO ones (WebSocket, polling, both) in turn; every fifth is slow',
    whole,
    20,
  )
  .option(
    '--nats <path>',
    'a nats-server; several times: each of them. Otherwise NATS_SERVER, or that of PATH',
    (path: string, paths: string[]) => [...paths, path],
    [] as string[],
  )
  .option('--keep', 'keeps timelines and logs of what passed, too')
  .option('--json', 'the results as JSON on stdout')
  .addHelpText('after', LIST)
  .showHelpAfterError('--help lists the schedules and options')
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE))
  .parse()

const options = program.opts<Options>()
const rows: Row[] = []
const failures: string[] = []
const results: object[] = []
for (const nats of serversOf(options)) {
  const version = versionOf(nats)
  for (const schedule of schedulesOf(program.args)) {
    if (schedule.nodes && !canCluster(version)) {
      console.error(`${schedule.name}: left out, nats-server ${version} is too old for it`)
      continue
    }
    for (let seed = options.seed; seed < options.seed + options.seeds; seed++) {
      progress(`${schedule.name}, seed ${seed}, nats-server ${version}`, options.seconds)
      const result = await run({
        schedule,
        nats,
        seed,
        seconds: options.seconds,
        clients: options.clients,
        rate: options.rate,
      })
      endProgress()
      rows.push(rowOf(result))
      if (!result.passed) {
        failures.push(explain(result))
        console.error(failures.at(-1))
      } else if (options.keep) console.error(writeEvidence(result))
      const { evidence: _, ...shown } = result
      results.push(shown)
    }
  }
}
if (options.json) console.log(JSON.stringify(results, null, 2))
else {
  console.log(tableOf(rows))
  console.log(
    failures.length === 0
      ? `\nAll ${rows.length} passed.`
      : `\n${failures.length} of ${rows.length} failed:\n${failures.join('\n')}`,
  )
}
process.exit(failures.length === 0 && rows.length > 0 ? 0 : 1)

function schedulesOf(names: readonly string[]): readonly Schedule[] {
  if (names.includes('all')) return SCHEDULES
  return names.map(
    (name) =>
      SCHEDULES.find((schedule) => schedule.name === name) ?? program.error(`no schedule ${name}`, { exitCode: USAGE }),
  )
}

function serversOf({ nats }: Options): string[] {
  if (nats.length > 0) return nats.map((path) => resolve(path))
  const named = process.env.NATS_SERVER
  if (named) return [named]
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => `${folder}/nats-server`)
    .find(existsSync)
  return [found ?? program.error('no nats-server on PATH', { exitCode: USAGE })]
}
