import t from 'tap'
import { bench, newest, onLinux } from '../support/bench.ts'

const ROOMCAST = new URL('../../dist/main.js', import.meta.url).pathname

t.test(
  'ingest: a burst that was stored before is read and delivered, with and without subscribers, by two builds in turn',
  onLinux,
  async (t) => {
    const { status, stdout, stderr } = await bench(
      'ingest --events 1000 --subscribers 0,2 --warmup 200 --rounds 1 --against',
      ROOMCAST,
    )
    t.equal(status, 0, stderr)
    t.match(stdout, /events a second/)
    t.match(stdout, /Roomcast : before/)
    const { runs, failures, thresholds } = newest('ingest')
    t.same(failures, [])
    t.same(
      runs.map(({ case: name, side }) => `${name}, ${side}`),
      ['0 subscribers, before', '0 subscribers, roomcast', '2 subscribers, before', '2 subscribers, roomcast'],
    )
    for (const { case: name, side, figures } of runs) {
      t.match(
        figures,
        { deliveries: name === '2 subscribers' ? 2000 : 0, missing: 0, twice: 0, disordered: 0 },
        `${name}, ${side}`,
      )
      t.ok((figures.eventsPerSecond ?? 0) > 0, `${name}, ${side}`)
    }
    t.equal(thresholds.length, 5)
  },
)
