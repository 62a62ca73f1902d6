import t from 'tap'
import { simulate } from './simulation.ts'

const SEEDS = 1_000
const STEPS = 100

t.test(`${SEEDS} seeds: every client gets every event in order, once, and is told of what is gone`, async (t) => {
  let held = 0
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { fault, done } = await simulate(seed, STEPS)
    if (fault === undefined) held++
    else
      t.fail(
        `seed ${seed}: ${fault instanceof Error ? fault.message : String(fault)}; after ${done.slice(-5).join('; ')}`,
      )
  }
  t.equal(held, SEEDS)
})

t.test('a seed is a schedule: the same each time, another one for each seed', async (t) => {
  const once = await simulate(7, STEPS)
  t.same((await simulate(7, STEPS)).done, once.done)
  t.notSame((await simulate(8, STEPS)).done, once.done)
})
