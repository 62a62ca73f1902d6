import t from 'tap'
import { checkPlain, jsonBody } from '../src/plain.ts'

const lists = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)

t.test('what goes deeper than a stack is refused, in every format, however it is packed', async (t) => {
  for (const levels of [129, 1_000, 400_000]) {
    const text = lists(levels)
    t.throws(
      () => checkPlain(JSON.parse(text), text),
      { code: 'INVALID_MESSAGE', message: /128 levels/ },
      `${levels} lists`,
    )
    t.throws(() => checkPlain(JSON.parse(text)), { code: 'INVALID_MESSAGE' })
  }
  const objects = `${'{"a":'.repeat(300)}1${'}'.repeat(300)}`
  t.throws(() => checkPlain(JSON.parse(objects), objects), { code: 'INVALID_MESSAGE' })
  for (const text of [
    lists(1),
    lists(128),
    JSON.stringify({ type: 'ping', data: { a: [null, 'x'.repeat(1_000), true, 1.5] } }),
  ])
    t.doesNotThrow(() => checkPlain(JSON.parse(text), text))
})

t.test('what JSON has no word for is refused; bytes and times are not', async (t) => {
  for (const value of [
    2n ** 80n,
    { data: [{ n: 2n ** 80n }] },
    { data: new BigInt64Array(1) },
    { data: new Float64Array(1) },
  ])
    t.throws(() => checkPlain(value), { code: 'INVALID_MESSAGE' })
  t.doesNotThrow(() => checkPlain({ data: [Buffer.from('a'), new Uint8Array(1), new Date(), undefined, null] }))
})

t.test('an attachment that stands in a message a thousand times counts a thousand times', async (t) => {
  const attachment = Buffer.alloc(1_000)
  t.same(JSON.parse(jsonBody({ data: [attachment, 1, 'é'] }).toString()).data[2], 'é')
  t.throws(() => jsonBody({ data: { update: Array(1_000).fill({ attachment }) } }), { code: 'PAYLOAD_TOO_LARGE' })
})
