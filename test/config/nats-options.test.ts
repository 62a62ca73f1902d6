import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { checkFiles } from '../../src/config/files.ts'
import { loadConfig } from '../../src/config/load.ts'
import { natsOptions } from '../../src/config/parts.ts'
import { BrokerError } from '../../src/errors.ts'

const home = mkdtempSync(join(tmpdir(), 'roomcast-context-'))
t.teardown(() => rmSync(home, { recursive: true, force: true }))

/** Writes a context as the `nats` command does, with its empty fields. */
function context(name: string, fields: object, below = join(home, '.config')): void {
  const folder = join(below, 'nats', 'context')
  mkdirSync(folder, { recursive: true })
  const text = JSON.stringify({ description: '', url: '', token: '', user: '', nsc: '', tls_first: false, ...fields })
  writeFileSync(join(folder, `${name}.json`), text)
}

function faults(env: Record<string, string>): readonly string[] {
  try {
    loadConfig({ HOME: home, ...env })
    return []
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    return error.details as readonly string[]
  }
}

/** What the source is told. */
const told = (env: Record<string, string>) => natsOptions(loadConfig({ HOME: home, ...env }))

t.test('a context of the nats command gives address, login, TLS files, inbox and domain', async (t) => {
  context('whole', {
    url: 'nats://a:4222,nats://b:4222',
    creds: '~/app.creds',
    ca: '/ca.pem',
    cert: '/cert.pem',
    key: '/key.pem',
    inbox_prefix: '_INBOX.app',
    jetstream_domain: 'hub',
  })
  t.match(told({ NATS_CONTEXT: 'whole' }), {
    url: 'nats://a:4222,nats://b:4222',
    context: 'whole',
    creds: join(home, 'app.creds'),
    nkeySeedFile: '',
    token: '',
    caFile: '/ca.pem',
    certFile: '/cert.pem',
    keyFile: '/key.pem',
    inboxPrefix: '_INBOX.app',
    domain: 'hub',
    apiPrefix: '',
  })
})

t.test('a password with a comma is not shown where it takes the address apart', async (t) => {
  for (const url of ['nats://u:pass,word@h:4222', 'nats://u:pass\nword@h:4222', 'nats://h:4222,u:password', 'u:p@h:x'])
    t.match(
      faults({ NATS_URL: url }),
      [/^NATS_URL: one of its addresses is not one such as nats:\/\/host:4222; in a user and password a comma is/],
      url,
    )
  for (const url of [
    'h',
    'h:4222',
    'nats://h,tls://[::1]:4222/',
    'u:p@w@[::1]',
    'nats://t0k%2Cen@h.example:1',
    ' a , b ',
  ])
    t.same(faults({ NATS_URL: url }), [], url)
})

t.test('a context may log in by NKey, token, or user and password, and name an API prefix', async (t) => {
  context('nkey', { nkey: '/user.nk', jetstream_api_prefix: 'JS.acc' })
  t.match(told({ NATS_CONTEXT: 'nkey' }), {
    url: 'nats://127.0.0.1:4222',
    nkeySeedFile: '/user.nk',
    apiPrefix: 'JS.acc',
  })
  context('token', { token: 's3cret' })
  t.match(told({ NATS_CONTEXT: 'token' }), { token: 's3cret' })
  context('user', { url: 'tls://a:4222,b', user: 'joe', password: 's3/cr@t,x' })
  t.equal(told({ NATS_CONTEXT: 'user' }).url, 'tls://joe:s3%2Fcr%40t%2Cx@a:4222,joe:s3%2Fcr%40t%2Cx@b')
})

t.test('options come before a context, and those that belong together come together', async (t) => {
  context('rich', {
    url: 'nats://a:4222',
    user: 'joe',
    password: 's3cret',
    cert: '/cert.pem',
    key: '/key.pem',
    jetstream_domain: 'hub',
  })
  const env = { NATS_CONTEXT: 'rich' }
  t.match(told({ ...env, NATS_TOKEN: 'mine' }), { url: 'nats://a:4222', token: 'mine' })
  t.match(told({ ...env, NATS_CREDS: '/mine.creds' }), { url: 'nats://a:4222', creds: '/mine.creds' })
  t.equal(told({ ...env, NATS_URL: 'nats://me:word@c:4222' }).url, 'nats://me:word@c:4222')
  t.equal(told({ ...env, NATS_URL: 'nats://c:4222' }).url, 'nats://joe:s3cret@c:4222')
  t.match(told({ ...env, NATS_CERT_FILE: '/mine.pem', NATS_KEY_FILE: '/mine.key' }), {
    certFile: '/mine.pem',
    keyFile: '/mine.key',
  })
  t.match(told({ ...env, NATS_JS_API_PREFIX: 'JS.acc' }), { domain: '', apiPrefix: 'JS.acc' })
})

