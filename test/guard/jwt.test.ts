import { createHmac, createPublicKey, generateKeyPairSync, type JsonWebKey, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSigner } from 'fast-jwt'
import t from 'tap'
import { BUILT_IN_CONTRACTS } from '../../src/applications/built-in.ts'
import { listClaimsOf } from '../../src/contracts/claims.ts'
import { BrokerError, type ErrorCode } from '../../src/errors.ts'
import { type JwtOptions, TokenVerifier } from '../../src/guard/jwt.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import { eventually } from '../support/client.ts'

type Algorithm = 'HS256' | 'RS256' | 'ES256' | 'EdDSA'

const realNow = Date.now
const SECRET = 'a-shared-secret-that-is-long-enough'
const pem = ({ publicKey, privateKey }: { publicKey: KeyObject; privateKey: KeyObject }) => ({
  public: publicKey.export({ type: 'spki', format: 'pem' }) as string,
  private: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
})
const rsa = pem(generateKeyPairSync('rsa', { modulusLength: 2048 }))
const otherRsa = pem(generateKeyPairSync('rsa', { modulusLength: 2048 }))
const ec = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }))
const ed = pem(generateKeyPairSync('ed25519'))
const inAnHour = () => Math.floor(Date.now() / 1000) + 3600

function sign(algorithm: Algorithm, key: string, claims: object = {}, kid?: string): string {
  return createSigner({ key, algorithm, ...(kid === undefined ? undefined : { kid }) })({
    sub: 'alice',
    exp: inAnHour(),
    ...claims,
  })
}

/** A token as an attacker writes it: any header, any signature. */
function forge(header: object, claims: object, signature: (signed: string) => string): string {
  const signed = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  return `${signed}.${signature(signed)}`
}

async function open(t: { teardown(end: () => void): void }, options: Partial<JwtOptions>): Promise<TokenVerifier> {
  const verifier = await TokenVerifier.open(
    {
      secret: '',
      publicKey: '',
      jwksUrl: '',
      issuer: '',
      audience: '',
      tokenBytesMax: 8_192,
      userIdBytesMax: 256,
      listClaims: listClaimsOf(BUILT_IN_CONTRACTS),
      keySetBytesMax: 262_144,
      keySetKeysMax: 100,
      ...options,
    },
    makeLogger('silent'),
  )
  t.teardown(() => verifier.close())
  return verifier
}

/** The code by which a token is refused; its message must not hold the token. */
function refusal(verifier: TokenVerifier, token: string | undefined): ErrorCode | undefined {
  try {
    verifier.verify(token)
    return undefined
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    for (const part of token?.split('.') ?? [])
      if (part.length > 10 && `${error.message} ${JSON.stringify(error.details ?? '')}`.includes(part))
        throw new Error('the error holds a part of the token')
    return error.code
  }
}

for (const [algorithm, keys, options] of [
  ['HS256', { private: SECRET }, { secret: SECRET }],
  ['RS256', rsa, { publicKey: rsa.public }],
  ['ES256', ec, { publicKey: ec.public }],
  ['EdDSA', ed, { publicKey: ed.public }],
] as const) {
  t.test(`${algorithm}: a good token gives its claims; an expired or altered one is refused`, async (t) => {
    const verifier = await open(t, options)
    const claims = { roles: ['engineer'], library_access: ['l1'] }
    const token = sign(algorithm, keys.private, claims)
    t.match(verifier.verify(token), { sub: 'alice', ...claims })
    t.match(verifier.verify(token), { sub: 'alice' }, 'and again')
    t.equal(
      refusal(verifier, sign(algorithm, keys.private, { exp: Math.floor(Date.now() / 1000) - 10 })),
      'AUTH_EXPIRED',
    )
    const [header, , signature] = token.split('.')
    const altered = Buffer.from(JSON.stringify({ sub: 'mallory', exp: inAnHour() })).toString('base64url')
    t.equal(refusal(verifier, [header, altered, signature].join('.')), 'AUTH_FAILED')
  })
}

t.test('a token that expires after it was accepted is refused from then on', async (t) => {
  const verifier = await open(t, { secret: SECRET })
  const token = sign('HS256', SECRET, { exp: Math.floor(Date.now() / 1000) + 60 })
  t.match(verifier.verify(token), { sub: 'alice' })
  setClock(t, 61_000)
  t.equal(refusal(verifier, token), 'AUTH_EXPIRED', 'though it is remembered')
})

