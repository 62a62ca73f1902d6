import t from 'tap'
import { Type } from 'typebox'
import { CompiledContract, type ParticipantsOf } from '../../src/contracts/compiled.ts'
import { type Contract, event } from '../../src/contracts/contract.ts'
import { gameDjinn } from '../../src/applications/game-djinn.ts'
import { accepts, type FieldValues } from '../../src/hub/predicate.ts'
import { type Claims, listClaim } from '../../src/contracts/claims.ts'

const SHOP: Contract = {
  app: 'shop',
  endpoints: [{ transport: 'websocket', path: '/shop' }],
  events: {
    order_placed: { rooms: ({ data }) => [`store:${data.store}`, `customer:${data.customer}`] },
    order_seen: {},
    stock_level: { rooms: ({ data }) => [`store:${data.store}`], latest: (data) => data.item },
    price: { latest: (data) => data.item },
    chat: { conversation: (data) => data.conversation },
    typed: event(Type.Object({ n: Type.Number(), name: Type.Optional(Type.String()) })),
  },
  groups: { orders: ['order_seen'], everything: ['order_*', 'price'] },
  rooms: {
    'store:{id}': { allows: (claims, id) => listClaim(claims, 'project_access')?.includes(id) ?? false },
    lobby: {},
    'a.b:{id}': {},
  },
  filters: { item: { read: (data) => data.item }, tag: { read: (data) => data.tags } },
  claims: ['project_access', 'library_access', 'session_access'],
  access: [
    { claim: 'library_access', absent: 'all', read: (data) => data.library },
    { claim: 'session_access', absent: 'none', read: (data) => data.session },
  ],
}

const alice = (claims: Partial<Claims> = {}): Claims => ({ sub: 'alice', exp: 9_999_999_999, ...claims })
const compile = (contract: Contract = SHOP, participantsOf: ParticipantsOf = () => []) =>
  new CompiledContract(contract, {}, participantsOf)
const shop = compile()

function route(
  type: string,
  data: Record<string, unknown>,
  more: { user_id?: string; rooms?: string[] } = {},
  contract = shop,
) {
  const found = contract.route({ type, data, timestamp: '', ...more }, 1)
  if (found === undefined) throw new Error(`there is no event ${type}`)
  return found
}

/** Whether someone with these claims and filters gets to see the event. */
function sees(claims: Partial<Claims>, filters: Record<string, unknown>, fieldValues: FieldValues): boolean {
  const predicate = shop.predicate(alice(claims), filters)
  return predicate === undefined || accepts(predicate, fieldValues)
}

t.test('a name in subscribe is an event without rooms, or a group of them', async (t) => {
  t.same(shop.typesOf('order_seen'), ['order_seen'])
  t.same(shop.typesOf('orders'), ['order_seen'])
  t.same(shop.typesOf('everything'), ['order_placed', 'order_seen', 'price'])
  for (const name of ['order_placed', 'nothing', '', 'constructor', '__proto__', 'order_*'])
    t.throws(() => shop.typesOf(name), { code: 'UNKNOWN_EVENT' }, name)
  t.throws(
    () => shop.typesOf('x'.repeat(10_000)),
    { message: /^.{0,200}$/ },
    'the answer is not as long as the question',
  )
})

t.test('a group of the Game Djinn contract is all events whose names start so', async (t) => {
  const compiled = compile(gameDjinn)
  const types = Object.keys(gameDjinn.events)
  t.same(
    compiled.typesOf('ai_chat'),
    types.filter((type) => type.startsWith('ai_')),
  )
  t.ok(compiled.typesOf('sync_progress').length > 3, 'the group, and not the event of that name alone')
})

t.test('one room may show every event, under a name without braces', async (t) => {
  const projection = () => undefined
  t.equal(compile({ ...SHOP, rooms: { watch: { projection } } }).application.projection?.room, 'watch')
  for (const rooms of [
    { watch: { projection }, look: { projection } },
    { 'watch:{id}': { projection } },
  ] as NonNullable<Contract['rooms']>[])
    t.throws(() => compile({ ...SHOP, rooms }), { code: 'CONTRACT_INVALID' })
})

t.test('a group that names no event is a fault of the contract', async (t) => {
  for (const pattern of ['order_plced', 'nothing_*']) {
    t.throws(() => compile({ ...SHOP, groups: { orders: ['order_seen', pattern] } }), {
      code: 'CONTRACT_INVALID',
      message: new RegExp(`shop.*orders.*${pattern.replace('*', '\\*')}`),
    })
  }
})

