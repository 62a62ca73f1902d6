import { Command, InvalidArgumentError } from 'commander'
import { readInputs, writeInputs } from './inputs.ts'
import { minimised, replay } from './minimise.ts'
import { checkSurface, faultsIn, type Outcome, runSurface } from './run.ts'
import type { BrokerSurface } from './surface.ts'
import { BROKER_SURFACES, PURE_SURFACES } from './surfaces.ts'
import type { WorldOptions } from './world.ts'

const MINIMISE_MS = 180_000
const SHOWN = process.stderr.isTTY
const ALL = [...BROKER_SURFACES, ...PURE_SURFACES]
const SURFACES = ['Surfaces:', ...ALL.map(({ name, about }) => `  ${name.padEnd(15)}${about}`)].join('\n')

let shownMs = 0

interface Flags {
  readonly minutes: number
  readonly seed: number
  readonly workers: number
  readonly defaults?: true
  readonly replay?: string
  readonly minimise?: false
}

const program = new Command('npm run fuzz --')
  .description('reaches a broker with input that nobody should send, and looks whether it stands it')
  .argument('[surface]', 'where the input goes')
  .option('--minutes <n>', 'how long', positive, 1)
  .option('--seed <n>', 'the same seed makes the same inputs', whole, 1)
  .option('--workers <n>', 'processes of the broker', positive, 1)
  .option('--defaults', 'with the limits of a broker that nobody configured; otherwise as many commands as come')
  .option('--replay <file>', 'send the inputs of a file once, and say what came of it')
  .option('--no-minimise', 'do not look for the smallest failing input')
  .addHelpText(
    'after',
    `\n${SURFACES}\n\nExit code 1: the broker ended, hung, lost an event of a client that behaves well, grew, or its guard caught something.`,
  )
  .showHelpAfterError('--help lists the surfaces')
  .action(run)
program.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
await program.parseAsync()
process.exit()

async function run(name: string | undefined, flags: Flags): Promise<void> {
  if (flags.replay !== undefined) return replayFile(flags.replay, flags)
  const pure = PURE_SURFACES.find((surface) => surface.name === name)
  if (pure) return finish(checkSurface(pure, flags.seed, flags.minutes * 60))
  const surface = surfaceOf(name)
  const options = optionsOf(flags)
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort())
  const outcome = await runSurface(surface, {
    ...options,
    seed: flags.seed,
    seconds: flags.minutes * 60,
    progress: showProgress,
    stop: stopping.signal,
  })
  endProgress()
  for (const { reason, file } of flags.minimise === false || stopping.signal.aborted
    ? []
    : firstOfEach(outcome.crashes)) {
    console.error(`looking for the smallest input of: ${reason}`)
    const smallest = await minimised(surface, file, options, Date.now() + MINIMISE_MS)
    console.error(
      smallest === undefined
        ? '  a fresh broker stands the inputs of the file'
        : `  ${smallest.length} inputs: ${writeInputs(`${surface.name}-${flags.seed}-smallest-${Date.now()}`, surface.name, smallest)}`,
    )
  }
  finish(outcome)
}

function surfaceOf(name: string | undefined): BrokerSurface {
  return (
    BROKER_SURFACES.find((surface) => surface.name === name) ??
    program.error(name === undefined ? `Which surface?\n${SURFACES}` : `There is no surface "${name}".\n${SURFACES}`)
  )
}

function optionsOf({ workers, defaults }: Flags): WorldOptions {
  return { ...(workers > 1 ? { env: { WORKERS: workers } } : undefined), defaultLimits: defaults === true }
}

async function replayFile(path: string, flags: Flags): Promise<void> {
  const { surface: name, inputs } = readInputs(path)
  const surface = surfaceOf(name)
  const found = await replay(surface, inputs, optionsOf(flags))
  console.log(found === undefined ? `a broker stands these ${inputs.length} inputs` : found)
  process.exitCode = found === undefined ? 0 : 1
}

/** One crash of each kind. */
function firstOfEach(crashes: Outcome['crashes']): Outcome['crashes'] {
  return [...new Map(crashes.toReversed().map((crash) => [crash.reason, crash])).values()]
}

function finish(outcome: Outcome): void {
  const { surface, seed, cases, seconds, crashes, hangs, faults, canaries, memoryMb, silenceMs, restartMs } = outcome
  const wrong = faultsIn(outcome)
  console.log(
    `${surface}, seed ${seed}: ${cases} cases in ${Math.round(seconds)} s (${Math.round(cases / Math.max(1, seconds))}/s)`,
  )
  if (canaries.length > 0 || crashes.length > 0) {
    console.log(
      `  crashes ${crashes.length}, hangs ${hangs}, guard faults ${[...faults.values()].reduce((sum, count) => sum + count, 0)}, longest silence ${silenceMs} ms`,
    )
    console.log(
      `  canary events received ${canaries.reduce((sum, { received }) => sum + received, 0)}, lost ${canaries.reduce((sum, { lost }) => sum + lost, 0)}`,
    )
    console.log(
      `  memory ${memoryMb.start} MB at the start, ${memoryMb.max} at most, ${memoryMb.end} at the end${restartMs === undefined ? '' : `; another start took ${restartMs} ms`}`,
    )
  }
  for (const line of wrong) console.log(`  ${line}`)
  console.log(wrong.length === 0 ? '  stood all of it' : '  FAILED')
  if (wrong.length > 0) process.exitCode = 1
}

function showProgress(
  { surface, cases, crashes, faults, seconds }: Outcome,
  startedMs: number,
  memoryMb: number,
): void {
  const running = seconds + (Date.now() - startedMs) / 1_000
  const line = `${surface}: ${cases} cases, ${Math.round(cases / Math.max(1, running))}/s, ${memoryMb} MB, ${crashes.length} crashes, ${faults.size} kinds of faults`
  if (SHOWN) process.stderr.write(`\r\x1b[K${line}`)
  else if (Date.now() - shownMs > 30_000) {
    shownMs = Date.now()
    process.stderr.write(`${line}\n`)
  }
}

function endProgress(): void {
  if (SHOWN) process.stderr.write('\r\x1b[K')
}

function positive(text: string): number {
  const number = Number(text)
  if (!(number > 0)) throw new InvalidArgumentError('wants a number above 0')
  return number
}

function whole(text: string): number {
  const number = Number(text)
  if (!Number.isInteger(number)) throw new InvalidArgumentError('wants a whole number')
  return number
}
