import type { Static, TSchema } from 'typebox'
import type { Message } from '../hub/wire.ts'
import type { EventEnvelope } from '../log/event.ts'
import type { Action } from './action.ts'
import type { Claims, User } from './claims.ts'
import type { AnyData, Command, Failure } from './command.ts'
import type { Sender } from './command.ts'
import type { Lock } from './lock.ts'
import type { LastValues } from './last-values.ts'
import type { ContractPort } from './ports.ts'

export type { Message }

/**
 * A contract: everything that Roomcast knows about one application. It is data and pure functions, compiled once at
 * start-up; gateways, hub and log know no application. See docs/contracts.md.
 */
export interface Contract {
  /** The application's token in NATS subjects: `events.<app>.<type>`, `commands.<app>.<command>`. `[a-z0-9-]`. */
  readonly app: string
  /** One line for people. */
  readonly about?: string
  /** The endpoints' port, as an option of its own. Default: `PORT`. */
  readonly port?: ContractPort
  /** Where clients connect. */
  readonly endpoints: readonly (WebSocketEndpoint | SocketIoEndpoint)[]
  /** What producers publish, by event type. Any other event is counted and reaches no room. */
  readonly events: Readonly<Record<string, EventContract>>
  /**
   * Further NATS subjects that carry its events, besides `events.<app>.<type>`: patterns such as `orders.>` or
   * `github.pr.*`. The first that matches counts.
   */
  readonly subjects?: Readonly<Record<string, SubjectContract>>
  /** Names that stand for several events in `subscribe`; `sync_*` means every type that starts with `sync_`. */
  readonly groups?: Readonly<Record<string, readonly string[]>>
  /** Rooms that clients may join by name: each is a pattern such as `store:{id}`, with who may join. */
  readonly rooms?: Readonly<Record<string, RoomContract>>
  /** Filters of `subscribe`. They hold back an event only if it carries the field with other values. */
  readonly filters?: Readonly<Record<string, FilterContract>>
  /** The token's claims that the contract reads, besides `roles` and `permissions`. Each is a list of texts. */
  readonly claims?: readonly string[]
  /** What the token's claims allow, enforced on every event. */
  readonly access?: readonly AccessContract[]
  /** What clients may send, besides the built-in commands of their endpoint's protocol. */
  readonly commands?: Readonly<Record<string, CommandContract>>
  /** What services may ask a client, by event name; the client's acknowledgement is the answer. Socket.IO only. */
  readonly clientRequests?: Readonly<Record<string, ClientRequestContract>>
  readonly limits?: LimitsContract
  /** The session in which a client's commands act; services get it as `session_id`. */
  readonly session?: (sender: Sender) => string | undefined
  /** An event to store for each command before it is carried out. The command does not wait for it. */
  readonly audit?: (command: Command, sender: Sender) => Message | undefined
  /** The regular expression for ids in `rooms` patterns. Default: `[A-Za-z0-9_-]{1,128}`. */
  readonly idPattern?: string
  /**
   * What the others in a presence channel get when a user joins it, or when a user's last connection leaves it. A
   * presence channel is one that `joinPresence` names, or a room with `presence`.
   */
  readonly presence?: {
    readonly joined: (user: User, channel: string) => Message
    readonly left: (user: User, channel: string) => Message
    /** The room that gets it. Default: a room of everyone in the channel. */
    readonly room?: (channel: string) => string
  }
  /** The events to store when `lock` or `unlock` changes a lock, or when a lease expires. */
  readonly locks?: { readonly locked: (lock: Lock) => Message; readonly unlocked: (lock: Lock) => Message }
  /** Sends the broker's own figures to a room at an interval. */
  readonly figures?: {
    readonly room: string
    readonly everyMs: number
    readonly message: (figures: SystemFigures, lastValues: LastValues) => Message
  }
}

/** The broker's own figures (`figures`), of this process and its machine. */
export interface SystemFigures {
  readonly cpuPercent: number
  readonly memoryPercent: number
  readonly diskPercent: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly connections: number
  /** Presence channels with at least one user, on all nodes. */
  readonly channels: number
  /** Errors sent to clients per command received, since the previous figures. */
  readonly errorRate: number
  readonly uptimeS: number
}

