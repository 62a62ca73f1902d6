import type { SegmentSummary } from '../log/segments.ts'
import type {
  AccessContract,
  CommandContract,
  Contract,
  EventContract,
  FilterContract,
  LateAuthentication,
  LimitsContract,
  ClientRequestContract,
  RoomContract,
  SubjectContract,
  SocketIoEndpoint,
  WebSocketEndpoint,
} from './contract.ts'
import type {
  BatchAction,
  EchoAction,
  Action,
  ForwardAction,
  IdentityAction,
  LockAction,
  PresenceAction,
  QueryAction,
  RoomAction,
  BroadcastAction,
  SelectAction,
  StoreAction,
} from './action.ts'
import type { ContractPort } from './ports.ts'
import * as returns from './results.ts'
import type { Result } from './results.ts'

/** The kind of value at one place of a contract. */
export type Kind =
  | FunctionKind
  | { readonly is: 'text' | 'flag' | 'true' | 'schema' }
  | { readonly is: 'number'; readonly min: number; readonly max: number }
  | { readonly is: 'word'; readonly of: readonly string[] }
  | { readonly is: 'list' | 'map'; readonly of: Kind }
  /** `wanted` says in a fault what the object looks like. */
  | { readonly is: 'object'; readonly fields: Fields; readonly wanted?: string }
  /** One of several objects; the field `by` says which. */
  | { readonly is: 'variant'; readonly by: string; readonly of: ReadonlyMap<string, Fields> }

/**
 * The outcome if a function throws or returns a wrong value. `refuse`: the command fails, with INTERNAL unless the
 * function threw a BrokerError. `leave out`: the event is a bad one. `no`: nothing is allowed. `no rooms`, `nothing`:
 * as if it had returned none. `say so`, `answer so`: the client gets the failure itself in the default form.
 */
export type OnFault = 'refuse' | 'leave out' | 'no' | 'no rooms' | 'nothing' | 'say so' | 'answer so'

export interface FunctionKind {
  readonly is: 'function'
  readonly result: Result
  readonly onFault: OnFault
  /** It is on the data path and has at most two arguments. */
  readonly hot?: true
  /** The functions within its result. */
  readonly parts?: Fields
}

export type Fields = Readonly<Record<string, Kind & { readonly needed?: true }>>

/**
 * Requires exactly one row for each key of the type, with `needed` if the key is required, so that TypeScript keeps the
 * table in step with the type.
 */
type FieldsOf<T> = {
  readonly [K in keyof Required<T>]: Record<never, never> extends Pick<T, K>
    ? Kind & { readonly needed?: never }
    : Kind & { readonly needed: true }
}

const COUNT_MAX = 1_000_000_000
const DAY_MS = 86_400_000

/** A function for commands and connections. */
const call = (result: Result, onFault: OnFault = 'refuse', parts?: Fields): FunctionKind => ({
  is: 'function',
  result,
  onFault,
  ...(parts ? { parts } : undefined),
})
/** A function on the data path. */
const hot = (result: Result, onFault: OnFault = 'leave out'): FunctionKind => ({
  is: 'function',
  result,
  onFault,
  hot: true,
})
const may = hot(returns.permission, 'no')
const text = { is: 'text' } as const
const flag = { is: 'flag' } as const
const yes = { is: 'true' } as const
const schema = { is: 'schema' } as const
const count = (min: number, max = COUNT_MAX) => ({ is: 'number', min, max }) as const
const word = (...of: readonly string[]) => ({ is: 'word', of }) as const
const list = (of: Kind) => ({ is: 'list', of }) as const
const map = (of: Kind) => ({ is: 'map', of }) as const
const object = (fields: Fields, wanted?: string) => ({ is: 'object', fields, wanted }) as const
const needed = <K extends Kind>(kind: K): K & { readonly needed: true } => ({ ...kind, needed: true })

