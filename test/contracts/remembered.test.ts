import t from 'tap'
import { Remembered } from '../../src/contracts/remembered.ts'

t.test('what another stream told is forgotten, and does not keep out what the new one tells under lower sequences', (t) => {
  const facts = new Remembered()
  facts.note('state', 'a', 'old', '', 900)
  facts.forget(0)
  t.equal(facts.of('state', 'a'), undefined)
  facts.note('state', 'a', 'new', '', 1)
  t.equal(facts.of('state', 'a')?.data, 'new')
  t.end()
})

t.test('of a stream that was cut short, what it no longer has is forgotten', (t) => {
  const facts = new Remembered()
  for (const [key, seq] of [['a', 1], ['b', 2], ['c', 3]] as const) facts.note('state', key, key, '', seq)
  facts.forget(2)
  t.same([...facts.all('state')].map(({ data }) => data), ['a', 'b'])
  t.end()
})