/** A raw WebSocket endpoint, in the protocol of docs/protocol.md. */
export interface WebSocketEndpoint {
  readonly transport: 'websocket'
  /** Path of the URL, for example `/ws`. */
  readonly path: string
  /** `features` of `connection_established`. Default: the names of `groups`, else of `events`. */
  readonly features?: readonly string[]
}

/** A Socket.IO namespace. Clients connect to the port's `/socket.io/`, by WebSocket or long-polling. */
export interface SocketIoEndpoint {
  readonly transport: 'socketio'
  /** For example `/ws`, or with a parameter: `/project/{name}`. */
  readonly namespace: string
  /** Clients need no token here. Default: they need one, in `auth.token` or `?token=`. */
  readonly anonymous?: boolean
  /** Whether this user may connect. @param parameter the value of the namespace's parameter */
  readonly allows?: (claims: Claims, parameter: string) => boolean
  /** The rooms that a client joins by connecting. */
  readonly joins?: (claims: Claims, parameter: string) => readonly string[]
  /** The arguments of an event's handlers. Default: `[data]`. The event's position is added as the last argument. */
  readonly handlerArguments?: (event: AnyEvent, position: string) => readonly unknown[]
  /** The first message that a client gets. */
  readonly welcome?: (client: ConnectedClient) => Message
  /** The `data` of the `connect_error` that a refused client gets. */
  readonly refusal?: (failure: Failure) => unknown
  /** Its `message`. Default: the failure's own. */
  readonly refusalMessage?: (failure: Failure) => string
  /**
   * What a client gets when its token has expired, before it is disconnected. Default: `connection_error` with
   * `refusal`.
   */
  readonly expired?: (failure: Failure) => Message
  /** Lets clients connect without a token and authenticate by a command; until then only `anonymous` commands work. */
  readonly lateAuthentication?: LateAuthentication
  /** What a client gets for a failed command: the values of its acknowledgement, or a message. */
  readonly failed?: (
    failure: Failure,
    command: Command,
  ) => { readonly acknowledgement?: readonly unknown[]; readonly message?: Message }
}

export interface LateAuthentication {
  /** The command that authenticates. Sent again, it renews the identity of the same user. */
  readonly command: string
  /**
   * Picks the credential from its data, and optionally the user to whom it must belong. Default: `{token, user_id?}`.
   */
  readonly credential?: (data: AnyData) => { readonly credential: unknown; readonly userId?: unknown }
  /**
   * The credential may also be the id of a login session: a key in the bucket `roomcast_sessions` whose value is the
   * claims.
   */
  readonly sessions?: true
  /** A client that has not authenticated within this time is disconnected. */
  readonly timeoutMs: number
  readonly succeeded: (claims: Claims) => Message
  readonly failed: (failure: Failure) => Message
  /**
   * For a command, other than `anonymous` ones, that arrives before authentication and is not followed by it at once;
   * also if the user may not connect here.
   */
  readonly refused: (failure: Failure, command?: Command) => Message
  /**
   * Sent before the client is disconnected because it is too late or its identity has ended. Default: nothing if it is
   * too late, otherwise `refused`.
   */
  readonly ended?: (failure: Failure) => Message
  /** For a change of the login session's claims in the store. */
  readonly changed?: (claims: Claims) => Message
}

export interface ConnectedClient {
  readonly claims: Claims
  readonly connectionId: string
  /** What the client sent with CONNECT. */
  readonly auth: Readonly<Record<string, unknown>>
}

export type AnyEvent<D = AnyData> = Omit<EventEnvelope, 'data'> & { readonly data: D }

export interface EventContract<D = AnyData> {
  readonly about?: string
  /**
   * What `data` must contain at least. Used for types, documentation and warnings to producers; the data path does not
   * check it.
   */
  readonly schema?: TSchema
  /** The rooms that the event goes to. Default: the clients that subscribed to the event's type. */
  readonly rooms?: (event: AnyEvent<D>) => readonly string[]
  /** `rooms` reads the producer's `rooms` itself; otherwise the producer's `rooms` override it. */
  readonly readsRooms?: boolean
  /** What the event is about, for `LastValues.latestTime`. */
  readonly entity?: (event: AnyEvent<D>) => string | undefined
  /** The key under which the latest event is kept, for `LastValues`. */
  readonly lastValue?: (event: AnyEvent<D>) => string | undefined
  /**
   * The conversation that the event belongs to. An event with a conversation and without a `user_id` goes only to the
   * users who take part in it (`participates` of the `forward` action).
   */
  readonly conversation?: (data: D) => string | undefined
  /**
   * Marks the event as *latest by key*: while a client is catching up, the broker may skip an event if a newer one of
   * the same type and key follows. Live delivery is not affected. Without it, no event is skipped.
   */
  readonly latest?: (data: D) => string | undefined
}

