import t from 'tap'
import type { Result } from '../../bench/report/result.ts'
import { bench, newest, onLinux } from '../support/bench.ts'

for (const protocol of ['raw', 'socketio']) {
  t.test(
    `storm, ${protocol}: after kill -9 of the broker everybody comes back with their position, and misses nothing`,
    onLinux,
    async (t) => {
      const { status, stderr } = await bench(`storm --subscribers 30 --rate 20 --protocol ${protocol} --peers none`)
      t.equal(status, 0, stderr)
      const { figures, timeline } = newest('storm').runs[0] as Result['runs'][number]
      t.match(figures, { missing: 0, twice: 0, disordered: 0 })
      t.same(
        timeline?.marks.map(({ text }) => text),
        ['killed', 'listens', 'all subscribed', 'all live'],
      )
    },
  )
}
