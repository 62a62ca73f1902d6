import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
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
  if (!(error instanceof BrokerError) || error.code !== 'CONTRACT_INVALID') throw new Error(`it was no CONTRACT_INVALID: ${error}`)
  return error.message
}

t.test('a TypeScript contract anywhere on the machine loads, with what it imports', async (t) => {
  mkdirSync(join(folder, 'parts'), { recursive: true })
  write('parts/rooms.ts', `export const roomOf = (store: number): string => \`store:\${store}\``)
  const file = write('shop.ts', `
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
`)
  const contract = await loadContract(file)
  t.equal(contract.app, 'shop')
  t.same(contract.events.order?.rooms?.({ type: 'order', data: { store: 7 }, timestamp: '' }), ['store:7'])
})

for (const name of ['plain.js', 'module.mjs']) {
  t.test(`a JavaScript contract loads (${name})`, async (t) => {
    const file = write(name, `import { defineContract } from 'roomcast'\nexport default defineContract({ app: 'plain', endpoints: [{ transport: 'websocket', path: '/plain' }], events: { thing: {} } })`)
    t.match(await loadContract(file), { app: 'plain', endpoints: [{ path: '/plain' }], events: { thing: {} } })
  })
}

t.test('a contract may be named relative to the working folder', async (t) => {
  const file = write('relative.mjs', `export default { app: 'relative', endpoints: [{ transport: 'websocket', path: '/' }], events: { thing: {} } }`)
  const before = process.cwd()
  process.chdir(folder)
  t.teardown(() => process.chdir(before))
  t.equal((await loadContract('./relative.mjs')).app, 'relative')
  t.equal((await loadContract(file)).app, 'relative')
})

t.test('a file that is missing or cannot be read as a module is named, with the place', async (t) => {
  const missing = join(folder, 'missing.ts')
  t.ok((await fault(missing)).startsWith(missing))
  const broken = write('broken.ts', `import { defineContract } from 'roomcast'\nexport default defineContract({ app: 'x',, })`)
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

t.test('a contract of the wrong shape is refused by the file\'s name and the part that is wrong', async (t) => {
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

t.test('loading leaves nothing behind in the temporary folder', async (t) => {
  const mine = () => readdirSync(folder).sort()
  const file = write('tidy.mjs', `export default { app: 'tidy', endpoints: [{ transport: 'websocket', path: '/' }], events: { thing: {} } }`)
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
