import t from 'tap'
import { bench, newest, onLinux } from '../support/bench.ts'

t.test(
  'soak: clients of all kinds come and go, join, leave and ask; nothing is missing, and every slope is known',
  onLinux,
  async (t) => {
    const { status, stdout, stderr } = await bench(
      'soak --minutes 0.15 --connections 16 --rooms 3 --churn 6 --commands 6 --rate 5 --room-rate 20',
    )
    t.equal(status, 0, stderr)
    t.match(stdout, /open files: growth/)
    const { runs, failures } = newest('soak')
    t.same(failures, [])
    t.match(runs[0]?.figures, { missing: 0, twice: 0, disordered: 0 })
    for (const name of ['memoryPerMinute', 'heapPerMinute', 'filesPerMinute', 'delayPerMinute'] as const)
      t.ok(Number.isFinite(runs[0]?.figures[name]), name)
    t.ok((runs[0]?.figures.files ?? 0) > 16, 'sockets are among the files')
  },
)
