import t from 'tap'
import { onFault } from '../src/guarded.ts'
import { Sweep, Turns } from '../src/turns.ts'
import { range } from './support/collector.ts'

/** Keeps the event loop busy. */
function work(ms: number): void {
  const endMs = performance.now() + ms
  while (performance.now() < endMs);
}

t.test('hundreds of tasks that become ready at once let others have their turns, and keep their order', async (t) => {
  const turns = new Turns()
  let others = 0
  const other = () => {
    others++
    next = setImmediate(other)
  }
  let next = setImmediate(other)
  const done: number[] = []
  const seen = await Promise.all(
    range(1, 60).map((n) =>
      turns.run(() => {
        work(4)
        done.push(n)
        return others
      }),
    ),
  )
  clearImmediate(next)
  t.same(done, range(1, 60))
  // Three tasks of 4 ms fill a turn of 10 ms.
  for (const turn of new Set(seen)) t.ok(seen.filter((one) => one === turn).length <= 3, `turn ${turn}`)
})

t.test('a task that throws fails alone', async (t) => {
  const turns = new Turns()
  const failing = turns.run(() => {
    throw new Error('no')
  })
  const [failed, next] = await Promise.allSettled([failing, turns.run(() => 'done')])
  t.match(failed, { status: 'rejected', reason: { message: 'no' } })
  t.match(next, { status: 'fulfilled', value: 'done' })
  t.equal(await turns.run(() => 'later'), 'later')
})

t.test('a sweep over thousands lets others have their turns; one that fails costs only itself', async (t) => {
  const faults: unknown[] = []
  t.teardown(onFault((_, error) => faults.push(error)))
  const items = new Set(range(1, 60))
  const turnsOf = new Map<number, number>()
  let turn = 0
  const count = () => {
    turn++
    next = setImmediate(count)
  }
  let next = setImmediate(count)
  const sweep = new Sweep(
    () => items,
    (item: number) => {
      work(4)
      turnsOf.set(item, turn)
      items.delete(item)
      if (item === 30) throw new Error('no')
    },
  )
  sweep.begin(0)
  sweep.begin(0)
  while (items.size > 0) await new Promise((resolve) => setImmediate(resolve))
  t.same([...turnsOf.keys()], range(1, 60), 'each once')
  for (const one of new Set(turnsOf.values()))
    t.ok([...turnsOf.values()].filter((other) => other === one).length <= 3, `turn ${one}`)
  t.match(faults, [{ message: 'no' }])
  await new Promise((resolve) => setImmediate(resolve))
  items.add(61)
  sweep.begin(0)
  while (items.size > 0) await new Promise((resolve) => setImmediate(resolve))
  clearImmediate(next)
})

t.test('a sweep whose items cannot be told begins again', async (t) => {
  let asked = 0
  const stopped = onFault(() => {})
  t.teardown(stopped)
  const sweep = new Sweep(
    () => {
      asked++
      throw new Error('no items')
    },
    () => {},
  )
  for (let n = 0; n < 2; n++) {
    sweep.begin(0)
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.equal(asked, 2)
})