t.test('no token, and what is none, have codes of their own', async (t) => {
  const verifier = await open(t, { secret: SECRET })
  t.equal(refusal(verifier, undefined), 'AUTH_MISSING')
  t.equal(refusal(verifier, ''), 'AUTH_MISSING')
  for (const token of ['x', 'a.b.c', '..', 'null', `${'a'.repeat(10_000)}.b.c`, `${sign('HS256', SECRET)}.more`])
    t.equal(refusal(verifier, token), 'AUTH_FAILED', token.slice(0, 20))
})

t.test('an unsigned token is refused, however its header writes it', async (t) => {
  const claims = { sub: 'alice', exp: inAnHour() }
  for (const verifier of [await open(t, { secret: SECRET }), await open(t, { publicKey: rsa.public })]) {
    for (const alg of ['none', 'None', 'NONE', '', undefined, null, 0, ['HS256'], 'toString', '__proto__']) {
      t.equal(
        refusal(
          verifier,
          forge({ alg, typ: 'JWT' }, claims, () => ''),
        ),
        'AUTH_FAILED',
        String(alg),
      )
    }
  }
})

t.test('a token signed with another key is refused', async (t) => {
  t.equal(
    refusal(await open(t, { secret: SECRET }), sign('HS256', 'another-secret-that-is-long-enough')),
    'AUTH_FAILED',
  )
  const verifier = await open(t, { publicKey: rsa.public })
  t.equal(refusal(verifier, sign('RS256', otherRsa.private)), 'AUTH_FAILED')
  for (const [algorithm, key] of [
    ['ES256', ec],
    ['EdDSA', ed],
  ] as const)
    t.equal(refusal(verifier, sign(algorithm, key.private)), 'AUTH_FAILED')
})

t.test('the public key, which everybody has, is no HMAC secret', async (t) => {
  const claims = { sub: 'alice', exp: inAnHour(), roles: ['admin'] }
  for (const options of [{ publicKey: rsa.public }, { publicKey: rsa.public, secret: SECRET }]) {
    const verifier = await open(t, options)
    const der = createPublicKey(rsa.public).export({ type: 'spki', format: 'der' })
    for (const key of [rsa.public, rsa.public.trim(), rsa.public.replaceAll('\n', '\\n'), der]) {
      const token = forge({ alg: 'HS256', typ: 'JWT' }, claims, (signed) =>
        createHmac('sha256', key).update(signed).digest('base64url'),
      )
      t.equal(refusal(verifier, token), 'AUTH_FAILED')
    }
  }
})

t.test('a secret and a public key at once accept the tokens of both', async (t) => {
  const verifier = await open(t, { secret: SECRET, publicKey: ec.public })
  t.match(verifier.verify(sign('HS256', SECRET)), { sub: 'alice' })
  t.match(verifier.verify(sign('ES256', ec.private)), { sub: 'alice' })
})

t.test('claims that are missing or of the wrong type are refused', async (t) => {
  const verifier = await open(t, { secret: SECRET })
  for (const claims of [
    { sub: undefined },
    { sub: '' },
    { sub: 5 },
    { sub: null },
    { sub: ['alice'] },
    { exp: undefined },
    { exp: '9999999999' },
    { exp: null },
    { exp: {} },
    { roles: 'admin' },
    { roles: { 0: 'admin' } },
    { roles: [1] },
    { permissions: 'x' },
    { project_access: '*' },
    { library_access: [null] },
    { agent_access: true },
    { session_access: 5 },
  ]) {
    const token = forge({ alg: 'HS256', typ: 'JWT' }, { sub: 'alice', exp: inAnHour(), ...claims }, (signed) =>
      createHmac('sha256', SECRET).update(signed).digest('base64url'),
    )
    t.equal(refusal(verifier, token), 'AUTH_FAILED', JSON.stringify(claims))
  }
  t.equal(refusal(verifier, sign('HS256', SECRET, { nbf: inAnHour() })), 'AUTH_FAILED', 'not yet valid')
})

t.test('the lists of a contract are checked where it is served, and claims of nobody are not', async (t) => {
  const verifier = await open(t, { secret: SECRET, listClaims: listClaimsOf([{ claims: ['store_access'] }]) })
  const token = (claims: object) => sign('HS256', SECRET, claims)
  for (const wrong of [{ store_access: '7' }, { store_access: [7] }, { store_access: {} }, { roles: 'admin' }])
    t.equal(refusal(verifier, token(wrong)), 'AUTH_FAILED', JSON.stringify(wrong))
  for (const right of [{ store_access: ['7'] }, { store_access: [] }, { project_access: '*' }])
    t.equal(refusal(verifier, token(right)), undefined, JSON.stringify(right))
})

