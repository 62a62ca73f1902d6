import { parseArgs } from 'node:util'
import { type Outcome, shrink, simulate } from './simulation.ts'

const HELP = `npm run simulate -- [--seed N] [--seeds K] [--steps M]

Runs the log, the hub, catching up and Socket.IO recovery under seeded schedules with a clock of their own: peers that drop in
batches as uWebSockets.js does, and a source with outages, gaps, resets, truncations and short reads. Every client must get every
event in order, once, and be told of what is gone.

  --seed N    the first seed (default 1); a failure is the same each time
  --seeds K   how many seeds, one after another (default 1,000)
  --steps M   steps of each (default 200)
`

const LAST_STEPS = 40
const PROGRESS_MS = 200

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1000' },
    steps: { type: 'string', default: '200' },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) console.log(HELP)
else
  process.exitCode = await run(
    wholeNumber('seed', values.seed),
    wholeNumber('seeds', values.seeds),
    wholeNumber('steps', values.steps),
  )

/** @returns the exit code */
async function run(first: number, seeds: number, steps: number): Promise<number> {
  const startMs = performance.now()
  let shownMs = startMs
  for (let done = 0; done < seeds; done++) {
    const outcome = await simulate(first + done, steps)
    if (outcome.fault !== undefined) {
      clear()
      tell(outcome, await shrink(outcome))
      return 1
    }
    const now = performance.now()
    if (process.stderr.isTTY && now - shownMs > PROGRESS_MS) {
      shownMs = now
      process.stderr.write(
        `\r${done + 1} of ${seeds} seeds, ${Math.round(((done + 1) / (now - startMs)) * 1000)} a second `,
      )
    }
  }
  clear()
  console.log(
    `${seeds} seeds from ${first} on, ${steps} steps each: all held, in ${((performance.now() - startMs) / 1000).toFixed(1)} s`,
  )
  return 0
}

function tell(outcome: Outcome, least: Outcome): void {
  console.error(`seed ${outcome.seed}: ${least.fault instanceof Error ? least.fault.message : String(least.fault)}`)
  console.error(`It fails from ${least.steps} steps on; the last of them:`)
  for (const step of least.done.slice(-LAST_STEPS)) console.error(`  ${step}`)
  console.error(`Again: npm run simulate -- --seed ${outcome.seed} --seeds 1 --steps ${least.steps}`)
}

function clear(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
}

function wholeNumber(name: string, text: string): number {
  const number = Number(text)
  if (Number.isSafeInteger(number) && number >= 0) return number
  console.error(`--${name} ${text}: wants a whole number`)
  process.exit(2)
}
