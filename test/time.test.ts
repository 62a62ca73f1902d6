import t from 'tap'
import { isoTime } from '../src/time.ts'

t.test('isoTime writes what toISOString does', (t) => {
  for (const timeMs of [
    0, 999, 1_000, 1_795_279_320_007, 1_795_279_320_042, 1_795_279_320_123, 1_795_279_319_999, -1, 253_402_300_799_999,
  ]) {
    t.equal(isoTime(timeMs), new Date(timeMs).toISOString())
  }
  const before = Date.now()
  const now = Date.parse(isoTime())
  t.ok(before <= now && now <= Date.now())
  t.end()
})
