import { availableParallelism } from 'node:os'
import t from 'tap'
import { loadConfig, warningsOf, workersOf } from '../../src/config/load.ts'
import { type Config, flagOf, OPTIONS, type Option, type OptionName } from '../../src/config/options.ts'
import { shown } from '../../src/config/shown.ts'
import { BrokerError } from '../../src/errors.ts'

const TABLE = Object.entries(OPTIONS) as [OptionName, Option][]

/** What is wrong with this environment: the faults, one line each. */
function faults(env: Record<string, string | undefined>): readonly string[] {
  try {
    loadConfig(env)
    return []
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== 'CONFIG_INVALID') throw error
    const lines = error.details as readonly string[]
    if (error.message !== lines.join('\n')) throw new Error('the message is not the faults')
    return lines
  }
}

t.test('an empty environment gives every option its default', async (t) => {
  const config = loadConfig({})
  t.same(Object.keys(config).sort(), [...TABLE.map(([name]) => name), 'contractPorts'].sort())
  for (const [name, option] of TABLE) {
    t.equal(String(config[name]), String(option.default), option.env)
    t.type(config[name], option.type === 'integer' ? 'number' : option.type === 'list' ? Array : 'string', option.env)
  }
})

t.test('every default is within its own limits', async (t) => {
  t.same(faults(Object.fromEntries(TABLE.map(([, option]) => [option.env, String(option.default)]))), [])
})

t.test('values that are empty or blank are as values not set', async (t) => {
  for (const blank of ['', '   '])
    t.same(loadConfig(Object.fromEntries(TABLE.map(([, option]) => [option.env, blank]))), loadConfig({}))
})

t.test('values are read by their type, and blanks around them do not count', async (t) => {
  const config: Config = loadConfig({
    PORT: ' 0 ',
    CORS_ORIGINS: 'https://a.example, https://b.example ,',
    CONTRACTS: './a.ts',
    HOST: ' ::1 ',
    STREAM_MAX_BYTES: '0',
  })
  t.equal(config.port, 0)
  t.same(config.corsOrigins, ['https://a.example', 'https://b.example'])
  t.same(config.contracts, ['./a.ts'])
  t.equal(config.host, '::1')
  t.equal(config.streamMaxBytes, 0)
})

t.test('a number that is none, or out of its range, is named with the range and the unit', async (t) => {
  for (const [, option] of TABLE.filter(([, { type }]) => type === 'integer')) {
    const { env, min = 0, max = Number.MAX_SAFE_INTEGER, unit = '' } = option
    for (const value of [
      'x',
      '1.5',
      '1,000',
      '10k',
      'NaN',
      'Infinity',
      String(min - 1),
      ...(max < Number.MAX_SAFE_INTEGER ? [String(max + 1)] : []),
    ]) {
      const [fault = '', ...others] = faults({ [env]: value })
      t.same(others, [])
      t.ok(fault.startsWith(`${env}=${value}: `), fault)
      t.ok(fault.includes(`${min} to ${max}`) && fault.includes(unit), fault)
    }
    for (const value of [min, max]) t.same(faults({ [env]: String(value) }), [], `${env}=${value}`)
  }
})

t.test('all faults are told at once, each by its name', async (t) => {
  const lines = faults({
    PORT: 'x',
    MAX_CONNECTIONS: '0',
    LOG_LEVEL: 'loud',
    TLS_CERT_FILE: '/cert.pem',
    JWKS_URL: 'nowhere',
    NATS_CREDS: '/user.creds',
    NODE_ENV: 'production',
    JWT_SECRET: '',
  })
  t.equal(lines.length, 6)
  for (const name of ['PORT', 'MAX_CONNECTIONS', 'LOG_LEVEL', 'TLS_CERT_FILE', 'JWKS_URL', 'NATS_CREDS'])
    t.ok(
      lines.some((line) => line.startsWith(name)),
      name,
    )
})

t.test('options that only make sense together are checked together', async (t) => {
  t.match(faults({ TLS_CERT_FILE: '/cert.pem' }), [/TLS_CERT_FILE and TLS_KEY_FILE/])
  t.match(faults({ TLS_KEY_FILE: '/key.pem' }), [/TLS_CERT_FILE and TLS_KEY_FILE/])
  t.same(faults({ TLS_KEY_FILE: '/key.pem', TLS_CERT_FILE: '/cert.pem' }), [])
  t.match(faults({ NATS_CREDS: '/user.creds' }), [/^NATS_CREDS: .*NATS_URL/])
  t.same(faults({ NATS_CREDS: '/user.creds', NATS_URL: 'nats://localhost' }), [])
})