t.test('an event goes to the rooms that the contract derives, or else to those of its type', async (t) => {
  t.same(route('order_placed', { store: 7, customer: 'c' }).rooms, ['store:7', 'customer:c'])
  t.same(route('order_seen', {}).rooms, ['order_seen'])
  t.equal(route('order_seen', {}).users, undefined)
  t.equal(route('order_seen', {}).application, shop.application)
  for (const type of ['nothing', 'constructor', '__proto__', 'toString'])
    t.equal(shop.route({ type, data: {}, timestamp: '' }, 1), undefined, type)
})

t.test("the producer's rooms override those of the contract", async (t) => {
  t.same(route('order_placed', { store: 7 }, { rooms: ['lobby'] }).rooms, ['lobby'])
  t.same(route('order_seen', {}, { rooms: [] }).rooms, [])
})

t.test('an event for one user is for this user alone', async (t) => {
  t.same(route('order_seen', {}, { user_id: 'bob' }).users, ['bob'])
})

t.test('an event of a conversation is for those who took part in it', async (t) => {
  const asked: string[][] = []
  const contract = compile(SHOP, (app, conversation) => {
    asked.push([app, conversation])
    return ['bob', 'carol']
  })
  t.same(
    contract.application.participantsIn(route('chat', { conversation: 'c1' }, {}, contract).conversation as string),
    ['bob', 'carol'],
  )
  t.same(asked, [['shop', 'c1']])
  t.same(
    route('chat', { conversation: 'c1' }, { user_id: 'dave' }, contract).users,
    ['dave'],
    'a user named by the producer comes first',
  )
  t.same(
    [route('chat', {}, {}, contract).users, route('chat', {}, {}, contract).conversation],
    [undefined, undefined],
    'no conversation: everybody',
  )
  t.same(compile().application.participantsIn('c1'), [], 'nobody took part: nobody gets it')
})

t.test('a filter lets through what carries one of its values, or none at all', async (t) => {
  const fieldValues = (data: Record<string, unknown>) => route('price', data).fieldValues
  t.equal(sees({}, {}, fieldValues({ item: 'a' })), true)
  t.equal(sees({}, { item: 'a' }, fieldValues({ item: 'a' })), true)
  t.equal(sees({}, { item: 'a' }, fieldValues({ item: 'b' })), false)
  t.equal(sees({}, { item: ['a', 'b'] }, fieldValues({ item: 'b' })), true)
  t.equal(sees({}, { item: 'a' }, fieldValues({})), true)
  t.equal(sees({}, { item: 7 }, fieldValues({ item: '7' })), true)
  t.equal(sees({}, { tag: ['x', 'y'] }, fieldValues({ tags: ['z', 'y'] })), true)
  t.equal(sees({}, { tag: 'x' }, fieldValues({ tags: ['z', 'y'] })), false)
  t.equal(sees({}, { item: 'a', tag: 'x' }, fieldValues({ item: 'a', tags: ['y'] })), false, 'every filter counts')
  t.equal(sees({}, { item: null }, fieldValues({ item: 'a' })), true, 'a filter without a value is none')
  for (const name of ['nothing', 'constructor', '__proto__', 'library'])
    t.throws(() => shop.predicate(alice(), Object.fromEntries([[name, 'a']])), { code: 'UNKNOWN_FILTER' }, name)
})

t.test('what the token allows guards every event, whatever is filtered', async (t) => {
  const fieldValues = (data: Record<string, unknown>) => route('price', data).fieldValues
  t.equal(sees({}, {}, fieldValues({ library: 'l1' })), true, 'absent: all')
  t.equal(sees({ library_access: ['l1'] }, {}, fieldValues({ library: 'l1' })), true)
  t.equal(sees({ library_access: ['l1'] }, {}, fieldValues({ library: 'l2' })), false)
  t.equal(sees({ library_access: ['l1'] }, {}, fieldValues({})), true, 'no library: for everybody')
  t.equal(sees({ library_access: [] }, {}, fieldValues({ library: 'l1' })), false, 'an empty list allows none')
  t.equal(sees({ library_access: ['l2', '*'] }, {}, fieldValues({ library: 'l1' })), true, '* is all')
  t.equal(sees({}, {}, fieldValues({ session: 's1' })), false, 'absent: none')
  t.equal(sees({ session_access: ['s1'] }, {}, fieldValues({ session: 's1' })), true)
  t.equal(sees({ session_access: ['*'] }, {}, fieldValues({ session: 's1' })), true)
  t.equal(
    sees({ roles: ['admin'], library_access: ['l1'] }, {}, fieldValues({ library: 'l2', session: 's1' })),
    true,
    'an admin sees all',
  )
  t.equal(sees({ roles: ['engineer'] }, {}, fieldValues({ session: 's1' })), false)
  t.equal(sees({ library_access: ['l1'] }, { item: 'a' }, fieldValues({ library: 'l2', item: 'a' })), false)
  t.equal(sees({ library_access: ['l1'] }, { item: 'a' }, fieldValues({ library: 'l1', item: 'b' })), false)
})

