import t from 'tap'
import { EmbeddedSource } from '../../src/source/embedded/embedded-source.ts'
import { bytes, Collector, range } from '../support/collector.ts'

t.test('a reader that publishes while it reads gets every event once', async (t) => {
  const source = new EmbeddedSource()
  t.teardown(() => source.close())
  const [publishing, other] = [new Collector(), new Collector()]
  publishing.onMessage = () => {
    if (publishing.messages.length < 20) void source.publish('events.app.thing', bytes('more'))
  }
  source.consume(0, publishing)
  source.consume(0, other)
  for (const n of range(1, 5)) await source.publish('events.app.thing', bytes(`${n}`))
  await publishing.has(24)
  await other.has(24)
  t.same(publishing.seqs, range(1, 24))
  t.same(other.seqs, range(1, 24))
})

t.test('the embedded log is bounded in bytes, and says where it begins now', async (t) => {
  const source = new EmbeddedSource()
  t.teardown(() => source.close())
  const body = new Uint8Array(1024 * 1024)
  for (const _ of range(1, 70)) await source.publish('events.app.thing', body)
  const { firstSeq, lastSeq } = await source.bounds()
  t.equal(lastSeq, 70)
  t.equal(firstSeq, 7, '64 MB are kept')
  t.same(
    (await source.read(0, 3)).map(({ seq }) => seq),
    [7, 8, 9],
  )
  const collector = new Collector()
  source.consume(0, collector)
  await collector.has(64)
  t.same(collector.seqs, range(7, 70))
})

t.test('two embedded sources are two lives of the log', async (t) => {
  const [one, other] = [new EmbeddedSource(), new EmbeddedSource()]
  t.teardown(() => Promise.all([one.close(), other.close()]))
  t.not((await one.bounds()).epoch, (await other.bounds()).epoch)
})

t.test('what the embedded log forgot before it was read is told', async (t) => {
  const source = new EmbeddedSource()
  t.teardown(() => source.close())
  const collector = new Collector()
  const reading = source.consume(0, collector)
  await source.publish('events.app.thing', bytes('1'))
  await collector.has(1)
  reading.pause()
  const body = new Uint8Array(1024 * 1024)
  for (const _ of range(2, 70)) await source.publish('events.app.thing', body)
  reading.resume()
  await collector.has(65)
  t.same([collector.seqs, collector.losses], [[1, ...range(7, 70)], [7]])
})
