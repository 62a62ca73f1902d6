import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { BUILT_IN_CONTRACTS } from '../../src/applications/built-in.ts'
import { checkContract, checkTogether } from '../../src/contracts/check.ts'
import type { Contract } from '../../src/contracts/contract.ts'
import { loadContract } from '../../src/contracts/load.ts'
import { BrokerError } from '../../src/errors.ts'

/** Outside of the repository, where nothing is installed. */
const folder = mkdtempSync(join(tmpdir(), 'roomcast-test-contracts-'))
t.teardown(() => rmSync(folder, { recursive: true }))

function write(name: string, text: string): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

async function fault(file: string): Promise<string> {
  const error = await loadContract(file).catch((thrown: unknown) => thrown)
  if (!(error instanceof BrokerError) || error.code !== 'CONTRACT_INVALID')
    throw new Error(`it was no CONTRACT_INVALID: ${error}`)
  return error.message
}

t.test('a TypeScript contract anywhere on the machine loads, with what it imports', async (t) => {
  mkdirSync(join(folder, 'parts'), { recursive: true })
  write('parts/rooms.ts', `export const roomOf = (store: number): string => \`store:\${store}\``)
  const file = write(
    'shop.ts',
    `
import { defineContract, event, Type } from 'roomcast'
import { roomOf } from './parts/rooms.ts'

interface Order { store: number }
export default defineContract({
  app: 'shop',
  endpoints: [{ transport: 'websocket', path: '/shop' }],
  events: {
    order: event(Type.Object({ store: Type.Number() }), { rooms: ({ data }: { data: Order }) => [roomOf(data.store)] }),
  },
})
`,
  )
  const contract = await loadContract(file)
  t.equal(contract.app, 'shop')
  t.same(contract.events.order?.rooms?.({ type: 'order', data: { store: 7 }, timestamp: '' }), ['store:7'])
})

for (const name of ['plain.js', 'module.mjs']) {
  t.test(`a JavaScript contract loads (${name})`, async (t) => {
    const file = write(
      name,
      `import { defineContract } from 'roomcast'\nexport default defineContract({ app: 'plain', endpoints: [{ transport: 'websocket', path: '/plain' }], events: { thing: {} } })`,
    )
    t.match(await loadContract(file), { app: 'plain', endpoints: [{ path: '/plain' }], events: { thing: {} } })
  })
}

t.test('a contract may be named relative to the working folder', async (t) => {
  const file = write(
    'relative.mjs',
    `export default { app: 'relative', endpoints: [{ transport: 'websocket', path: '/' }], events: { thing: {} } }`,
  )
  const before = process.cwd()
  process.chdir(folder)
  t.teardown(() => process.chdir(before))
  t.equal((await loadContract('./relative.mjs')).app, 'relative')
  t.equal((await loadContract(file)).app, 'relative')
})

t.test('a file that is missing or cannot be read as a module is named, with the place', async (t) => {
  const missing = join(folder, 'missing.ts')
  t.ok((await fault(missing)).startsWith(missing))
  const broken = write(
    'broken.ts',
    `import { defineContract } from 'roomcast'\nexport default defineContract({ app: 'x',, })`,
  )
  const message = await fault(broken)
  t.ok(message.startsWith(broken))
  t.match(message, /broken\.ts:2:4\d/, 'line and column')
  const stray = write('stray.ts', `import { thing } from './not-there.ts'\nexport default thing`)
  t.match(await fault(stray), /stray\.ts.*not-there\.ts/s)
  const stranger = write('stranger.ts', `import { nothing } from 'roomcast'\nexport default nothing`)
  t.match(await fault(stranger), /stranger\.ts.*nothing/s)
  const throwing = write('throwing.ts', `throw new Error('not today')`)
  t.match(await fault(throwing), /throwing\.ts.*not today/s)
})

t.test('a module without a contract in it is told what to write', async (t) => {
  const file = write('nameless.ts', `export const contract = { app: 'x' }`)
  const message = await fault(file)
  t.ok(message.startsWith(file))
  t.match(message, /no default export.*export default defineContract/)
})