t.test('production without a key is refused, with each kind of key it starts', async (t) => {
  t.match(faults({ NODE_ENV: 'production' }), [/^NODE_ENV=production: .*JWT_SECRET.*JWT_PUBLIC_KEY.*JWKS_URL/])
  t.equal(faults({ NODE_ENV: 'production', PUBLISH_KEY: 'a-key' }).length, 1, 'a publish key signs no tokens')
  for (const key of [
    { JWT_SECRET: 'a-secret-of-thirty-two-bytes-....' },
    { JWT_PUBLIC_KEY: '/key.pem' },
    { JWKS_URL: 'https://id.example/jwks.json' },
  ])
    t.same(faults({ NODE_ENV: 'production', ...key }), [])
})

t.test('a short JWT_SECRET can be found by trying: production refuses it, elsewhere it is warned of', async (t) => {
  const short = 's3cret'.padEnd(31, '.')
  const [fault = '', ...others] = faults({ NODE_ENV: 'production', JWT_SECRET: short })
  t.same(others, [])
  t.match(fault, /^JWT_SECRET: .*32 bytes.*openssl/)
  t.notMatch(fault, 's3cret')
  t.match(warningsOf(loadConfig({ JWT_SECRET: short })), [/^JWT_SECRET: .*32 bytes/])
  for (const secret of ['', `${short}.`, 'ü'.repeat(16)]) t.same(warningsOf(loadConfig({ JWT_SECRET: secret })), [])
})

t.test('what is secret in an option is not shown, wherever it was put', async (t) => {
  for (const [name, value, expected] of [
    ['natsUrl', 'nats://user:s3cret@host:4222', 'nats://…@host:4222'],
    ['natsUrl', 'user:s3cret@host', '…@host'],
    ['natsUrl', 's3cret@host', '…@host'],
    ['natsUrl', 'tls://u:s3c@ret@a:1, nats://v:s3cret@b:2', 'tls://…@a:1, nats://…@b:2'],
    ['natsUrl', 'nats://a:1,nats://b:2', 'nats://a:1,nats://b:2'],
    ['jwksUrl', 'https://id.example/keys?apikey=s3cret', 'https://id.example/keys?…'],
    ['jwtSecret', 's3cret', '(set)'],
    ['publishKey', 's3cret', '(set)'],
    ['jwtPublicKey', '-----BEGIN PRIVATE KEY-----s3cret', '(PEM text)'],
    ['jwtPublicKey', '/etc/key.pem', '/etc/key.pem'],
    ['port', 8000, '8000'],
  ] as const)
    t.equal(shown(name, value), expected)
  for (const url of ['ftp://id.example/s3cret?s3cret', 'https://user:s3cret@id.example/keys'])
    t.match(faults({ JWKS_URL: url }), [/^JWKS_URL=[^:]*:\/\/(…@)?id\.example/])
  t.notMatch(faults({ JWKS_URL: 'https://user:s3cret@id.example/keys' }).join(), 's3cret')
})

t.test('no secret is ever in an error', async (t) => {
  const secrets = Object.fromEntries(
    TABLE.filter(([, { secret }]) => secret).map(([, { env }]) => [env, `s3cret-${env}`]),
  )
  t.same(Object.keys(secrets).sort(), ['JWT_SECRET', 'NATS_TOKEN', 'PUBLISH_KEY'])
  const lines = faults({
    ...secrets,
    NODE_ENV: 'production',
    PORT: 'x',
    OPS_PORT: '-1',
    LOG_LEVEL: 'loud',
    TLS_CERT_FILE: '/cert.pem',
    JWKS_URL: 'nowhere',
    NATS_CREDS: '/user.creds',
  })
  t.ok(lines.length >= 6)
  t.notMatch(lines.join('\n'), 's3cret')
})

t.test('variables and flags are unique, and say what they are about', async (t) => {
  const all = TABLE.map(([, option]) => option)
  t.equal(new Set(all.map(({ env }) => env)).size, all.length)
  for (const option of all) {
    t.match(option.env, /^[A-Z][A-Z0-9_]*$/)
    t.match(flagOf(option), /^--[a-z][a-z0-9-]*$/)
    t.match(option.about, /\.$/, `${option.env} ends its sentence`)
    if (option.type === 'integer') t.ok(option.unit, `${option.env} has a unit`)
  }
})

t.test('WORKERS is a number, or auto; more than one needs NATS', async (t) => {
  const nats = { NATS_URL: 'nats://127.0.0.1:4222' }
  for (const value of ['0', '-1', '1.5', 'many', '257', 'NaN'])
    t.match(faults({ WORKERS: value, ...nats }), [`WORKERS=${value}: wants a whole number from 1 to 256, or auto`])
  t.match(faults({ WORKERS: '2' }), [/^WORKERS=2: more than one process needs NATS/])
  t.same(faults({ WORKERS: '2', ...nats }), [])
  t.equal(workersOf(loadConfig({})), 1)
  t.equal(workersOf(loadConfig({ WORKERS: '8', ...nats })), 8)
  t.equal(workersOf(loadConfig({ WORKERS: 'auto', ...nats })), availableParallelism())
  t.equal(workersOf(loadConfig({ WORKERS: 'auto' })), 1, 'the embedded source serves one process')
})