const LATE_AUTHENTICATION = {
  command: needed(text),
  credential: call(returns.credential),
  sessions: yes,
  timeoutMs: needed(count(1, DAY_MS)),
  succeeded: needed(call(returns.plainMessage, 'say so')),
  failed: needed(call(returns.plainMessage, 'say so')),
  refused: needed(call(returns.plainMessage, 'say so')),
  ended: call(returns.plainMessage, 'say so'),
  changed: call(returns.plainMessage, 'nothing'),
} satisfies FieldsOf<LateAuthentication>

const WEB_SOCKET = {
  transport: needed(text),
  path: needed(text),
  features: list(text),
} satisfies FieldsOf<WebSocketEndpoint>

const SOCKET_IO = {
  transport: needed(text),
  namespace: needed(text),
  anonymous: flag,
  allows: may,
  joins: call(returns.texts, 'no rooms'),
  handlerArguments: hot(returns.values),
  welcome: call(returns.plainMessageOrNothing, 'nothing'),
  refusal: call(returns.json, 'nothing'),
  refusalMessage: call(returns.text, 'nothing'),
  expired: call(returns.plainMessage, 'nothing'),
  lateAuthentication: object(LATE_AUTHENTICATION),
  failed: call(returns.answer, 'answer so'),
} satisfies FieldsOf<SocketIoEndpoint>

const EVENT = {
  about: text,
  schema,
  rooms: hot(returns.texts),
  readsRooms: flag,
  entity: hot(returns.key),
  lastValue: hot(returns.key),
  // It decides who may get the event, so an event whose conversation is unclear is left out.
  conversation: hot(returns.id),
  latest: hot(returns.key),
} satisfies FieldsOf<EventContract>

const SUBJECT = {
  about: text,
  type: text,
  fields: map(text),
  body: word('envelope', 'flat', 'cloudevents'),
} satisfies FieldsOf<SubjectContract>

const ROOM = {
  presence: yes,
  allows: may,
  record: object({ bucket: needed(text), allows: needed(may) } satisfies FieldsOf<NonNullable<RoomContract['record']>>),
  projection: hot(returns.messageOrNothing),
} satisfies FieldsOf<RoomContract>

const FILTER = { about: text, read: needed(hot(returns.anything)) } satisfies FieldsOf<FilterContract>
const ACCESS = {
  claim: needed(text),
  absent: needed(word('all', 'none')),
  read: needed(hot(returns.anything)),
} satisfies FieldsOf<AccessContract>

const use = needed(text)
const NOTHING_MORE = { use }
const ECHO = { use, reply: call(returns.message), acknowledgement: call(returns.values) } satisfies FieldsOf<EchoAction>
const JOIN = {
  use,
  room: call(returns.anything),
  rooms: call(returns.texts),
  reply: call(returns.message),
  acknowledgement: call(returns.values),
} satisfies FieldsOf<RoomAction>
const PRESENCE = {
  use,
  channel: needed(call(returns.text)),
  allows: needed(may),
  room: needed(call(returns.textOrNothing)),
  events: needed(list(text)),
  reply: call(returns.message),
} satisfies FieldsOf<PresenceAction>
const SELECT = {
  use,
  events: needed(call(returns.texts)),
  channel: needed(call(returns.textOrNothing)),
  room: needed(call(returns.textOrNothing)),
} satisfies FieldsOf<SelectAction>
const STORE = {
  use,
  within: call(returns.textOrNothing),
  event: needed(call(returns.storedEvent)),
  elsewhere: yes,
  forward: call(returns.commandOrNothing, 'refuse', { failed: call(returns.messagesOrNothing, 'nothing') }),
} satisfies FieldsOf<StoreAction>
const BROADCAST = {
  use,
  within: call(returns.textOrNothing),
  room: needed(call(returns.textOrTexts)),
  elsewhere: yes,
  message: needed(call(returns.plainMessage)),
} satisfies FieldsOf<BroadcastAction>
const FORWARD = {
  use,
  participates: call(returns.textOrNothing),
  failed: call(returns.plainMessage, 'nothing'),
  replies: schema,
  succeeded: call(returns.message),
} satisfies FieldsOf<ForwardAction>
const QUERY = {
  use,
  events: list(text),
  summary: needed(
    object({
      make: needed(call(returns.anything)),
      add: needed(call(returns.bytes)),
      span: count(1, 1_000_000),
    } satisfies FieldsOf<SegmentSummary<unknown>>),
  ),
  query: needed(call(returns.logQuery, 'refuse', { look: call(returns.permission), reply: call(returns.message) })),
} satisfies FieldsOf<QueryAction>
const IDENTITY = { use, reply: needed(call(returns.message)) } satisfies FieldsOf<IdentityAction>
const LOCK = {
  use,
  within: call(returns.textOrNothing),
  resource: needed(call(returns.jsonObject)),
  mode: call(returns.lockMode),
} satisfies FieldsOf<LockAction>
const BATCH = { use, commands: needed(call(returns.commands)) } satisfies FieldsOf<BatchAction>

