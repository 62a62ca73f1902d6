import t from 'tap'
import { bench, newest, onLinux } from '../support/bench.ts'

t.test('formats: JSON, msgpack and Socket.IO in one crowd', onLinux, async (t) => {
  const { status, stderr } = await bench('formats --subscribers 9 --rate 20 --seconds 1 --warmup 1')
  t.equal(status, 0, stderr)
  for (const { case: name, figures } of newest('formats').runs)
    t.match(figures, { deliveries: 180, missing: 0, twice: 0, disordered: 0 }, name)
})