t.test("a contract of the wrong shape is refused by the file's name and the part that is wrong", async (t) => {
  const endpoints = `endpoints: [{ transport: 'websocket', path: '/x' }]`
  const events = 'events: { thing: {} }'
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['null', /defineContract/],
    ['5', /defineContract/],
    ['{}', /`app`/],
    [`{ app: 'No Such Name', ${endpoints}, ${events} }`, /`app`/],
    [`{ app: 'x', ${events} }`, /`endpoints`/],
    [`{ app: 'x', endpoints: [], ${events} }`, /`endpoints`/],
    [`{ app: 'x', endpoints: [{ transport: 'pigeon', path: '/x' }], ${events} }`, /pigeon/],
    [`{ app: 'x', endpoints: [{ transport: 'websocket', path: 'x' }], ${events} }`, /`path`/],
    [`{ app: 'x', ${endpoints} }`, /`events`/],
    [`{ app: 'x', ${endpoints}, events: {} }`, /`events`/],
    [`{ app: 'x', ${endpoints}, ${events}, groups: { all: ['thinq'] } }`, /"all".*"thinq"/],
  ]
  for (const [index, [text, reason]] of wrong.entries()) {
    const file = write(`wrong-${index}.mjs`, `export default ${text}`)
    const message = await fault(file)
    t.ok(message.startsWith(file), message)
    t.match(message, reason)
  }
})

const SHOP = {
  app: 'shop',
  endpoints: [
    { transport: 'websocket', path: '/shop' },
    { transport: 'socketio', namespace: '/shop' },
  ],
  events: { thing: {} },
}

/** What is wrong with a contract; empty: nothing. */
function faultsOf(contract: object): string {
  try {
    checkContract({ ...SHOP, ...contract } as unknown as Contract)
    return ''
  } catch (error) {
    if (!(error instanceof BrokerError) || error.code !== 'CONTRACT_INVALID') throw error
    return error.message
  }
}

