import type { Static, TSchema } from 'typebox'
import type { Message } from '../hub/wire.ts'
import type { EventEnvelope } from '../log/event.ts'
import type { Action } from './action.ts'
import type { Claims, User } from './claims.ts'
import type { AnyData, Command, Failure } from './command.ts'
import type { Sender } from './command.ts'
import type { Lock } from './lock.ts'
import type { LastValues } from './last-values.ts'

export type { Message }

/**
 * A contract: all that Roomcast knows of one application. AnyData and pure functions, compiled once at start-up;
 * gateways, hub and log know no application. See docs/contracts.md.
 */
export interface Contract {
  /** The application's token in NATS subjects: `events.<app>.<type>`, `commands.<app>.<command>`. `[a-z0-9-]`. */
  readonly app: string
  /** One line for people. */
  readonly about?: string
  /** The option that names the endpoints' port. Default: `PORT`. */
  readonly port?: ClientPortName
  /** Where clients connect. */
  readonly endpoints: readonly (WebSocketEndpoint | SocketIoEndpoint)[]
  /** What producers publish, by event type. Anything else is counted and kept out of rooms. */
  readonly events: Readonly<Record<string, EventContract>>
  /** Names that stand for several events in `subscribe`; `sync_*` means every type that starts so. */
  readonly groups?: Readonly<Record<string, readonly string[]>>
  /** Rooms that clients may join by name: a pattern such as `store:{id}` and who may join. */
  readonly rooms?: Readonly<Record<string, RoomContract>>
  /** Filters of `subscribe`. An event is refused only when it carries the field with other values. */
  readonly filters?: Readonly<Record<string, FilterContract>>
  /** What the token's claims allow, enforced on every event. */
  readonly access?: readonly AccessContract[]
  /** What clients may send, beside what their endpoint's protocol has built in. */
  readonly commands?: Readonly<Record<string, CommandContract>>
  /** What services may ask a client, by event name; its acknowledgement is the answer. Socket.IO alone. */
  readonly clientRequests?: Readonly<Record<string, ClientRequestContract>>
  readonly limits?: LimitsContract
  /** The session that a client's commands act in: services get it as `session_id`. */
  readonly session?: (sender: Sender) => string | undefined
  /** An event that is stored of each command before it is carried out. Nobody waits for it. */
  readonly audit?: (command: Command, sender: Sender) => Message | undefined
  /** What ids look like in `rooms` patterns, as a regular expression. Default: `[A-Za-z0-9_-]{1,128}`. */
  readonly idPattern?: string
  /**
   * What the others in a presence channel hear when a user joins it, or leaves it with their last connection. A channel
   * is what `joinPresence` says, or a room with `presence`.
   */
  readonly presence?: {
    readonly joined: (user: User, channel: string) => Message
    readonly left: (user: User, channel: string) => Message
    /** The room that hears it. Default: one of those who are in the channel. */
    readonly room?: (channel: string) => string
  }
  /** Events that are stored when `lock` or `unlock` changes who holds what, or a lease runs out. */
  readonly locks?: { readonly locked: (lock: Lock) => Message; readonly unlocked: (lock: Lock) => Message }
  /** A room that hears the broker's own figures. */
  readonly figures?: {
    readonly room: string
    readonly everyMs: number
    readonly message: (figures: SystemFigures, lastValues: LastValues) => Message
  }
}

/** The ports that clients connect to, by option. */
export const CLIENT_PORTS = ['PORT', 'CODING_ASSISTANT_PORT', 'GEMINI_SESSIONS_PORT'] as const
export type ClientPortName = (typeof CLIENT_PORTS)[number]

/** The broker's own figures (`figures`), of this process and its machine. */
export interface SystemFigures {
  readonly cpuPercent: number
  readonly memoryPercent: number
  readonly diskPercent: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly connections: number
  /** Presence channels with anybody in them, on all nodes. */
  readonly channels: number
  /** Errors told to clients, per command received, since the figures of before. */
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
  /** Nobody needs a token here. Default: clients need one, in `auth.token` or `?token=`. */
  readonly anonymous?: boolean
  /** Whether this user may connect. @param parameter what stands in the namespace's braces */
  readonly allows?: (claims: Claims, parameter: string) => boolean
  /** Rooms that a client is in by connecting. */
  readonly joins?: (claims: Claims, parameter: string) => readonly string[]
  /** What handlers of an event get. Default: `[data]`. The event's position follows as the last argument. */
  readonly handlerArguments?: (event: AnyEvent, position: string) => readonly unknown[]
  /** What a client gets first. */
  readonly welcome?: (client: ConnectedClient) => Message
  /** `data` of the `connect_error` of a client that is refused. */
  readonly refusal?: (failure: Failure) => unknown
  /** Its `message`. Default: the failure's own. */
  readonly refusalMessage?: (failure: Failure) => string
  /**
   * What a client gets whose token has run out, before it is disconnected. Default: `connection_error` with `refusal`.
   */
  readonly expired?: (failure: Failure) => Message
  /** Lets clients connect without a token and authenticate by a command; nothing else works before. */
  readonly lateAuthentication?: LateAuthentication
  /** What a client gets for a command that failed: the values of its acknowledgement, or a message. */
  readonly failed?: (
    failure: Failure,
    command: Command,
  ) => { readonly acknowledgement?: readonly unknown[]; readonly message?: Message }
}

