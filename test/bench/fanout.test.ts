import t from 'tap'
import { bench, newest, onLinux } from '../support/bench.ts'

t.test(
  'fanout: every connection of three servers gets every event, and the result is written down',
  onLinux,
  async (t) => {
    const { status, stdout, stderr } = await bench(
      'fanout --subscribers 20 --rate 20 --seconds 5 --warmup 1 --rounds 1 --peers raw,nats',
    )
    t.equal(status, 0, stderr)
    t.match(stdout, /CPU per delivery/)
    const { runs, settings, failures } = newest('fanout')
    t.same(failures, [])
    t.equal(settings.seed, 1)
    t.same(
      runs.map(({ side }) => side),
      ['raw', 'roomcast', 'nats'],
    )
    for (const { side, figures } of runs)
      t.match(figures, { deliveries: 2000, missing: 0, twice: 0, disordered: 0 }, side)
  },
)
