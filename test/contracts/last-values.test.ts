import t from 'tap'
import { LastValueCache } from '../../src/contracts/last-values.ts'

t.test(
  'what another stream told is forgotten, and does not keep out what the new one tells under lower sequences',
  (t) => {
    const facts = new LastValueCache()
    facts.note('state', 'a', 'old', '', 900)
    facts.forget(0)
    t.equal(facts.of('state', 'a'), undefined)
    facts.note('state', 'a', 'new', '', 1)
    t.equal(facts.of('state', 'a')?.data, 'new')
    t.end()
  },
)

t.test('of a stream that was cut short, what it no longer has is forgotten', (t) => {
  const facts = new LastValueCache()
  for (const [key, seq] of [
    ['a', 1],
    ['b', 2],
    ['c', 3],
  ] as const)
    facts.note('state', key, key, '', seq)
  facts.forget(2)
  t.same(
    [...facts.all('state')].map(({ data }) => data),
    ['a', 'b'],
  )
  t.end()
})

t.test('large events are remembered up to a bound in bytes: 10,000 keys of 1 MB each were 10 GB', (t) => {
  const facts = new LastValueCache()
  for (let seq = 1; seq <= 100; seq++) facts.note('state', `${seq}`, seq, '', seq, 1_000_000)
  t.same(
    [...facts.all('state')].map(({ data }) => data),
    [93, 94, 95, 96, 97, 98, 99, 100],
    'those that changed last',
  )
  facts.note('state', '95', 'anew', '', 101, 1_000_000)
  t.equal([...facts.all('state')].length, 8, 'one that changes takes no more room')
  facts.note('state', 'huge', 'huge', '', 102, 100_000_000)
  t.equal(facts.of('state', 'huge'), undefined)
  for (let seq = 200; seq < 300; seq++) facts.note('state', 'k'.repeat(1_000_000) + seq, seq, '', seq, 0)
  t.ok([...facts.all('state')].length <= 8, 'a key counts')
  facts.note('other', 'a', 1, '', 300, 10)
  t.equal(facts.of('other', 'a')?.data, 1, 'each type has its own')
  t.end()
})