t.test('a token whose header is no object is refused like any other that is none', async (t) => {
  for (const verifier of [
    await open(t, { secret: SECRET }),
    await open(t, { secret: SECRET, publicKey: rsa.public }),
  ]) {
    for (const header of [null, 5, 'x', [], true])
      t.equal(
        refusal(
          verifier,
          forge(header as object, { sub: 'alice', exp: inAnHour() }, () => 'c2ln'),
        ),
        'AUTH_FAILED',
        JSON.stringify(header),
      )
  }
})

t.test('a token longer than MAX_TOKEN_BYTES is refused, and the message says so', async (t) => {
  const tokens = Array.from({ length: 400 }, (_, pad) => sign('HS256', SECRET, { pad: 'x'.repeat(pad) }))
  const longest = tokens.find(({ length }) => length > 500) as string
  const verifier = await open(t, { secret: SECRET, tokenBytesMax: longest.length })
  t.match(verifier.verify(longest), { sub: 'alice' })
  const longer = tokens.find(({ length }) => length > longest.length) as string
  t.throws(() => verifier.verify(longer), { code: 'AUTH_FAILED', message: /MAX_TOKEN_BYTES/ })
})

t.test('a user id of 7 KB cut the broker off NATS: what is longer than MAX_USER_ID_BYTES is refused', async (t) => {
  const verifier = await open(t, { secret: SECRET })
  for (const sub of [
    '7f0e8a52-6d0b-4f0e-9a83-3c1f8f3c5a10',
    'somebody@example.com',
    'https://id.example.com/users/4711',
    'auth0|5f7c8ec7c33c6c004bbafe82',
    'x'.repeat(256),
    'ü'.repeat(128),
  ])
    t.equal((verifier.verify(sign('HS256', SECRET, { sub })) as { sub: string }).sub, sub)
  for (const sub of ['x'.repeat(257), 'ü'.repeat(129), 'x'.repeat(5_000)])
    t.throws(() => verifier.verify(sign('HS256', SECRET, { sub })), {
      code: 'AUTH_FAILED',
      message: /sub \(string of at most 256 bytes\)/,
    })
})

t.test('issuer and audience are required where they are configured', async (t) => {
  const verifier = await open(t, { secret: SECRET, issuer: 'https://id.example', audience: 'roomcast' })
  const good = { iss: 'https://id.example', aud: 'roomcast' }
  t.match(verifier.verify(sign('HS256', SECRET, good)), { sub: 'alice' })
  t.match(verifier.verify(sign('HS256', SECRET, { ...good, aud: ['other', 'roomcast'] })), { sub: 'alice' })
  for (const claims of [
    {},
    { iss: good.iss },
    { aud: good.aud },
    { ...good, iss: 'https://evil.example' },
    { ...good, aud: 'other' },
    { ...good, iss: 'https://id.example.evil' },
    { ...good, aud: [] },
  ]) {
    t.equal(refusal(verifier, sign('HS256', SECRET, claims)), 'AUTH_FAILED', JSON.stringify(claims))
  }
})

t.test('a public key is given as text, as text in one line, or as a file', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-jwt-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'key.pem')
  writeFileSync(file, rsa.public)
  for (const publicKey of [rsa.public, rsa.public.replaceAll('\n', '\\n'), file]) {
    t.match((await open(t, { publicKey })).verify(sign('RS256', rsa.private)), { sub: 'alice' })
  }
})

t.test('a public key that cannot be used is a fault of the configuration', async (t) => {
  const p384 = pem(generateKeyPairSync('ec', { namedCurve: 'P-384' }))
  for (const publicKey of [
    '/nowhere/key.pem',
    '-----BEGIN PUBLIC KEY-----\nnonsense\n-----END PUBLIC KEY-----',
    p384.public,
  ]) {
    await t.rejects(open(t, { publicKey }), { code: 'CONFIG_INVALID', message: /^JWT_PUBLIC_KEY: / })
  }
})

