import t from 'tap'
import { type TSchema, Type } from 'typebox'
import { checkOf } from '../../src/contracts/faults.ts'

t.test('what is wrong is said with its place', async (t) => {
  const check = checkOf(
    Type.Object({ events: Type.Array(Type.String(), { maxItems: 256 }), id: Type.String() }),
    'shop',
  )
  t.same(check({ events: ['a'], id: 'b' }), [])
  t.match(check({ events: ['a', 1] }), [/id/, /^\/events\/1: /])
  t.match(check({ events: Array(300).fill('a'), id: 'b' }), [/^\/events: /])
  t.same(checkOf(undefined, 'shop')('anything'), [])
})

t.test('a megabyte of wrong values was looked at whole, for seconds: the first of them say enough', async (t) => {
  const check = checkOf(Type.Object({ list: Type.Array(Type.Object({ n: Type.Number() })), id: Type.String() }), 'shop')
  let looks = 0
  const wrong = {
    get n() {
      looks++
      return 'x'
    },
  }
  const faults = check({ list: Array(100_000).fill(wrong), id: 'a' })
  t.ok(faults.length > 1 && faults.length <= 8)
  t.match(faults[0], /^\/list\/0\/n: /)
  t.ok(looks < 10_000, `${looks} of 100,000 were looked at`)
  t.match(
    check({ list: Array(100_000).fill({ n: 1 }), id: 7 }),
    [/behind its first 2000 values/],
    'what was cut off is not said to be missing',
  )
})

t.test('a schema nested so deeply that no compiler reads it ended the start with a stack', async (t) => {
  let schema: TSchema = Type.String()
  for (let depth = 0; depth < 20_000; depth++) schema = Type.Array(schema)
  t.throws(() => checkOf(schema, 'shop: events["price"].schema'), {
    code: 'CONTRACT_INVALID',
    message: /^Contract shop: events\["price"\]\.schema: this schema cannot be compiled: /,
  })
})