const ACTIONS = {
  subscribe: NOTHING_MORE,
  unsubscribe: NOTHING_MORE,
  authenticate: NOTHING_MORE,
  echo: ECHO,
  join: JOIN,
  leave: JOIN,
  joinPresence: PRESENCE,
  leavePresence: PRESENCE,
  select: SELECT,
  store: STORE,
  broadcast: BROADCAST,
  forward: FORWARD,
  query: QUERY,
  check: IDENTITY,
  refresh: IDENTITY,
  logout: IDENTITY,
  lock: LOCK,
  unlock: LOCK,
  batch: BATCH,
} satisfies Record<Action['use'], Fields>

const COMMAND = {
  about: text,
  schema,
  action: needed({ is: 'variant', by: 'use', of: new Map<string, Fields>(Object.entries(ACTIONS)) } as const),
  namespaces: list(text),
  anonymous: yes,
  allows: may,
  inSession: yes,
} satisfies FieldsOf<CommandContract>

const BURST = {
  perSecond: needed(count(1)),
  perMinute: needed(count(1)),
  strikes: needed(count(1)),
  banMs: needed(count(0, 365 * DAY_MS)),
  connectionsPerUser: needed(count(1)),
  refused: needed(call(returns.plainMessage, 'nothing')),
} satisfies FieldsOf<NonNullable<LimitsContract['burst']>>

/** The shape of a contract, in one table, which `check.ts` and `guard-contract.ts` walk. */
export const CONTRACT = {
  app: needed(text),
  about: text,
  port: object(
    { option: needed(text), default: needed(count(0, 65_535)) } satisfies FieldsOf<ContractPort>,
    "an object such as { option: 'SHOP_PORT', default: 3005 } (it is PORT where it is left out)",
  ),
  endpoints: needed(
    list({
      is: 'variant',
      by: 'transport',
      of: new Map<string, Fields>([
        ['websocket', WEB_SOCKET],
        ['socketio', SOCKET_IO],
      ]),
    }),
  ),
  events: needed(map(object(EVENT))),
  subjects: map(object(SUBJECT)),
  groups: map(list(text)),
  rooms: map(object(ROOM)),
  filters: map(object(FILTER)),
  claims: list(text),
  access: list(object(ACCESS)),
  commands: map(object(COMMAND)),
  clientRequests: map(object({ about: text, schema } satisfies FieldsOf<ClientRequestContract>)),
  limits: object({
    commandsPerMinute: count(0),
    warnAt: count(0),
    burst: object(BURST),
  } satisfies FieldsOf<LimitsContract>),
  session: call(returns.textOrNothing),
  audit: call(returns.storedEventOrNothing),
  idPattern: text,
  presence: object({
    joined: needed(call(returns.plainMessage)),
    left: needed(call(returns.plainMessage)),
    room: call(returns.text),
  } satisfies FieldsOf<NonNullable<Contract['presence']>>),
  locks: object({
    locked: needed(call(returns.storedEvent)),
    unlocked: needed(call(returns.storedEvent)),
  } satisfies FieldsOf<NonNullable<Contract['locks']>>),
  figures: object({
    room: needed(text),
    everyMs: needed(count(100, DAY_MS)),
    message: needed(call(returns.plainMessage)),
  } satisfies FieldsOf<NonNullable<Contract['figures']>>),
} satisfies FieldsOf<Contract>