t.test('keys of a key set are found by their id, and a rotated set is read again', async (t) => {
  const keys = [
    jwk(rsa.public, 'one'),
    jwk(ec.public, 'two'),
    jwk(ed.public, 'three'),
    { kty: 'oct', k: 'c2VjcmV0', kid: 'four' },
    jwk(otherRsa.public, undefined),
  ]
  const set = await KeySet.start(t, keys)
  const verifier = await open(t, { jwksUrl: set.url })
  t.match(verifier.verify(sign('RS256', rsa.private, {}, 'one')), { sub: 'alice' })
  t.match(verifier.verify(sign('ES256', ec.private, {}, 'two')), { sub: 'alice' })
  t.match(verifier.verify(sign('EdDSA', ed.private, {}, 'three')), { sub: 'alice' })
  t.equal(refusal(verifier, sign('RS256', rsa.private, {}, 'two')), 'AUTH_FAILED', 'the id of a key of another kind')
  t.equal(refusal(verifier, sign('RS256', otherRsa.private, {}, 'one')), 'AUTH_FAILED', 'the id of another key')
  t.equal(refusal(verifier, sign('RS256', rsa.private)), 'AUTH_FAILED', 'no id')
  t.equal(refusal(verifier, sign('HS256', rsa.public, {}, 'one')), 'AUTH_FAILED', 'the public key as a secret')
  t.equal(refusal(verifier, sign('HS256', 'secret', {}, 'four')), 'AUTH_FAILED', 'secrets are no part of a public set')

  const rotated = sign('RS256', otherRsa.private, {}, 'five')
  set.keys = [jwk(otherRsa.public, 'five')]
  setClock(t, 6_000)
  t.equal(refusal(verifier, rotated), 'AUTH_FAILED', 'not known yet, but asked for')
  await eventually(() => refusal(verifier, rotated) === undefined)
  t.equal(refusal(verifier, sign('RS256', rsa.private, {}, 'one')), 'AUTH_FAILED', 'the old key is out')
})

t.test('unknown key ids do not make the broker ask for the set each time', async (t) => {
  const set = await KeySet.start(t, [jwk(rsa.public, 'one')])
  const verifier = await open(t, { jwksUrl: set.url })
  for (let n = 0; n < 100; n++)
    t.equal(refusal(verifier, sign('RS256', otherRsa.private, {}, `made-up-${n}`)), 'AUTH_FAILED')
  t.equal(set.requests, 1)
})

t.test(
  'a key set that fails later leaves the keys of before; one that is not there yet is asked for again',
  async (t) => {
    const set = await KeySet.start(t, [jwk(rsa.public, 'one')])
    set.broken = true
    const verifier = await open(t, { jwksUrl: set.url })
    const token = sign('RS256', rsa.private, {}, 'one')
    t.equal(refusal(verifier, token), 'AUTH_FAILED')
    set.broken = false
    setClock(t, 6_000)
    await eventually(() => refusal(verifier, token) === undefined)
    set.broken = true
    setClock(t, 12_000)
    const { requests } = set
    t.equal(refusal(verifier, sign('RS256', rsa.private, {}, 'unknown')), 'AUTH_FAILED')
    await eventually(() => set.requests > requests)
    t.equal(refusal(verifier, token), undefined)
  },
)

function jwk(publicKey: string, kid: string | undefined): JsonWebKey & { kid?: string } {
  return { ...createPublicKey(publicKey).export({ format: 'jwk' }), ...(kid === undefined ? undefined : { kid }) }
}

/** An identity provider's key set, over real HTTP. */
class KeySet {
  requests = 0
  broken = false
  keys: readonly object[]
  private readonly server: Server

  static async start(t: { teardown(end: () => Promise<void>): void }, keys: readonly object[]): Promise<KeySet> {
    const set = new KeySet(keys)
    await new Promise<void>((resolve) => set.server.listen(0, '127.0.0.1', resolve))
    t.teardown(async () => {
      set.server.closeAllConnections()
      await new Promise((resolve) => set.server.close(resolve))
    })
    return set
  }

  private constructor(keys: readonly object[]) {
    this.keys = keys
    this.server = createServer((_, response) => {
      this.requests++
      response
        .writeHead(this.broken ? 503 : 200, { 'Content-Type': 'application/json' })
        .end(this.broken ? 'out of order' : JSON.stringify({ keys: this.keys }))
    })
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as { port: number }).port}/jwks.json`
  }
}

/** Lets the clock go so much ahead of the real one until the test ends. */
function setClock(t: { teardown(end: () => void): void }, aheadMs: number): void {
  Date.now = () => realNow() + aheadMs
  t.teardown(() => {
    Date.now = realNow
  })
}
