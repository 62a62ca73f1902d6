import t from 'tap'
import { Latencies } from '../../bench/load/latency.ts'
import { seeded } from '../../bench/events/random.ts'

t.test('percentiles are right to three digits', async (t) => {
  const random = seeded(7)
  const values = Array.from({ length: 20_000 }, () => Math.ceil(random() ** 4 * 3_000_000) + 1)
  const latencies = new Latencies()
  for (const value of values) latencies.record(value)
  values.sort((a, b) => a - b)
  for (const percentile of [1, 50, 90, 99, 99.9]) {
    const exactMs = (values[Math.ceil((percentile / 100) * values.length) - 1] as number) / 1000
    t.ok(
      Math.abs(latencies.ms(percentile) - exactMs) <= exactMs / 500,
      `${percentile}: ${latencies.ms(percentile)} for ${exactMs}`,
    )
  }
  t.equal(latencies.count, values.length)
})

t.test('a stall counts for every event that was due in it, not for one alone', async (t) => {
  // 1,000 events, one due each millisecond. Whoever sends and receives them stands still from 300 to 500 ms.
  const fromDue = new Latencies()
  const fromSent = new Latencies()
  for (let dueMs = 0; dueMs < 1_000; dueMs++) {
    const sentMs = dueMs >= 300 && dueMs < 500 ? 500 : dueMs
    const arrivedMs = sentMs + 1
    fromDue.record((arrivedMs - dueMs) * 1000)
    fromSent.record((arrivedMs - sentMs) * 1000)
  }
  t.ok(Math.abs(fromDue.ms(90) - 101) < 2, `a tenth of the events waited 100 ms and more: ${fromDue.ms(90)}`)
  t.ok(fromDue.ms(99) > 185)
  t.ok(fromSent.ms(99) < 1.1, 'counted from sending the stall would not be seen')
})

t.test('parts of several processes add up, also written down', async (t) => {
  const all = new Latencies()
  for (const range of [1, 2]) {
    const part = new Latencies()
    for (let i = 1; i <= 100; i++) part.record(range * i * 1000)
    all.add(Latencies.decode(part.encode()))
  }
  t.equal(all.count, 200)
  t.ok(Math.abs(all.maxMs - 200) < 1)
  t.ok(Math.abs(all.ms(50) - 67) < 1, `${all.ms(50)}`)
})

t.test('what is out of range is kept at its bounds', async (t) => {
  const latencies = new Latencies()
  latencies.record(-5)
  latencies.record(1e15)
  t.equal(latencies.count, 2)
  t.ok(latencies.maxMs >= 3_600_000)
})
