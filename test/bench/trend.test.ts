import t from 'tap'
import { seeded } from '../../bench/events/random.ts'
import { trendOf } from '../../bench/report/trend.ts'

const SECONDS = Array.from({ length: 60 }, (_, i) => i * 30)

t.test('a line is found behind the run-in, with what it rises by', async (t) => {
  const { level, perMinute, growth, noise } = trendOf(
    SECONDS,
    SECONDS.map((second) => (second < 600 ? 1_000 : second / 60)),
    0.4,
  )
  t.ok(Math.abs(perMinute - 1) < 1e-9)
  t.ok(Math.abs(growth - (1_770 - 720) / 60) < 1e-9)
  t.ok(Math.abs(level - (1_770 + 720) / 120) < 1e-9)
  t.ok(noise < 1e-9)
})

t.test('noise alone is no growth beyond noise; a leak beyond it is', async (t) => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = seeded(seed)
    const noisy = SECONDS.map(() => 100 + 10 * random())
    const flat = trendOf(SECONDS, noisy, 0.4)
    t.ok(Math.abs(flat.growth) < flat.noise, `seed ${seed}`)
    const leak = trendOf(
      SECONDS,
      noisy.map((value, i) => value + i * 0.5),
      0.4,
    )
    t.ok(leak.growth > leak.noise, `seed ${seed}`)
  }
})
