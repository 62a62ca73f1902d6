import t from 'tap'
import {
  accepts,
  type Clause,
  compilePredicate,
  valuesOf,
  type FieldValues,
  type Predicate,
} from '../../src/hub/predicate.ts'

const clause = (field: number, ...allowed: string[]): Clause => ({ field, allowed: new Set(allowed) })
const compiled = (access: readonly Clause[], filters: readonly Clause[]) =>
  compilePredicate(access, filters) as Predicate

t.test('who asks for nothing in particular gets everything, without a predicate', async (t) => {
  t.equal(compilePredicate([], []), undefined)
})

t.test('an event is wanted when every clause finds one of its values, or the event carries none', async (t) => {
  const predicate = compiled([clause(0, 'lib-1', 'lib-2')], [clause(2, 'rpg')])
  const cases: readonly (readonly [FieldValues, boolean])[] = [
    [[['lib-1'], undefined, ['rpg']], true],
    [[['lib-2'], undefined, ['action', 'rpg']], true],
    [[['lib-3'], undefined, ['rpg']], false],
    [[['lib-1'], undefined, ['action']], false],
    [[undefined, undefined, undefined], true],
    [[undefined, ['whatever'], ['rpg']], true],
    [[['lib-1'], undefined, undefined], true],
    [[['lib-1'], undefined, []], false],
    [[], true],
  ]
  for (const [fieldValues, expected] of cases)
    t.equal(accepts(predicate, fieldValues), expected, JSON.stringify(fieldValues))
})

t.test('a clause that allows nothing lets only events through that carry no value', async (t) => {
  const predicate = compiled([clause(0)], [])
  t.equal(accepts(predicate, [['a']]), false)
  t.equal(accepts(predicate, [undefined]), true)
})

t.test('equal wishes are one interest group, in whatever order they were said', async (t) => {
  const key = compiled([clause(0, 'a', 'b')], [clause(1, 'x', 'y')]).key
  t.equal(compiled([clause(0, 'b', 'a')], [clause(1, 'y', 'x')]).key, key)
  t.equal(compiled([], [clause(1, 'y', 'x'), clause(0, 'b', 'a')]).key, key)
})

t.test('different wishes are different groups, whatever characters the values hold', async (t) => {
  const wishes = [
    compiled([clause(0, 'a', 'b')], []),
    compiled([clause(1, 'a', 'b')], []),
    compiled([clause(0, 'a')], []),
    compiled([clause(0, 'a,b')], []),
    compiled([clause(0, 'a","b')], []),
    compiled([clause(0, 'a'), clause(0, 'b')], []),
    compiled([clause(0, 'a'), clause(1, 'b')], []),
    compiled([clause(0)], []),
    compiled([clause(0, '')], []),
    compiled([clause(10)], []),
    compiled([clause(1), clause(0)], []),
  ]
  t.equal(new Set(wishes.map(({ key }) => key)).size, wishes.length)
})

t.test('the filters stay known apart from what the token allows', async (t) => {
  const filters = [clause(1, 'x')]
  const predicate = compiled([clause(0, 'a')], filters)
  t.equal(predicate.filters, filters)
  t.equal(predicate.clauses.length, 2)
})

t.test('values are compared as text, one or many', async (t) => {
  t.same(valuesOf('a'), ['a'])
  t.same(valuesOf(7), ['7'])
  t.same(valuesOf(false), ['false'])
  t.same(valuesOf(['a', 7]), ['a', '7'])
  t.same(valuesOf([]), [])
  t.equal(valuesOf(undefined), undefined)
  t.equal(valuesOf(null), undefined)
})
