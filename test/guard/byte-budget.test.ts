import t from 'tap'
import { ByteBudget } from '../../src/guard/byte-budget.ts'

const MINUTE_MS = 60_000
const START_MS = 28_000_000 * MINUTE_MS

t.test('a user may store so many bytes a minute, and others as many', async (t) => {
  const budget = new ByteBudget(100)
  budget.take('ann', 60, START_MS)
  budget.take('ann', 40, START_MS + 1)
  t.throws(() => budget.take('ann', 1, START_MS + 45_000), {
    code: 'RATE_LIMITED',
    message: /STORED_BYTES_PER_MINUTE_PER_USER/,
    details: { retry_after_seconds: 15 },
  })
  budget.take('ben', 100, START_MS + 2)
})

t.test('what was refused takes nothing; the next minute begins anew', async (t) => {
  const budget = new ByteBudget(100)
  t.throws(() => budget.take('ann', 101, START_MS))
  budget.take('ann', 100, START_MS)
  t.throws(() => budget.take('ann', 1, START_MS + MINUTE_MS - 1))
  budget.take('ann', 100, START_MS + MINUTE_MS)
})

t.test('0 is no limit', async (t) => {
  const budget = new ByteBudget(0)
  for (let i = 0; i < 3; i++) budget.take('ann', Number.MAX_SAFE_INTEGER, START_MS)
  t.pass()
})