export interface LateAuthentication {
  /** The command; again, it renews the identity of the same user. */
  readonly command: string
  /** What of its data says who it is, and whose it must be. Default: `{token, user_id?}`. */
  readonly credential?: (data: AnyData) => { readonly credential: unknown; readonly userId?: unknown }
  /** The credential may be a session id too: a key in the bucket `roomcast_sessions`, whose value is the claims. */
  readonly sessions?: true
  /** A client that has not authenticated by then is disconnected. */
  readonly timeoutMs: number
  readonly succeeded: (claims: Claims) => Message
  readonly failed: (failure: Failure) => Message
  /**
   * For any other command (but `anonymous` ones) that no authentication followed at once, and where the user may not be
   * here.
   */
  readonly refused: (failure: Failure, command?: Command) => Message
  /**
   * Before it is disconnected: too late, or the identity is over. Default: nothing where too late, otherwise `refused`.
   */
  readonly ended?: (failure: Failure) => Message
  /** The session's claims changed in the store. */
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
  /** What `data` must hold at least. For types, documentation and warnings to producers; not walked per event. */
  readonly schema?: TSchema
  /** Rooms that the event goes to. Without it: to whoever subscribed to the event's type. */
  readonly rooms?: (event: AnyEvent<D>) => readonly string[]
  /** `rooms` reads the producer's `rooms` itself, instead of being overridden by them. */
  readonly readsRooms?: boolean
  /** What the event is about, for `LastValues.latestTime`. */
  readonly entity?: (event: AnyEvent<D>) => string | undefined
  /** The latest event of each such key is kept, for `LastValues`. */
  readonly lastValue?: (event: AnyEvent<D>) => string | undefined
  /**
   * The conversation that the event belongs to. An event that has one, and no `user_id`, goes to the users who
   * took part in it (`participates` of the `forward` action) alone.
   */
  readonly conversation?: (data: D) => string | undefined
  /**
   * Marks the event as *latest by key*: to a client that is catching up, an event may be skipped when a newer one of
   * the same type and key follows. Live delivery is untouched. Without it every event is delivered to everyone.
   */
  readonly latest?: (data: D) => string | undefined
}

export interface RoomContract {
  /** Those in it hear who comes and goes (`presence`). */
  readonly presence?: true
  /** @param id what stood in the pattern's braces */
  readonly allows?: (claims: Claims, id: string) => boolean
  /** Who may join as well: what a service has written of the id into a key-value bucket says so. `join` asks it. */
  readonly record?: {
    readonly bucket: string
    /** @param record the key's value, read as JSON; undefined where it is none */
    readonly allows: (claims: Claims, record: AnyData) => boolean
  }
  /**
   * Who is in this room sees every event of the application, whatever rooms it goes to, in this form; `undefined`: not
   * that one. Its members are fed from the log one by one: for a few, not for thousands.
   */
  readonly projection?: (event: AnyEvent) => Message | undefined
}

export interface FilterContract {
  readonly about?: string
  /** The event's values for this filter. `undefined`: it carries none, and passes. */
  readonly read: (data: AnyData) => unknown
}

export interface AccessContract {
  /** The token's claim: a list of allowed values, `*` for all. */
  readonly claim: 'project_access' | 'library_access' | 'agent_access' | 'session_access'
  /** What a token without the claim allows. */
  readonly absent: 'all' | 'none'
  /** The event's values that the claim must name. `undefined`: the event is for everyone. */
  readonly read: (data: AnyData) => unknown
}

export interface CommandContract<D = AnyData> {
  readonly about?: string
  readonly schema?: TSchema
  readonly action: Action<D>
  /** Socket.IO: the namespaces that it is known in. Default: all of the contract's. */
  readonly namespaces?: readonly string[]
  /** A client that has yet to authenticate may send it as well. */
  readonly anonymous?: true
  /** Who may send it; admins always. Default: everybody. */
  readonly allows?: (claims: Claims) => boolean
  /** It acts in the contract's `session`: without one it is refused. */
  readonly inSession?: true
}

export interface ClientRequestContract {
  readonly about?: string
  /** What `data` must hold. */
  readonly schema?: TSchema
}

export interface LimitsContract {
  /** Commands a connection may send in a minute. Default: no limit. */
  readonly commandsPerMinute?: number
  /** `rate_limit_warning` is sent when this many are left. Default: none is sent. */
  readonly warnAt?: number
  /** Punishes floods: past it each command is refused, and the last strike bans the user. */
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
 * Declares a contract. Returns it as it is: the call gives the editor its types, and the name says what the file is.
 * The broker checks it at start-up and says which line is wrong.
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
