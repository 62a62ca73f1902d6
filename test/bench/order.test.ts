import t from 'tap'
import { Order } from '../../bench/load/order.ts'
import { seeded } from '../../bench/events/random.ts'

t.test('events in order are no fault', async (t) => {
  const order = new Order(2)
  for (let n = 1; n <= 100; n++) for (const place of [0, 1]) order.saw(place, n)
  t.same(
    order.end(() => 100),
    { missing: 0, twice: 0, disordered: 0 },
  )
})

t.test('what is missing in the middle, at the end, and altogether is counted', async (t) => {
  const order = new Order(3)
  for (const n of [1, 2, 5, 6]) order.saw(0, n)
  for (const n of [1, 2, 3]) order.saw(1, n)
  t.same(
    order.end(() => 6),
    { missing: 2 + 3 + 6, twice: 0, disordered: 0 },
  )
})

t.test('places have numbers of their own', async (t) => {
  const order = new Order(2)
  order.saw(0, 1)
  for (let n = 1; n <= 5; n++) order.saw(1, n)
  t.same(
    order.end((place) => (place === 0 ? 1 : 5)),
    { missing: 0, twice: 0, disordered: 0 },
  )
})

t.test('somebody new at a place begins with whatever comes first, and misses only what comes after that', async (t) => {
  const order = new Order(2)
  for (const n of [1, 2, 4]) order.saw(0, n)
  order.restart(0)
  t.equal(order.outstanding(0, 50), 0)
  for (const n of [40, 41]) order.saw(0, n)
  t.equal(order.outstanding(0, 50), 9)
  order.restart(1)
  t.same(
    order.end(() => 42),
    { missing: 1 + 1, twice: 0, disordered: 0 },
  )
})

t.test('seeded faults are found, each as what it is', async (t) => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = seeded(seed)
    const planned = { missing: 0, twice: 0, disordered: 0 }
    const stream: number[] = []
    const late: number[] = []
    for (let n = 1; n <= 500; n++) {
      const chance = random()
      if (chance < 0.02) planned.missing++
      else if (chance < 0.04) {
        stream.push(n, n)
        planned.twice++
      } else if (chance < 0.06) late.push(n)
      else {
        stream.push(n)
        // Those that were held back come behind a later one.
        for (const held of late.splice(0)) {
          stream.push(held)
          planned.disordered++
        }
      }
    }
    planned.missing += late.length
    const order = new Order(1)
    for (const n of stream) order.saw(0, n)
    t.same(
      order.end(() => 500),
      planned,
      `seed ${seed}`,
    )
  }
})
