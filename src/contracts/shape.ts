import type { DigestOf } from '../log/digest.ts'
import {
  type AccessContract,
  CLIENT_PORTS,
  type CommandContract,
  type Contract,
  type EventContract,
  type FilterContract,
  type LateAuthentication,
  type LimitsContract,
  type QuestionContract,
  type RoomContract,
  type SocketIoEndpoint,
  type WebSocketEndpoint,
} from './contract.ts'
import type { BatchEffect, EchoEffect, Effect, ForwardEffect, IdentityEffect, LockEffect, PlaceEffect, RecallEffect, RoomEffect, SayEffect, SelectEffect, StoreEffect } from './effect.ts'

/** What stands at one place of a contract. */
export type Kind =
  | { readonly is: 'function' | 'text' | 'flag' | 'true' | 'schema' }
  | { readonly is: 'number'; readonly min: number; readonly max: number }
  | { readonly is: 'word'; readonly of: readonly string[] }
  | { readonly is: 'list' | 'map'; readonly of: Kind }
  | { readonly is: 'record'; readonly fields: Fields }
  /** One of several records; the field `by` says which. */
  | { readonly is: 'variant'; readonly by: string; readonly of: ReadonlyMap<string, Fields> }

export type Fields = Readonly<Record<string, Kind & { readonly needed?: true }>>

/** A row for each key of the type, no other, and `needed` where the type wants it: TypeScript keeps the table in step. */
type FieldsOf<T> = { readonly [K in keyof Required<T>]: Record<never, never> extends Pick<T, K> ? Kind & { readonly needed?: never } : Kind & { readonly needed: true } }

const COUNT_MAX = 1_000_000_000
const DAY_MS = 86_400_000

const call = { is: 'function' } as const
const text = { is: 'text' } as const
const flag = { is: 'flag' } as const
const yes = { is: 'true' } as const
const schema = { is: 'schema' } as const
const count = (min: number, max = COUNT_MAX) => ({ is: 'number', min, max }) as const
const word = (...of: readonly string[]) => ({ is: 'word', of }) as const
const list = (of: Kind) => ({ is: 'list', of }) as const
const map = (of: Kind) => ({ is: 'map', of }) as const
const record = (fields: Fields) => ({ is: 'record', fields }) as const
const needed = <K extends Kind>(kind: K): K & { readonly needed: true } => ({ ...kind, needed: true })

const LATE_AUTHENTICATION = {
  command: needed(text),
  credential: call,
  sessions: yes,
  timeoutMs: needed(count(1, DAY_MS)),
  succeeded: needed(call),
  failed: needed(call),
  refused: needed(call),
  ended: call,
  changed: call,
} satisfies FieldsOf<LateAuthentication>

const WEB_SOCKET = { transport: needed(text), path: needed(text), features: list(text) } satisfies FieldsOf<WebSocketEndpoint>

const SOCKET_IO = {
  transport: needed(text),
  namespace: needed(text),
  anonymous: flag,
  allows: call,
  joins: call,
  handlerArguments: call,
  welcome: call,
  refusal: call,
  refusalMessage: call,
  expired: call,
  lateAuthentication: record(LATE_AUTHENTICATION),
  failed: call,
} satisfies FieldsOf<SocketIoEndpoint>

const EVENT = { about: text, schema, rooms: call, readsRooms: flag, subject: call, remember: call, conversation: call, latest: call } satisfies FieldsOf<EventContract>

const ROOM = {
  presence: yes,
  allows: call,
  record: record({ bucket: needed(text), allows: needed(call) } satisfies FieldsOf<NonNullable<RoomContract['record']>>),
  shows: call,
} satisfies FieldsOf<RoomContract>

const FILTER = { about: text, of: needed(call) } satisfies FieldsOf<FilterContract>
const ACCESS = {
  claim: needed(word('project_access', 'library_access', 'agent_access', 'session_access')),
  absent: needed(word('all', 'none')),
  of: needed(call),
} satisfies FieldsOf<AccessContract>

