import t from 'tap'
import { guardContract } from '../../src/contracts/guard-contract.ts'
import { CONTRACT, type Fields, type Kind } from '../../src/contracts/shape.ts'
import type { Contract } from '../../src/contracts/contract.ts'
import { BrokerError } from '../../src/errors.ts'
import { onFault } from '../../src/guarded.ts'

type AnyFunction = (...args: unknown[]) => unknown

/** Something of every kind at every place, with this function wherever there is one. */
function everywhere(fields: Fields, act: AnyFunction): Record<string, unknown> {
  const of = (kind: Kind): unknown => {
    switch (kind.is) {
      case 'function':
        return act
      case 'object':
        return everywhere(kind.fields, act)
      case 'list':
        return [of(kind.of)]
      case 'map':
        return kind.of.is === 'object' && 'action' in kind.of.fields
          ? commands(kind.of.fields, act)
          : { thing: of(kind.of) }
      case 'variant':
        return [...kind.of].map(([name, of]) => ({ ...everywhere(of, act), [kind.by]: name }))
      case 'number':
        return 1
      case 'word':
        return kind.of[0]
      default:
        return 'text'
    }
  }
  return Object.fromEntries(
    Object.entries(fields).map(([name, kind]) => [
      name,
      kind.is === 'list' && kind.of.is === 'variant' ? of(kind.of) : of(kind),
    ]),
  )
}

/** One command for each action. */
function commands(fields: Fields, act: AnyFunction): Record<string, unknown> {
  const { action } = fields
  if (action?.is !== 'variant') throw new Error('no actions')
  return Object.fromEntries(
    [...action.of].map(([use, of]) => [
      use,
      { ...everywhere({ ...fields, action: { is: 'text' } }, act), action: { ...everywhere(of, act), use } },
    ]),
  )
}

function functionsIn(value: unknown, place = ''): [string, AnyFunction][] {
  if (typeof value === 'function') return [[place, value as AnyFunction]]
  return typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, item]) => functionsIn(item, `${place}.${key}`))
    : []
}

const circle: Record<string, unknown> = { type: 'x' }
circle.data = circle
const BAD: readonly (readonly [string, AnyFunction])[] = [
  ['throws', () => (undefined as unknown as { deep: { deeper: 1 } }).deep.deeper],
  [
    'throws what has no text',
    () => {
      throw Object.create(null)
    },
  ],
  [
    'throws null',
    () => {
      throw null
    },
  ],
  [
    'rejects',
    async () => {
      throw new Error('later')
    },
  ],
  ['resolves', async () => ({ type: 'x', data: {} })],
  [
    'nests without end',
    function deeper(): unknown {
      return deeper()
    },
  ],
  ['a symbol', () => Symbol('x')],
]

t.test(
  'whatever a function of a contract does, at whatever place, nothing but a refusal by name comes out',
  async (t) => {
    let faults: string[] = []
    t.teardown(onFault((where, error) => faults.push(`${where}: ${(error as Error).message}`)))
    for (const [name, act] of BAD) {
      const found = functionsIn(guardContract(everywhere(CONTRACT, act) as unknown as Contract))
      t.ok(found.length > 60, 'the table has many places')
      for (const [place, guarded] of found) {
        for (const args of [[], [{ code: 'X', message: 'x' }, {}], [null, null]]) {
          faults = []
          try {
            const outcome = guarded(...args)
            if (outcome instanceof Promise) throw new Error('a promise came out')
          } catch (error) {
            if (
              !(error instanceof BrokerError) ||
              !['INTERNAL', 'INVALID_EVENT'].includes(error.code) ||
              error.details !== undefined
            )
              t.fail(`${place} ${name}: ${error}`)
          }
          // A symbol is a value, where any value is.
          if (
            name !== 'a symbol' &&
            (faults.length !== 1 || !faults[0]?.startsWith('contract function: contract text: '))
          )
            t.fail(`${place} ${name}: it was reported ${faults.length} times, ${faults}`)
        }
      }
    }
  },
)

t.test('what cannot be written as JSON is found where it is made, not where it is sent', async (t) => {
  t.teardown(onFault(() => {}))
  const { endpoints } = guardContract({ ...(everywhere(CONTRACT, () => circle) as unknown as Contract) })
  const io = endpoints.find((endpoint) => endpoint.transport === 'socketio')
  if (io?.transport !== 'socketio') throw new Error('no endpoint')
  const failure = { code: 'LOCKED', message: 'no' }
  t.same(io.failed?.(failure, { type: 'x', data: {} }), {
    acknowledgement: [{ status: 'error', error_code: 'LOCKED', error_message: 'no' }],
    message: { type: 'error', data: failure },
  })
  t.same(io.lateAuthentication?.failed(failure), { type: 'error', data: failure })
  t.equal(io.welcome?.({} as never), undefined)
  t.equal(io.expired?.(failure), undefined)
})

t.test('who may: only true does', async (t) => {
  t.teardown(onFault(() => {}))
  const asked = (said: unknown) =>
    guardContract({
      app: 'x',
      endpoints: [],
      events: {},
      rooms: { r: { allows: () => said as boolean } },
    }).rooms?.r?.allows?.({ sub: 'a', exp: 1 }, '')
  t.equal(asked(true), true)
  for (const said of [false, undefined, null, 1, 'yes', {}, [], Promise.resolve(true)])
    t.equal(asked(said), false, String(said))
})

t.test(
  "keys of producers' data: a number stands for its text, what can be no key is none; a conversation that nobody can tell is a bad event",
  async (t) => {
    t.teardown(onFault(() => {}))
    const said = (value: unknown) =>
      guardContract({
        app: 'x',
        endpoints: [],
        events: { e: { latest: () => value as string, conversation: () => value as string } },
      }).events.e
    t.equal(said('a')?.latest?.({}), 'a')
    t.equal(said(5)?.latest?.({}), '5')
    t.equal(said(null)?.latest?.({}), undefined)
    t.equal(said({})?.latest?.({}), undefined)
    t.equal(said(5)?.conversation?.({}), '5')
    t.equal(said(undefined)?.conversation?.({}), undefined)
    t.throws(() => said({})?.conversation?.({}), { code: 'INVALID_EVENT' })
  },
)

t.test('a function keeps what it belongs to as `this`', async (t) => {
  const room = {
    word: 'open',
    allows(claims: { sub: string }) {
      return claims.sub === this.word
    },
  }
  t.equal(
    guardContract({ app: 'x', endpoints: [], events: {}, rooms: { r: room } }).rooms?.r?.allows?.(
      { sub: 'open', exp: 1 },
      '',
    ),
    true,
  )
})
