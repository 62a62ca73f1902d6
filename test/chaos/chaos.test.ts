import t from 'tap'
import { plan } from './plan.ts'
import { explain } from './report.ts'
import { run } from './run.ts'
import { SCHEDULES, type Schedule } from './schedules.ts'

t.test('a seed is a plan: the same each time, another one for each seed and lane', async (t) => {
  for (const schedule of SCHEDULES) {
    const faults = plan(schedule, 7, 15)
    t.same(faults, plan(schedule, 7, 15))
    t.notSame(faults, plan(schedule, 8, 15))
    for (const [i, lane] of schedule.lanes.entries()) t.ok(faults[i]?.every(({ kind }) => lane.kinds.includes(kind)))
  }
})

t.test(
  'two brokers, their clients and NATS under six seconds of mixed faults: every client has every event once, in order',
  async (t) => {
    const schedule = SCHEDULES.find(({ name }) => name === 'mixed') as Schedule
    const nats = process.env.NATS_SERVER ?? 'nats-server'
    const result = await run({ schedule, nats, seed: 3, seconds: 6, clients: 10, rate: 60 })
    t.ok(result.passed, result.passed ? 'passed' : explain(result))
    t.ok(result.actions.length > 2 && result.published > 50 && result.verdicts.length === 10)
  },
)
