import fc from 'fast-check'
import type { CanaryReport } from './canary.ts'
import { Inputs, writeInputs } from './inputs.ts'
import { Random } from './random.ts'
import type { BrokerSurface, PureSurface } from './surface.ts'
import { faultsOf, Watch } from './watch.ts'
import { World, type WorldOptions } from './world.ts'

/** What came of it, for people and for the exit code. */
export interface Outcome {
  readonly surface: string
  readonly seed: number
  cases: number
  seconds: number
  /** What the broker ended by, and the files of the inputs before it. */
  readonly crashes: { readonly reason: string; readonly file: string }[]
  hangs: number
  /** What the guard caught, by place. */
  readonly faults: Map<string, number>
  /** The first stack of each place, as it was logged. */
  readonly stacks: Map<string, string>
  readonly canaries: CanaryReport[]
  silenceMs: number
  memoryMb: { start: number; max: number; end: number }
  ready: boolean
  /** How long another start takes on what is stored now. Undefined: it did not. */
  restartMs?: number
  readonly counterexamples: string[]
}

export interface RunOptions extends WorldOptions {
  readonly seed: number
  readonly seconds: number
  /** At most so many cases. */
  readonly casesMax?: number
  readonly progress?: (outcome: Outcome, startedMs: number, memoryMb: number) => void
  /** Somebody wants to see what came of it so far. */
  readonly stop?: AbortSignal
}

/** More than this above the start is no cache any more: it grows. */
const GROWTH_MAX_MB = 600
const CRASHES_MAX = 20
const PROGRESS_MS = 500
/** After the last input: timers end, queues drain. */
const SETTLE_MS = 1_200
const RESTART_MAX_MS = 60_000

export function outcomeOf(surface: string, seed: number): Outcome {
  return {
    surface,
    seed,
    cases: 0,
    seconds: 0,
    crashes: [],
    hangs: 0,
    faults: new Map(),
    stacks: new Map(),
    canaries: [],
    silenceMs: 0,
    memoryMb: { start: 0, max: 0, end: 0 },
    ready: true,
    counterexamples: [],
  }
}

/** What is wrong, one line each. */
export function faultsIn({
  crashes,
  hangs,
  faults,
  stacks,
  canaries,
  memoryMb,
  ready,
  counterexamples,
  restartMs,
}: Outcome): string[] {
  return [
    ...crashes.map(({ reason, file }) => `the broker ended: ${reason}\n    inputs before it: ${file}`),
    ...(hangs > 0 ? [`${hangs} times it did not answer`] : []),
    ...[...faults].map(([where, count]) => `its guard caught ${count} at "${where}": ${stacks.get(where) ?? ''}`),
    ...canaries.flatMap(({ name, lost, disordered, disconnects, unreadable }) => [
      ...(lost > 0 ? [`${name}: ${lost} canary events lost`] : []),
      ...(disordered > 0 ? [`${name}: ${disordered} canary events out of order`] : []),
      ...(disconnects.length > 0 ? [`${name}: disconnected (${disconnects.join(', ')})`] : []),
      ...(unreadable > 0 ? [`${name}: ${unreadable} frames that it could not read`] : []),
    ]),
    ...(memoryMb.end > memoryMb.start + GROWTH_MAX_MB
      ? [`its memory grew from ${memoryMb.start} to ${memoryMb.end} MB and stays`]
      : []),
    ...(ready ? [] : ['it is not ready']),
    ...(restartMs !== undefined && restartMs > RESTART_MAX_MS
      ? [`another start on what is stored took ${Math.round(restartMs / 1_000)} s`]
      : []),
    ...counterexamples,
  ]
}

/** Reaches brokers with odd input for a while; one that falls is replaced by another on a fresh store. */
export async function runSurface(surface: BrokerSurface, options: RunOptions): Promise<Outcome> {
  const outcome = outcomeOf(surface.name, options.seed)
  const endMs = Date.now() + options.seconds * 1_000
  do {
    const world = await World.start(options)
    try {
      await fuzzWorld(surface, world, outcome, endMs, options)
      if (!world.broker.gone && !options.stop?.aborted) await restart(world, outcome)
    } finally {
      await world.stop()
    }
  } while (Date.now() < endMs && !options.stop?.aborted && outcome.crashes.length < CRASHES_MAX)
  return outcome
}