t.test('a name with a typing error loaded, and left the door open: `allow`, `room`', async (t) => {
  const fn = () => true
  const wrong: readonly (readonly [object, string | RegExp])[] = [
    [{ event: {} }, /`event` .*did you mean `events`/],
    [{ endpoints: [{ transport: 'websocket', path: '/shop', feature: [] }] }, /`endpoints\[0\].feature` .*`features`/],
    [{ endpoints: [{ transport: 'socketio', namespace: '/shop', allow: fn }] }, /`endpoints\[0\].allow` .*`allows`/],
    [
      {
        endpoints: [
          {
            transport: 'socketio',
            namespace: '/shop',
            lateAuthentication: { command: 'a', timeoutMs: 1, succeeded: fn, failed: fn, refused: fn, session: true },
          },
        ],
      },
      /lateAuthentication.session` .*`sessions`/,
    ],
    [{ events: { thing: { room: fn } } }, /`events\["thing"\].room` .*`rooms`/],
    [{ rooms: { 'store:{id}': { allow: fn } } }, /`rooms\["store:\{id\}"\].allow` .*`allows`/],
    [{ rooms: { 'store:{id}': { record: { bucket: 'b', allow: fn } } } }, /record.allow` .*`allows`/],
    [{ filters: { item: { raed: fn } } }, /`filters\["item"\].raed` .*`read`/],
    [{ access: [{ claims: 'project_access', absent: 'all', read: fn }] }, /`access\[0\].claims` .*`claim`/],
    [
      { claims: ['store_access'], access: [{ claim: 'store_acces', absent: 'all', read: fn }] },
      /`access\[0\].claim` is "store_acces", and `claims` does not declare it; did you mean "store_access"\?/,
    ],
    [{ commands: { buy: { action: { use: 'echo' }, allow: fn } } }, /`commands\["buy"\].allow` .*`allows`/],
    [{ commands: { buy: { action: { use: 'store', event: fn, withing: fn } } } }, /action.withing` .*`within`/],
    [
      { commands: { buy: { action: { use: 'echo', participates: fn } } } },
      /action.participates` .*there are use, reply, acknowledgement/,
    ],
    [
      { commands: { buy: { action: { use: 'query', summary: { make: fn, add: fn, spam: 1 }, query: fn } } } },
      /summary.spam` .*`span`/,
    ],
    [{ presence: { join: fn, joined: fn, left: fn } }, /`presence.join` .*`joined`/],
    [{ locks: { lock: fn, locked: fn, unlocked: fn } }, /`locks.lock` .*`locked`/],
    [{ figures: { room: 'r', everyMS: 5, everyMs: 1_000, message: fn } }, /`figures.everyMS` .*`everyMs`/],
    [{ limits: { commandPerMinute: 5 } }, /`limits.commandPerMinute` .*`commandsPerMinute`/],
    [
      {
        limits: {
          burst: { perSecond: 1, perMinute: 1, strikes: 1, banMs: 1, connectionsPerUser: 1, refused: fn, perHour: 1 },
        },
      },
      /`limits.burst.perHour`/,
    ],
    [{ clientRequests: { sure: { scheme: {} } } }, /`clientRequests\["sure"\].scheme` .*`schema`/],
  ]
  for (const [contract, reason] of wrong) t.match(faultsOf(contract), reason)
  t.equal(faultsOf({}), '')
  t.equal(faultsOf({ rooms: undefined, about: undefined }), '', 'undefined is left out')
})

t.test('a word of before is refused with the one of now', async (t) => {
  const fn = () => true
  const wrong: readonly (readonly [object, string])[] = [
    [{ commands: { buy: { effect: { use: 'echo' } } } }, '`commands["buy"].effect` is called `action` now'],
    [{ commands: { buy: { action: { use: 'say' } } } }, '`commands["buy"].action.use` "say" is called "broadcast" now'],
    [{ rooms: { all: { shows: fn } } }, '`rooms["all"].shows` is called `projection` now'],
    [{ filters: { item: { of: fn } } }, '`filters["item"].of` is called `read` now'],
    [{ questions: {} }, '`questions` is called `clientRequests` now'],
    [{ commands: { buy: { action: { use: 'exit' } } } }, 'action.use` "exit" is called "leavePresence" now'],
    [{ commands: { buy: { action: { use: 'joinPresence', place: fn } } } }, 'action.place` is called `channel` now'],
    [{ commands: { buy: { action: { use: 'select', place: fn } } } }, 'action.place` is called `channel` now'],
    [{ record: fn }, '`record` is called `audit` now'],
    [
      { port: 'CODING_ASSISTANT_PORT' },
      '`port` wants an object such as { option: \'SHOP_PORT\', default: 3005 } (it is PORT where it is left out), and is "CODING_ASSISTANT_PORT"',
    ],
  ]
  for (const [contract, reason] of wrong) t.match(faultsOf(contract), reason)
})

t.test('a function where none is wanted, and a list, a number, a text in the place of something else', async (t) => {
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ events: [] }, /`events` wants an object, and is a list/],
    [{ events: { thing: null } }, /`events\["thing"\]` wants an object, and is null/],
    [{ events: { thing: { rooms: ['a'] } } }, /rooms` wants a function, and is a list/],
    [{ rooms: { lobby: { allows: true } } }, /allows` wants a function, and is true/],
    [{ rooms: { lobby: { presence: false } } }, /presence` is true or left out/],
    [{ rooms: ['lobby'] }, /`rooms` wants an object/],
    [{ groups: { all: 'thing' } }, /`groups\["all"\]` wants a list/],
    [{ groups: { all: [5] } }, /`groups\["all"\]\[0\]` wants a text/],
    [
      { claims: ['store_access'], access: [{ claim: 'projects', absent: 'all', read: () => 1 }] },
      /claim` is "projects", and `claims` does not declare it; there are store_access/,
    ],
    [{ access: [{ claim: 'project_access', absent: 'all', read: () => 1 }] }, /does not declare it; there are none/],
    ...['sub', 'exp', 'aud', 'name', 'constructor', '__proto__'].map(
      (claim) => [{ claims: ['a', claim] }, /`claims\[1\]` is ".*", which is no list of texts/] as const,
    ),
    [{ claims: 'store_access' }, /`claims` wants a list/],
    // Its methods would make their results by it.
    [{ claims: Object.assign(['a'], { constructor: 5 }) }, /`claims.constructor` is nothing that a contract says here/],
    [{ claims: [5] }, /`claims\[0\]` wants a text/],
    [{ access: [{ claim: 'project_access', of: () => 1 }] }, /absent` is missing/],
    [{ commands: { buy: {} } }, /action` is missing/],
    [
      { commands: { buy: { action: { use: 'stor', event: () => 1 } } } },
      /use` is "stor"; did you mean "store"\? there are subscribe, .*batch/,
    ],
    [{ commands: { buy: { action: { use: 'constructor' } } } }, /use` is "constructor"; there are/],
    [{ commands: { buy: { action: { use: 'store' } } } }, /event` is missing/],
    [{ commands: { buy: { action: { use: 'echo' }, schema: 'text' } } }, /schema` wants a schema/],
    [{ limits: { commandsPerMinute: -1 } }, /commandsPerMinute` wants a whole number/],
    [{ limits: { commandsPerMinute: Number.NaN } }, /commandsPerMinute` wants a whole number/],
    [{ figures: { room: 'r', everyMs: 0, message: () => 1 } }, /everyMs` wants a whole number from 100/],
    [{ port: 8000 }, /`port` wants an object such as \{ option: 'SHOP_PORT', default: 3005 \} .*and is 8000/],
    [{ port: { option: 'SHOP_PORT' } }, /`port.default` is missing/],
    [{ port: { option: 'SHOP_PORT', default: 70_000 } }, /`port.default` wants a whole number from 0 to 65535/],
    [{ port: { name: 'SHOP_PORT', default: 1 } }, /`port.name` is nothing that a contract says here/],
    ...['PORT', 'shop_port', 'SHOP', '_PORT', '8_PORT', 'SHOP-PORT', ''].map(
      (option) => [{ port: { option, default: 1 } }, /`port.option` wants/] as const,
    ),
    [{ session: 'x' }, /`session` wants a function/],
  ]
  for (const [contract, reason] of wrong) t.match(faultsOf(contract), reason)
  t.match(faultsOf({ event: {}, room: {}, command: {} }), /event.*\n.*room.*\n.*command/, 'all of them are told')
})

t.test('a path, a namespace, a room, an event that could never work is refused', async (t) => {
  const fn = () => true
  const wrong: readonly (readonly [object, RegExp])[] = [
    ...['shop', '/a b', '/a?b', '/a#b', '/:id', '/*', '/a/{id}'].map(
      (path) => [{ endpoints: [{ transport: 'websocket', path }] }, /`path`/] as const,
    ),
    [{ endpoints: [{ transport: 'websocket', path: '/socket.io/x' }] }, /Socket\.IO/],
    [{ endpoints: [{ transport: 'websocket', path: '/api/v1' }] }, /HTTP API/],
    ...['shop', '/a,b', '/a?b', '/a b', '/{a}/{b}', '/{a', '/a}', '/{}'].map(
      (namespace) => [{ endpoints: [{ transport: 'socketio', namespace }] }, /`namespace`/] as const,
    ),
    ...['store:{id', 'store:id}', 'store:{}', ''].map((name) => [{ rooms: { [name]: {} } }, /is no pattern/] as const),
    [
      { rooms: { '{any}': {}, 'user:{id}': { allows: fn } }, idPattern: '.{1,10}' },
      /`rooms\["user:\{id\}"\]` comes after "\{any\}"/,
    ],
    [{ rooms: { lobby: { record: { bucket: 'b', allows: fn } } } }, /record` is found by the id/],
    [{ idPattern: '[' }, /`idPattern` is no regular expression/],
    ...['a b', '', 'a..b', '.a', 'a.', 'a.*', '>'].map(
      (type) => [{ events: { [type]: {} } }, /is no name for an event/] as const,
    ),
    ...['connect', 'disconnect', 'connect_error', 'newListener'].map(
      (type) => [{ events: { [type]: {} } }, /is a name of Socket.IO itself/] as const,
    ),
    [
      { events: { 'store:1': {} }, rooms: { 'store:{id}': { allows: fn } } },
      /`events\["store:1"\]` is the name of a room of "store:\{id\}" too/,
    ],
    [{ events: { all: {} }, rooms: { all: { projection: fn } } }, /`events\["all"\]` is the name of a room/],
    [{ commands: { 'a b': { action: { use: 'forward' } } } }, /is no name for a command with a service/],
    [{ commands: { buy: { action: { use: 'echo' }, namespaces: ['/shp'] } } }, /names \/shp, and no endpoint has it/],
    [
      {
        commands: { back: { action: { use: 'query', events: ['thinq'], summary: { make: fn, add: fn }, query: fn } } },
      },
      /names "thinq"/,
    ],
    [{ commands: { join: { action: { use: 'join' } } } }, /wants `room` or `rooms`/],
  ]
  for (const [contract, reason] of wrong) t.match(faultsOf(contract), reason, JSON.stringify(contract))
  t.equal(faultsOf({ rooms: { 'user:{id}': { allows: fn }, '{any}': {} } }), '', 'the special one first')
  t.equal(
    faultsOf({
      events: { 'store:1': { rooms: fn }, 'shop:1': {} },
      rooms: { 'store:{id}': { allows: fn }, 'shop:{id}': {} },
    }),
    '',
    "an event with rooms of its own has no room by its name; a room for everybody may be an event's",
  )
})

