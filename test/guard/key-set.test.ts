import { createPublicKey, generateKeyPairSync, type JsonWebKey } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import t, { type Test } from 'tap'
import { KeySet } from '../../src/guard/key-set.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { eventually } from '../support/client.ts'

const publicOf = (type: 'rsa' | 'ec', bits = 2_048) =>
  (type === 'rsa'
    ? generateKeyPairSync('rsa', { modulusLength: bits })
    : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  ).publicKey.export({ format: 'jwk' }) as JsonWebKey
const rsa = publicOf('rsa')
const ec = publicOf('ec')
const json =
  (body: unknown): RequestListener =>
  (_, response) =>
    response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))

/** The keys that are taken of what a server answers, with the algorithm of each. */
async function read(
  t: Test,
  respond: RequestListener,
  bounds: { bytesMax?: number; keysMax?: number } = {},
): Promise<(ids: string[]) => (string | undefined)[]> {
  const server = createServer(respond)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as { port: number }).port}/jwks.json`
  const set = await KeySet.follow({ url, bytesMax: 65_536, keysMax: 100, ...bounds }, makeLogger('silent'), ({ pem }) =>
    createPublicKey(pem),
  )
  t.teardown(() => set.close())
  return (ids) => ids.map((id) => set.find(id)?.algorithm)
}

t.test('a key set with one key of nonsense lost all the others: it is left out alone', async (t) => {
  const nonsense = [
    null,
    5,
    'key',
    [],
    {},
    { kty: 'RSA', kid: 'n' },
    { kty: 'RSA', kid: 'n', n: 5, e: {} },
    { kty: 'EC', crv: 'P-256', kid: 'n', x: 'AA', y: 'AA' },
    { ...rsa, kid: { a: 1 } },
    { ...publicOf('rsa', 1_024), kid: 'n' },
  ]
  const found = await read(t, json({ keys: [...nonsense, { ...rsa, kid: 'one' }, ...nonsense, { ...ec, kid: 'two' }] }))
  t.same(found(['one', 'two', 'n', '[object Object]']), ['RS256', 'ES256', undefined, undefined])
})

t.test('keys for something else are left out: encryption, another algorithm', async (t) => {
  const found = await read(
    t,
    json({
      keys: [
        { ...rsa, kid: 'signs', use: 'sig', alg: 'RS256' },
        { ...rsa, kid: 'encrypts', use: 'enc' },
        { ...rsa, kid: 'pss', alg: 'PS256' },
      ],
    }),
  )
  t.same(found(['signs', 'encrypts', 'pss']), ['RS256', undefined, undefined])
})

t.test('of more keys than MAX_KEY_SET_KEYS the first are taken', async (t) => {
  const found = await read(t, json({ keys: Array.from({ length: 50 }, (_, i) => ({ ...ec, kid: `k${i}` })) }), {
    keysMax: 10,
  })
  t.same(found(['k0', 'k9', 'k10', 'k49']), ['ES256', 'ES256', undefined, undefined])
})

t.test('an answer larger than MAX_KEY_SET_BYTES is not read to its end', async (t) => {
  let cut = false
  const found = await read(
    t,
    (_, response) => {
      response
        .writeHead(200, { 'Content-Type': 'application/json' })
        .write(`{"keys":[${JSON.stringify({ ...rsa, kid: 'one' })}`)
      const more = () => {
        while (!response.destroyed && response.write(' '.repeat(65_536)));
      }
      response.on('drain', more).on('close', () => {
        cut = true
      })
      more()
    },
    { bytesMax: 100_000 },
  )
  t.same(found(['one']), [undefined])
  await eventually(() => cut)
})

t.test('what is no key set is refused: pages, texts, other JSON', async (t) => {
  for (const [type, body] of [
    ['text/html', '{"keys":[]}'],
    ['application/json', 'null'],
    ['application/json', '[]'],
    ['application/json', '{"keys":{}}'],
    ['application/json', '<html>'],
    ['application/json', ''],
  ]) {
    const found = await read(t, (_, response) => response.writeHead(200, { 'Content-Type': type }).end(body))
    t.same(found(['one']), [undefined], `${type} ${body}`)
  }
})

t.test('a redirection is followed, but not for ever', async (t) => {
  const keys = JSON.stringify({ keys: [{ ...rsa, kid: 'one' }] })
  const once = await read(t, ({ url }, response) =>
    url === '/moved'
      ? response.writeHead(200, { 'Content-Type': 'text/plain' }).end(keys)
      : response.writeHead(302, { Location: '/moved' }).end(),
  )
  t.same(once(['one']), ['RS256'])
  let asked = 0
  const loop = await read(t, (_, response) => {
    asked++
    response.writeHead(302, { Location: '/jwks.json' }).end()
  })
  t.same(loop(['one']), [undefined])
  t.equal(asked, 4)
})