t.test('contexts are below XDG_CONFIG_HOME where that is set', async (t) => {
  const below = join(home, 'xdg')
  context('there', { url: 'nats://there:4222' }, below)
  t.equal(told({ NATS_CONTEXT: 'there', XDG_CONFIG_HOME: below }).url, 'nats://there:4222')
  t.match(faults({ NATS_CONTEXT: 'there' }), [/^NATS_CONTEXT=there: cannot be read \(ENOENT/])
})

t.test('a context that cannot be followed is refused by name, without its secrets', async (t) => {
  for (const name of ['../there', 'a/b', '..'])
    t.match(faults({ NATS_CONTEXT: name }), [/^NATS_CONTEXT=.*: wants the name of a context/])
  context('nsc', { nsc: 'nsc://op/acc/user' })
  t.match(faults({ NATS_CONTEXT: 'nsc' }), [/^NATS_CONTEXT=nsc: `nsc` in .* is not supported/])
  context('first', { tls_first: true })
  t.match(faults({ NATS_CONTEXT: 'first' }), [/^NATS_CONTEXT=first: `tls_first` in .* is not supported/])
  writeFileSync(join(home, '.config', 'nats', 'context', 'broken.json'), '{"token": "s3cret"')
  const lines = faults({ NATS_CONTEXT: 'broken' })
  t.match(lines, [/^NATS_CONTEXT=broken: .* is no context/])
  t.notMatch(lines.join(), 's3cret')
})

t.test('WebSocket addresses, and others that are not of NATS, are refused in one line', async (t) => {
  for (const url of ['ws://user:s3cret@host:8080', 'nats://a:4222,wss://user:s3cret@host']) {
    const lines = faults({ NATS_URL: url })
    t.match(lines, [/^NATS_URL=wss?:\/\/…@host(:8080)?: NATS by WebSocket is not supported; .*nats:\/\/host:4222/])
    t.notMatch(lines.join(), 's3cret')
  }
  t.match(faults({ NATS_URL: 'https://host' }), [/^NATS_URL=https:\/\/host: wants an address such as nats:/])
  for (const url of ['host', 'nats://host', 'tls://host:4222', 'joe:http://x@host'])
    t.same(faults({ NATS_URL: url }), [], url)
})

t.test('options for NATS that do not go together are told', async (t) => {
  const NATS_URL = 'nats://host'
  t.match(faults({ NATS_URL, NATS_CERT_FILE: '/cert.pem' }), ['NATS_CERT_FILE and NATS_KEY_FILE: set both, or neither'])
  t.match(faults({ NATS_URL, NATS_TOKEN: 's3cret', NATS_CREDS: '/c' }), ['NATS_CREDS and NATS_TOKEN: set one of them'])
  t.match(faults({ NATS_URL, NATS_JS_DOMAIN: 'hub', NATS_JS_API_PREFIX: 'JS.acc' }), [
    /^NATS_JS_DOMAIN and NATS_JS_API/,
  ])
  for (const [name, value] of [
    ['NATS_JS_DOMAIN', 'a.b'],
    ['NATS_JS_API_PREFIX', 'JS.acc.>'],
    ['NATS_INBOX_PREFIX', '_INBOX.*'],
  ] as const)
    t.ok(faults({ NATS_URL, [name]: value })[0]?.startsWith(`${name}=${value}: wants the beginning of a subject`), name)
  for (const name of ['NATS_CA_FILE', 'NATS_TOKEN', 'NATS_NKEY_SEED_FILE', 'NATS_JS_DOMAIN'])
    t.match(faults({ [name]: 'x' }), [`${name}: is of no use without NATS_URL`])
})

t.test('files that options name are checked before anything starts', async (t) => {
  for (const [name, message] of [
    ['NATS_CA_FILE', /^NATS_CA_FILE=\/nowhere\/file: cannot be read/],
    ['NATS_CREDS', /^NATS_CREDS=\/nowhere\/file: cannot be read/],
    ['NATS_NKEY_SEED_FILE', /^NATS_NKEY_SEED_FILE=\/nowhere\/file: cannot be read/],
  ] as const) {
    const config = loadConfig({ NATS_URL: 'nats://host', [name]: '/nowhere/file' })
    t.throws(() => checkFiles(config), { code: 'CONFIG_INVALID', message })
  }
})