export interface SubjectContract {
  readonly about?: string
  /**
   * The type of its events, whatever the body says; `$1` is what the first wildcard stands for: `pr_$1`. Default: what
   * the body says, or else what those wildcards stand for that `fields` does not use.
   */
  readonly type?: string
  /**
   * Fields of `data`: `$1` is what the first wildcard stands for, `$subject` an attribute of a CloudEvent. They come
   * before what the body says.
   */
  readonly fields?: Readonly<Record<string, string>>
  /** `flat`: the whole body is `data`. Default: `envelope`, as on `events.<app>.<type>`. */
  readonly body?: 'envelope' | 'flat' | 'cloudevents'
}

export interface RoomContract {
  /** The users in it see who joins and leaves (`presence`). */
  readonly presence?: true
  /** @param id the part of the name that matched the pattern's braces */
  readonly allows?: (claims: Claims, id: string) => boolean
  /** Who else may join, according to a service's record of the id in a key-value bucket. `join` reads it. */
  readonly record?: {
    readonly bucket: string
    /** @param record the key's value, read as JSON; undefined if it is not JSON */
    readonly allows: (claims: Claims, record: AnyData) => boolean
  }
  /**
   * Members of this room get every event of the application in this form, whatever rooms the event goes to; `undefined`
   * leaves an event out. Each member is fed from the log separately, so use it for a few clients, not thousands.
   */
  readonly projection?: (event: AnyEvent) => Message | undefined
}

export interface FilterContract {
  readonly about?: string
  /** The event's values for this filter. `undefined`: the event carries none and passes. */
  readonly read: (data: AnyData) => unknown
}

export interface AccessContract {
  /** One of the contract's `claims`: a list of allowed values; `*` allows all. */
  readonly claim: string
  /** What a token without the claim allows. */
  readonly absent: 'all' | 'none'
  /** The event's values, which the claim must name. `undefined`: the event is for everyone. */
  readonly read: (data: AnyData) => unknown
}

export interface CommandContract<D = AnyData> {
  readonly about?: string
  readonly schema?: TSchema
  readonly action: Action<D>
  /** Socket.IO: the namespaces that have the command. Default: all of the contract's. */
  readonly namespaces?: readonly string[]
  /** A client may send it before it has authenticated. */
  readonly anonymous?: true
  /** Whether a user may send it; admins always may. Default: everyone. */
  readonly allows?: (claims: Claims) => boolean
  /** It acts in the contract's `session` and is refused without one. */
  readonly inSession?: true
}

export interface ClientRequestContract {
  readonly about?: string
  /** What `data` must contain. */
  readonly schema?: TSchema
}

export interface LimitsContract {
  /** Commands a connection may send in a minute. Default: DEFAULT_COMMANDS_PER_MINUTE. */
  readonly commandsPerMinute?: number
  /** Send `rate_limit_warning` when this many commands are left. Default: no warning. */
  readonly warnAt?: number
  /** Punishes floods: commands past these limits are refused, and the last strike bans the user. */
  readonly burst?: {
    readonly perSecond: number
    readonly perMinute: number
    readonly strikes: number
    readonly banMs: number
    readonly connectionsPerUser: number
    readonly refused: (retryAfterS: number) => Message
  }
}

/**
 * Declares a contract and returns it unchanged: the call gives editors the types, and its name says what the file is.
 * The broker checks the contract at start-up and names the fields that are wrong.
 */
export function defineContract(contract: Contract): Contract {
  return contract
}

/** Declares an event whose `data` has the type of `schema`. */
export function event<S extends TSchema>(
  schema: S,
  rest: Omit<EventContract<Static<S>>, 'schema'> = {},
): EventContract {
  return { schema, ...rest }
}

/** Declares a command whose `data` has the type of `schema`. */
export function command<S extends TSchema>(schema: S, action: Action<Static<S>>): CommandContract {
  return { schema, action }
}