t.test('other claims under the same filters: the filters stay, what is allowed changes', async (t) => {
  const before = shop.predicate(alice({ session_access: ['s1'] }), { item: 'a' })
  const after = shop.withAccess(alice({ session_access: ['s2'] }), before?.filters ?? [])
  t.not(after?.key, before?.key)
  t.equal(after?.key, shop.predicate(alice({ session_access: ['s2'] }), { item: 'a' })?.key)
})

t.test('rooms may be joined where a pattern fits and the token allows it', async (t) => {
  const check = (room: string, claims: Partial<Claims> = {}) => {
    try {
      shop.checkRoom(alice(claims), room)
      return 'joined'
    } catch (error) {
      return (error as { code: string }).code
    }
  }
  t.equal(check('store:7', { project_access: ['7'] }), 'joined')
  t.equal(check('store:8', { project_access: ['7'] }), 'ROOM_ACCESS_DENIED')
  t.equal(check('store:7'), 'ROOM_ACCESS_DENIED')
  t.equal(check('store:7', { roles: ['admin'] }), 'joined')
  t.equal(check('lobby'), 'joined')
  t.equal(check('a.b:x'), 'joined')
  for (const room of [
    '',
    'nothing',
    'order_seen',
    'store:',
    'store',
    'xstore:7',
    'store:7:8',
    'store:7\n',
    'store:*',
    'store:a/b',
    'lobby2',
    'axb:x',
    `store:${'x'.repeat(129)}`,
  ]) {
    t.equal(check(room, { project_access: ['*', '7'] }), 'INVALID_ROOM', JSON.stringify(room.slice(0, 20)))
  }
})

t.test('a room that only a record lets one into was open to everybody', async (t) => {
  const vault = compile({ ...SHOP, rooms: { 'vault:{id}': { record: { bucket: 'vaults', allows: () => true } } } })
  t.throws(() => vault.checkRoom(alice(), 'vault:7'), { code: 'ROOM_ACCESS_DENIED' })
  t.doesNotThrow(() => vault.checkRoom(alice({ roles: ['admin'] }), 'vault:7'))
})

t.test('a newer event replaces an older one only for those who get to see both', async (t) => {
  const key = (data: Record<string, unknown>, more = {}, type = 'price') => route(type, data, more).latestKey
  t.type(key({ item: 'a' }), 'string')
  t.equal(key({ item: 'a', value: 1 }), key({ item: 'a', value: 2 }))
  t.equal(key({}), undefined, 'no key: every event counts')
  t.equal(route('order_seen', { item: 'a' }).latestKey, undefined, 'not of the latest class')
  const different = [
    key({ item: 'a' }),
    key({ item: 'b' }),
    key({ item: 'a', library: 'l1' }),
    key({ item: 'a', library: 'l2' }),
    key({ item: 'a', tags: ['x'] }),
    key({ item: 'a' }, { user_id: 'bob' }),
    key({ item: 'a' }, { rooms: ['lobby'] }),
    key({ item: 'a', store: 7 }, {}, 'stock_level'),
    key({ item: 'a', store: 8 }, {}, 'stock_level'),
  ]
  t.equal(new Set(different).size, different.length)
})

t.test('schemas say in lines what data lacks, and let more through', async (t) => {
  const check = shop.eventChecks.get('typed')
  t.same(check?.({ n: 1, more: true }), [])
  t.match(check?.({}), [/n/])
  t.match(check?.({ n: 'x', name: 5 }), [/^\/n: /, /^\/name: /])
  t.same(shop.eventChecks.get('price')?.({ anything: 1 }), [], 'without a schema anything fits')
})
