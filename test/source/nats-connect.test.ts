import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { BrokerError } from '../../src/errors.ts'
import { makeLogger } from '../../src/ops/logger.ts'
import type { ConnectOptions } from '../../src/source/nats/connect-options.ts'
import { NatsSource } from '../../src/source/nats/nats-source.ts'
import { eventually } from '../support/client.ts'
import { bytes } from '../support/collector.ts'
import { freePort, TestNats } from '../support/nats.ts'
import { Authority, Operator, userKey } from '../support/nats-identities.ts'

const STREAM = { name: 'EVENTS', maxAgeS: 3600, maxBytes: 10_000_000 }

/** For servers that refuse in a way that the client takes for a time-out; what they say is looked for without it. */
const SHORT_MS = 500

const folder = mkdtempSync(join(tmpdir(), 'roomcast-connect-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string) => join(folder, name)

/** A file in the test's folder. */
function file(name: string, text: string): string {
  writeFileSync(at(name), text)
  return at(name)
}

const authority = new Authority(folder)
authority.certificate('by-ip', 'IP:127.0.0.1')
authority.certificate('elsewhere', 'DNS:nats.example.com')
authority.certificate('client', 'DNS:roomcast')
const strange = mkdtempSync(join(folder, 'strange-'))
new Authority(strange).certificate('client', 'DNS:roomcast')

type Test = { teardown(end: () => Promise<void>): void }

/** A server with JetStream and this configuration. */
async function start(t: Test, name: string, config: string, args: readonly string[] = ['-js']): Promise<TestNats> {
  const nats = await TestNats.start([...args, '-c', file(`${name}.conf`, config)])
  t.teardown(() => nats.stop())
  return nats
}

const tls = (certificate: string, more = '') =>
  `tls { cert_file: "${at(`${certificate}.crt`)}", key_file: "${at(`${certificate}.key`)}", ca_file: "${at('ca.crt')}" ${more} }`

type Given = Omit<ConnectOptions, 'log' | 'creds'> & { readonly creds?: string }

async function open(t: Test, options: Given): Promise<NatsSource> {
  const source = await NatsSource.open({ creds: '', stream: STREAM, log: makeLogger('silent'), ...options })
  t.teardown(() => source.close())
  return source
}

/** It reads and writes the stream and a bucket. */
async function works(t: Test, options: Given): Promise<boolean> {
  const source = await open(t, options)
  await source.publish('events.app.thing', bytes('1'))
  const bucket = await source.keyValue('roomcast_test', 60_000)
  const key = `key-${process.hrtime.bigint()}`
  await bucket.create(key, bytes('value'))
  const stored = await source.read(0, 10)
  return source.connected && stored.length > 0 && (await bucket.get(key)) !== undefined
}

/** Code and line of the error of an opening, told in the test's output as well. */
async function refusal(t: Test & { comment(text: string): void }, options: Given): Promise<string> {
  const error = await open(t, options).catch((thrown: unknown) => thrown)
  if (!(error instanceof BrokerError)) throw new Error(`it was no BrokerError: ${error}`)
  const line = `${error.code}: ${error.message}`
  t.comment(line)
  return line
}

t.test('a server with a certificate of a private authority: NATS_CA_FILE, also by its IP address', async (t) => {
  const nats = await start(t, 'tls', tls('by-ip'))
  t.equal(await works(t, { url: nats.url, caFile: at('ca.crt') }), true)
  t.match(
    await refusal(t, { url: nats.url }),
    /^SOURCE_UNREACHABLE: .*127\.0\.0\.1.*no known authority signed.*set NATS_CA_FILE/,
  )
  t.match(
    await refusal(t, { url: nats.url, caFile: join(strange, 'ca.crt') }),
    /^SOURCE_UNREACHABLE: .*no authority in NATS_CA_FILE=.* signed/,
  )
})

t.test('a certificate for another name is told with the names that it has', async (t) => {
  const nats = await start(t, 'name', tls('elsewhere'))
  for (const url of [nats.url, nats.url.replace('127.0.0.1', 'localhost')])
    t.match(
      await refusal(t, { url, caFile: at('ca.crt') }),
      /^SOURCE_UNREACHABLE: .*certificate for DNS:nats\.example\.com, not for (127\.0\.0\.1|localhost): .*NATS_URL/,
    )
})

t.test('a server that wants a client certificate gets it, or the error says so', async (t) => {
  const nats = await start(t, 'mtls', tls('by-ip', ', verify: true'))
  const url = nats.url
  const caFile = at('ca.crt')
  t.equal(await works(t, { url, caFile, certFile: at('client.crt'), keyFile: at('client.key') }), true)
  t.match(
    await refusal(t, { url, caFile, timeoutMs: SHORT_MS }),
    /^SOURCE_REFUSED: .* wants a client certificate: set NATS_CERT_FILE and NATS_KEY_FILE/,
  )
  t.match(
    await refusal(t, {
      url,
      caFile,
      certFile: join(strange, 'client.crt'),
      keyFile: join(strange, 'client.key'),
      timeoutMs: SHORT_MS,
    }),
    /^SOURCE_REFUSED: .* did not accept the client certificate in NATS_CERT_FILE=/,
  )
})

t.test('TLS that is asked for is not given up where the server has none', async (t) => {
  const nats = await start(t, 'plain', '')
  for (const options of [{ url: nats.url.replace('nats:', 'tls:') }, { url: nats.url, caFile: at('ca.crt') }])
    t.match(await refusal(t, options), /^SOURCE_UNREACHABLE: .*does not speak TLS/)
})

t.test('a file of TLS that is missing or wrong is a fault of the configuration, named by its option', async (t) => {
  const url = 'nats://127.0.0.1:1'
  const certFile = at('client.crt')
  const nonsense = file('nonsense', 'nonsense')
  t.match(await refusal(t, { url, caFile: at('none') }), /^CONFIG_INVALID: NATS_CA_FILE=.*none: cannot be read/)
  t.match(await refusal(t, { url, caFile: nonsense }), /^CONFIG_INVALID: NATS_CA_FILE=.*holds no certificate/)
  t.match(
    await refusal(t, { url, certFile, keyFile: nonsense }),
    /^CONFIG_INVALID: NATS_KEY_FILE=.*is no private key in PEM/,
  )
  t.match(
    await refusal(t, { url, certFile, keyFile: at('by-ip.key') }),
    /^CONFIG_INVALID: NATS_KEY_FILE=.*is not the key of the certificate in NATS_CERT_FILE=/,
  )
})

t.test('an NKey logs in; one that the server does not know is told with its public key', async (t) => {
  const [known, unknown] = [userKey(), userKey()]
  const nats = await start(t, 'nkey', `authorization { users: [ { nkey: ${known.publicKey} } ] }`)
  const nkeySeedFile = file('known.nk', `${known.seed}\n`)
  t.equal(await works(t, { url: nats.url, nkeySeedFile }), true)
  const line = await refusal(t, { url: nats.url, nkeySeedFile: file('unknown.nk', unknown.seed) })
  t.match(line, new RegExp(`^SOURCE_REFUSED: .*NATS_NKEY_SEED_FILE.*${unknown.publicKey}`))
  t.notMatch(line, unknown.seed)
  t.match(
    await refusal(t, { url: nats.url, nkeySeedFile: file('public.nk', known.publicKey) }),
    /^CONFIG_INVALID: NATS_NKEY_SEED_FILE=.*holds no seed/,
  )
})

t.test('a token logs in; a wrong one, or none, is told without it', async (t) => {
  const nats = await start(t, 'token', 'authorization { token: "s3cret-token" }')
  t.equal(await works(t, { url: nats.url, token: 's3cret-token' }), true)
  const line = await refusal(t, { url: nats.url, token: 'wrong-token' })
  t.match(line, /^SOURCE_REFUSED: .*refused the token: check NATS_TOKEN/)
  t.notMatch(line, 'wrong-token')
  t.match(await refusal(t, { url: nats.url, token: 'wrong-token', context: 'prod' }), /NATS_CONTEXT=prod/)
  t.match(
    await refusal(t, { url: nats.url }),
    /^SOURCE_REFUSED: .*wants credentials, and there are none: set NATS_CREDS/,
  )
})

t.test('creds of an operator log in; others are told with what is wrong with them', async (t) => {
  const [operator, other] = [new Operator(), new Operator()]
  const nats = await start(t, 'operator', operator.config())
  const url = nats.url
  t.equal(await works(t, { url, creds: file('user.creds', operator.creds()) }), true)
  t.match(
    await refusal(t, { url, creds: file('other.creds', other.creds()) }),
    /^SOURCE_REFUSED: .*check NATS_CREDS=.*other\.creds/,
  )
  t.match(
    await refusal(t, { url, creds: file('old.creds', operator.creds(new Date('2020-01-01T00:00:00Z'))) }),
    /^SOURCE_REFUSED: .*NATS_CREDS=.*old\.creds ran out at 2020-01-01T00:00:00\.000Z/,
  )
  t.match(
    await refusal(t, { url, creds: file('seed.creds', userKey().seed) }),
    /^CONFIG_INVALID: NATS_CREDS=.*seed\.creds: holds no JWT/,
  )
  const [jwt = ''] = operator.creds().split('-----BEGIN USER NKEY')
  t.match(
    await refusal(t, { url, creds: file('jwt.creds', jwt) }),
    /^CONFIG_INVALID: NATS_CREDS=.*jwt\.creds: holds a JWT, but no NKey seed/,
  )
})

t.test('creds that were renewed count from the next connection on', async (t) => {
  const [before, after] = [userKey(), userKey()]
  const users = (key: string) => `authorization { users: [ { nkey: ${key} } ] }`
  const nats = await start(t, 'renewed', users(before.publicKey))
  const nkeySeedFile = file('renewed.nk', before.seed)
  const source = await open(t, { url: nats.url, nkeySeedFile })
  await nats.kill()
  file('renewed.conf', users(after.publicKey))
  file('renewed.nk', after.seed)
  await nats.run()
  await eventually(() =>
    source.bounds().then(
      () => true,
      () => false,
    ),
  )
  t.equal(source.connected, true)
})

t.test('files that are gone or broken at a reconnect count as they were, then as they are once renewed', async (t) => {
  const { publicKey, seed } = userKey()
  const nats = await start(
    t,
    'renewed-files',
    `authorization { users: [ { nkey: ${publicKey} } ] }\n${tls('by-ip', ', verify: true')}`,
  )
  const caFile = file('renewed-ca.crt', readFileSync(at('ca.crt'), 'utf8'))
  const nkeySeedFile = file('renewed.nk', seed)
  const login = { caFile, certFile: at('client.crt'), keyFile: at('client.key') }
  const source = await open(t, { url: nats.url, nkeySeedFile, ...login })
  const again = async () => {
    await nats.kill()
    await eventually(() => !source.connected)
    await nats.run()
    await eventually(() => source.connected, 20_000)
  }
  rmSync(caFile)
  // A seed that is not whole: its last letter, which is part of its checksum, is another one.
  file('renewed.nk', `${seed.slice(0, -1)}${seed.endsWith('A') ? 'B' : 'A'}`)
  await again()
  t.match(await refusal(t, { url: nats.url, nkeySeedFile, ...login, caFile: at('ca.crt') }), /seed that is not whole/)
  file('renewed-ca.crt', readFileSync(at('ca.crt'), 'utf8'))
  file('renewed.nk', seed)
  await again()
})

t.test('a JetStream domain is reached through a server that has none of its own', async (t) => {
  const leafPort = await freePort()
  const hub = await start(t, 'hub', `jetstream { domain: hub }\nleafnodes { host: 127.0.0.1, port: ${leafPort} }`)
  const leaf = await start(
    t,
    'leaf',
    `jetstream { domain: leaf }\nleafnodes { remotes: [ { url: "nats://127.0.0.1:${leafPort}" } ] }`,
  )
  // The leaf may take a moment to find its hub.
  const throughLeaf = await leaf.client()
  await eventually(() =>
    throughLeaf.request('$JS.hub.API.INFO').then(
      () => true,
      () => false,
    ),
  )
  for (const where of [{ domain: 'hub' }, { apiPrefix: '$JS.hub.API' }])
    t.equal(await works(t, { url: leaf.url, ...where }), true)
  const names = async (nats: TestNats) => (await (await nats.client()).jetstreamManager()).streams.names().next()
  t.same((await names(hub)).sort(), ['EVENTS', 'KV_roomcast_test'])
  t.same(await names(leaf), [])
  t.match(
    await refusal(t, { url: leaf.url, domain: 'nowhere' }),
    /^SOURCE_UNFIT: No JetStream answers .*NATS_JS_DOMAIN=nowhere/,
  )
  t.match(
    await refusal(t, { url: leaf.url, apiPrefix: 'no.where' }),
    /^SOURCE_UNFIT: No JetStream answers .*NATS_JS_API_PREFIX=no\.where/,
  )
})

t.test('a stream that owns the subjects is named', async (t) => {
  const nats = await start(t, 'owner', '')
  const jsm = await (await nats.client()).jetstreamManager()
  await jsm.streams.add({ name: 'OTHER', subjects: ['events.>', 'orders.>'] })
  await jsm.streams.add({ name: 'UNRELATED', subjects: ['bills.>'] })
  const line = await refusal(t, { url: nats.url })
  t.match(line, /^SOURCE_UNFIT: .*stream OTHER owns events\.>\. Set STREAM_NAME=OTHER/)
  t.notMatch(line, /UNRELATED|orders/)
})

t.test(
  'a host that nobody knows, a port where nobody answers, and what is no NATS server, are told apart',
  async (t) => {
    t.match(
      await refusal(t, { url: 'nats://roomcast-nobody.invalid:4222' }),
      /^SOURCE_UNREACHABLE: The host of nats:\/\/roomcast-nobody\.invalid:4222 is not known/,
    )
    const closed = `nats://127.0.0.1:${await freePort()}`
    t.match(
      await refusal(t, { url: closed }),
      /^SOURCE_UNREACHABLE: No NATS server answers .*connection refused.*NATS_URL/,
    )
    for (const [greeting, told] of [
      ['220 mail.example.com ESMTP\r\n', /is no NATS server \(it said: 220 mail\.example\.com ESMTP\)/],
      ['', /says nothing within 5 s \(time-out\)/],
    ] as const) {
      const server = createServer((socket) => {
        // The client leaves a connection open on which nothing was ever said.
        t.teardown(() => void socket.destroy())
        socket.on('error', () => {})
        if (greeting !== '') socket.write(greeting)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      t.teardown(() => void server.close())
      const { port } = server.address() as AddressInfo
      t.match(await refusal(t, { url: `nats://127.0.0.1:${port}`, timeoutMs: SHORT_MS }), told)
    }
  },
)

t.test('a server that takes no more connections says so', async (t) => {
  const nats = await start(t, 'full', 'max_connections: 1')
  await nats.client()
  t.match(
    await refusal(t, { url: nats.url, timeoutMs: SHORT_MS }),
    /^SOURCE_UNREACHABLE: .*takes no connection \(.*maximum connections exceeded/i,
  )
})

t.test('of several servers each is told, once if it is the same', async (t) => {
  const closed = `nats://127.0.0.1:${await freePort()}`
  const nats = await start(t, 'several', tls('by-ip'))
  t.match(
    await refusal(t, { url: `${closed}, ${nats.url}` }),
    /No NATS server answers at .*; The NATS server at .* no known authority/,
  )
})