t.test('two contracts, or two endpoints of one, cannot want the same place', async (t) => {
  const other = (more: object): Contract =>
    ({ ...SHOP, app: 'other', endpoints: [{ transport: 'websocket', path: '/other' }], ...more }) as Contract
  const together = (...contracts: object[]) => checkTogether([SHOP as unknown as Contract, ...contracts.map(other)])
  const both = (namespace: string) => ({ transport: 'socketio', namespace })
  t.doesNotThrow(() => together({}))
  t.doesNotThrow(
    () => together({ endpoints: SHOP.endpoints, port: { option: 'SHOP_PORT', default: 3005 } }),
    'on another port',
  )
  t.throws(() => together({ app: 'shop' }), /application "shop" is there twice/)
  t.throws(() => together({ endpoints: [SHOP.endpoints[0]] }), /the path \/shop on PORT is taken by the contract shop/)
  t.throws(
    () => together({ endpoints: [SHOP.endpoints[1]] }),
    /the namespace \/shop on PORT is taken by the contract shop/,
  )
  t.throws(() => together({ endpoints: [both('/a/{x}'), both('/a/{y}')] }), /there twice/)
  t.throws(() => together({ endpoints: [both('/a/{x}'), both('/a/b')] }), /comes after \/a\/\{x\}/)
  t.doesNotThrow(() => together({ endpoints: [both('/a/b'), both('/a/{x}')] }))
  t.doesNotThrow(() => checkTogether(BUILT_IN_CONTRACTS))
})

t.test('loading leaves nothing behind in the temporary folder', async (t) => {
  const mine = () => readdirSync(folder).sort()
  const file = write(
    'tidy.mjs',
    `export default { app: 'tidy', endpoints: [{ transport: 'websocket', path: '/' }], events: { thing: {} } }`,
  )
  const before = mine()
  const { TMPDIR } = process.env
  process.env.TMPDIR = folder
  t.teardown(() => {
    if (TMPDIR === undefined) delete process.env.TMPDIR
    else process.env.TMPDIR = TMPDIR
  })
  await loadContract(file)
  await fault(join(folder, 'not-there.mjs'))
  t.same(mine(), before)
})
