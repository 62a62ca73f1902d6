import t from 'tap'
import { countCommand, countPacket, type RateState, WINDOW_MS } from '../../src/guard/rate-limit.ts'

const START_MS = 1_700_000_000_000

function verdicts(
  state: RateState,
  limits: { perMinute: number; warnAt: number },
  count: number,
  nowMs = START_MS,
): string[] {
  return Array.from({ length: count }, () => countCommand(state, limits, nowMs))
}

t.test('so many commands pass in a minute, and no more', async (t) => {
  const state = { windowStartMs: 0, used: 0, packets: 0 }
  t.same(verdicts(state, { perMinute: 3, warnAt: 0 }, 5), ['pass', 'pass', 'pass', 'refuse', 'refuse'])
})

t.test('the warning comes once, when so many are left', async (t) => {
  const state = { windowStartMs: 0, used: 0, packets: 0 }
  t.same(verdicts(state, { perMinute: 5, warnAt: 2 }, 7), ['pass', 'pass', 'warn', 'pass', 'pass', 'refuse', 'refuse'])
})

t.test('a limit below its warning never warns', async (t) => {
  t.same(verdicts({ windowStartMs: 0, used: 0, packets: 0 }, { perMinute: 2, warnAt: 20 }, 3), [
    'pass',
    'pass',
    'refuse',
  ])
})

t.test('the next minute begins anew, warning included', async (t) => {
  const state = { windowStartMs: 0, used: 0, packets: 0 }
  const limits = { perMinute: 2, warnAt: 1 }
  t.same(verdicts(state, limits, 3), ['warn', 'pass', 'refuse'])
  t.equal(countCommand(state, limits, START_MS + WINDOW_MS - 1), 'refuse')
  t.equal(countCommand(state, limits, START_MS + WINDOW_MS), 'warn')
  t.equal(state.windowStartMs, START_MS + WINDOW_MS)
})

t.test('refused commands do not lengthen the wait', async (t) => {
  const state = { windowStartMs: 0, used: 0, packets: 0 }
  const limits = { perMinute: 1, warnAt: 0 }
  t.equal(countCommand(state, limits, START_MS), 'pass')
  for (let ms = 1_000; ms < WINDOW_MS; ms += 1_000) t.equal(countCommand(state, limits, START_MS + ms), 'refuse')
  t.equal(countCommand(state, limits, START_MS + WINDOW_MS), 'pass')
})

t.test('packets and commands have limits of their own, in one window', async (t) => {
  const state = { windowStartMs: 0, used: 0, packets: 0 }
  t.same(
    [1, 2, 3].map(() => countPacket(state, 2, START_MS)),
    [true, true, false],
  )
  t.equal(countCommand(state, { perMinute: 1, warnAt: 0 }, START_MS), 'pass')
  t.equal(countCommand(state, { perMinute: 1, warnAt: 0 }, START_MS), 'refuse')
  t.equal(countPacket(state, 2, START_MS + WINDOW_MS), true)
  t.equal(countCommand(state, { perMinute: 1, warnAt: 0 }, START_MS + WINDOW_MS), 'pass')
})