/** Reaches one broker with odd input until the time has come or it falls, while clients that behave well look on. */
async function fuzzWorld(
  surface: BrokerSurface,
  world: World,
  outcome: Outcome,
  endMs: number,
  options: RunOptions,
): Promise<void> {
  await world.openCanaries()
  const watch = new Watch(world)
  const inputs = await reach(surface, world, outcome, endMs, watch, options)
  if (!world.broker.gone) outcome.canaries.push(...(await world.reportCanaries()))
  await watch.stop()
  outcome.silenceMs = Math.max(outcome.silenceMs, watch.silenceMs)
  outcome.memoryMb = {
    start: outcome.memoryMb.start || watch.memoryStartMb,
    max: Math.max(outcome.memoryMb.max, watch.memoryMaxMb),
    end: world.broker.gone ? outcome.memoryMb.end : watch.memoryMb(),
  }
  if (watch.hangs) outcome.hangs++
  if (world.broker.gone || watch.hangs) {
    outcome.crashes.push({
      reason: world.broker.gone ? reasonIn(world.broker.log) : 'it hangs',
      file: writeInputs(`${surface.name}-${options.seed}-${outcome.crashes.length + 1}`, surface.name, inputs.last),
    })
  } else outcome.ready = (await world.broker.ops('/readyz')).ok
}

/** Sends input for a while, and counts what the guard caught meanwhile. @returns what was sent last */
export async function reach(
  surface: BrokerSurface,
  world: World,
  outcome: Outcome,
  endMs: number,
  watch: Watch,
  { seed, casesMax = Number.POSITIVE_INFINITY, progress, stop }: RunOptions,
): Promise<Inputs> {
  const inputs = new Inputs()
  const before = await faultsOf(world)
  const startMs = Date.now()
  const driver = await surface.open(world)
  const showing = setInterval(() => progress?.(outcome, startMs, watch.memoryMb()), PROGRESS_MS)
  const send = async () => {
    while (Date.now() < endMs && outcome.cases < casesMax && !stop?.aborted && !world.broker.gone && !watch.hangs) {
      const input = surface.make(Random.ofCase(seed, outcome.cases++))
      inputs.add(input)
      await driver.send(input)
    }
  }
  try {
    await Promise.all(Array.from({ length: surface.concurrency }, send))
  } finally {
    clearInterval(showing)
    outcome.seconds += (Date.now() - startMs) / 1_000
  }
  await driver.close()
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
  if (world.broker.gone) return inputs
  for (const [where, count] of await faultsOf(world)) {
    const grown = count - (before.get(where) ?? 0)
    if (grown === 0) continue
    outcome.faults.set(where, (outcome.faults.get(where) ?? 0) + grown)
    outcome.stacks.set(where, stackIn(world.broker.log, where))
  }
  return inputs
}

/** Starts the broker once more, on what is stored now. */
export async function restart(world: World, outcome: Outcome): Promise<void> {
  world.closeCanaries()
  await world.broker.kill()
  const startMs = Date.now()
  const late = setTimeout(() => void world.broker.kill(), RESTART_MAX_MS + 1_000)
  await world.broker.run().catch(() => {})
  clearTimeout(late)
  outcome.restartMs = Date.now() - startMs
}

/** The beginning of the stack that it logged of a fault. */
function stackIn(log: string, where: string): string {
  const line = log.split('\n').find((one) => one.includes(`"where":${JSON.stringify(where)}`))
  return (
    /"reason":"(.*?)(?:","msg"|$)/
      .exec(line ?? '')?.[1]
      ?.split('\\n')
      .slice(0, 4)
      .join('\n    ') ?? 'not logged'
  )
}

/** What it said last: the error and the first place of its own. */
function reasonIn(log: string): string {
  const lines = log
    .slice(-6_000)
    .split('\n')
    .map((line) => line.trim())
  const error =
    lines.findLast((line) => /^(\w*Error|BrokerError)\b|^Uncaught|heap out of memory/.test(line)) ??
    lines.findLast((line) => line !== '' && !line.startsWith('Node.js')) ??
    'without a word'
  const place = lines.find((line) => line.includes('/dist/') && /:\d+:\d+\)?$/.test(line))
  return `${error.slice(0, 300)}${place === undefined ? '' : ` (${place.replace(/.*\/dist\//, '').replace(/\)$/, '')})`}`
}

/** Checks the properties of a pure surface, each for its share of the time. */
export function checkSurface({ name, properties }: PureSurface, seed: number, seconds: number): Outcome {
  const outcome = outcomeOf(name, seed)
  const startMs = Date.now()
  const all = Object.entries(properties)
  for (const [what, property] of all) {
    const details = fc.check(property, {
      seed,
      numRuns: Number.MAX_SAFE_INTEGER,
      interruptAfterTimeLimit: (seconds * 1_000) / all.length,
    })
    outcome.cases += details.numRuns
    if (details.failed)
      outcome.counterexamples.push(
        `not so: ${what}\n    ${fc.stringify(details.counterexample).slice(0, 500)}\n    ${String(details.errorInstance).slice(0, 500)}\n    seed ${details.seed}, path ${details.counterexamplePath}`,
      )
  }
  outcome.seconds = (Date.now() - startMs) / 1_000
  return outcome
}