const use = needed(text)
const NOTHING_MORE = { use }
const ECHO = { use, reply: call, acknowledgement: call } satisfies FieldsOf<EchoEffect>
const JOIN = { use, room: call, rooms: call, reply: call, acknowledgement: call } satisfies FieldsOf<RoomEffect>
const PLACE = { use, place: needed(call), allows: needed(call), room: needed(call), events: needed(list(text)), reply: call } satisfies FieldsOf<PlaceEffect>
const SELECT = { use, events: needed(call), place: needed(call), room: needed(call) } satisfies FieldsOf<SelectEffect>
const STORE = { use, within: call, event: needed(call), forward: call } satisfies FieldsOf<StoreEffect>
const SAY = { use, within: call, room: needed(call), message: needed(call) } satisfies FieldsOf<SayEffect>
const FORWARD = { use, participates: call, failed: call, replies: schema, succeeded: call } satisfies FieldsOf<ForwardEffect>
const RECALL = {
  use,
  events: list(text),
  digest: needed(record({ make: needed(call), add: needed(call), span: count(1, 1_000_000) } satisfies FieldsOf<DigestOf<unknown>>)),
  answer: needed(call),
} satisfies FieldsOf<RecallEffect>
const IDENTITY = { use, reply: needed(call) } satisfies FieldsOf<IdentityEffect>
const LOCK = { use, within: call, resource: needed(call), mode: call } satisfies FieldsOf<LockEffect>
const BATCH = { use, commands: needed(call) } satisfies FieldsOf<BatchEffect>

const EFFECTS = {
  subscribe: NOTHING_MORE,
  unsubscribe: NOTHING_MORE,
  authenticate: NOTHING_MORE,
  echo: ECHO,
  join: JOIN,
  leave: JOIN,
  enter: PLACE,
  exit: PLACE,
  select: SELECT,
  store: STORE,
  say: SAY,
  forward: FORWARD,
  recall: RECALL,
  check: IDENTITY,
  refresh: IDENTITY,
  logout: IDENTITY,
  lock: LOCK,
  unlock: LOCK,
  batch: BATCH,
} satisfies Record<Effect['use'], Fields>

const COMMAND = {
  about: text,
  schema,
  effect: needed({ is: 'variant', by: 'use', of: new Map<string, Fields>(Object.entries(EFFECTS)) } as const),
  namespaces: list(text),
  anonymous: yes,
  allows: call,
  inSession: yes,
} satisfies FieldsOf<CommandContract>

const BURST = {
  perSecond: needed(count(1)),
  perMinute: needed(count(1)),
  strikes: needed(count(1)),
  banMs: needed(count(0, 365 * DAY_MS)),
  connectionsPerUser: needed(count(1)),
  refused: needed(call),
} satisfies FieldsOf<NonNullable<LimitsContract['burst']>>

/** The shape of a contract: one table, from which `check.ts` walks. */
export const CONTRACT = {
  app: needed(text),
  about: text,
  port: word(...CLIENT_PORTS),
  endpoints: needed(list({ is: 'variant', by: 'transport', of: new Map<string, Fields>([['websocket', WEB_SOCKET], ['socketio', SOCKET_IO]]) })),
  events: needed(map(record(EVENT))),
  groups: map(list(text)),
  rooms: map(record(ROOM)),
  filters: map(record(FILTER)),
  access: list(record(ACCESS)),
  commands: map(record(COMMAND)),
  questions: map(record({ about: text, schema } satisfies FieldsOf<QuestionContract>)),
  limits: record({ commandsPerMinute: count(0), warnAt: count(0), burst: record(BURST) } satisfies FieldsOf<LimitsContract>),
  session: call,
  record: call,
  idPattern: text,
  presence: record({ joined: needed(call), left: needed(call), room: call } satisfies FieldsOf<NonNullable<Contract['presence']>>),
  locks: record({ locked: needed(call), unlocked: needed(call) } satisfies FieldsOf<NonNullable<Contract['locks']>>),
  figures: record({ room: needed(text), everyMs: needed(count(100, DAY_MS)), message: needed(call) } satisfies FieldsOf<NonNullable<Contract['figures']>>),
} satisfies FieldsOf<Contract>
