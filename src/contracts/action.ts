import type { TSchema } from 'typebox'
import type { Message } from '../hub/wire.ts'
import type { SegmentSummary } from '../log/segments.ts'
import type { Claims } from './claims.ts'
import type { AnyData, Command, Failure } from './command.ts'
import type { Sender } from './command.ts'
import type { Lock } from './lock.ts'
import type { LastValues } from './last-values.ts'

/** What a command does. Each is a file of its own in `src/commands/`. */
export type Action<D = AnyData> =
  | { readonly use: 'subscribe' | 'unsubscribe' | 'authenticate' }
  | EchoAction<D>
  | RoomAction<D>
  | PresenceAction<D>
  | SelectAction<D>
  | StoreAction<D>
  | BroadcastAction<D>
  | ForwardAction<D>
  // biome-ignore lint/suspicious/noExplicitAny: what a segment of the log comes down to is between an action's own functions.
  | QueryAction<D, any>
  | IdentityAction
  | LockAction<D>
  | BatchAction<D>

export interface EchoAction<D = AnyData> {
  /** Answers by itself. */
  readonly use: 'echo'
  readonly reply?: (command: Command<D>) => Message
  /** Values of the acknowledgement. */
  readonly acknowledgement?: (command: Command<D>) => readonly unknown[]
}

export interface RoomAction<D = AnyData> {
  /** Joins or leaves rooms of the contract's `rooms`, which also say who may. */
  readonly use: 'join' | 'leave'
  readonly room?: (data: D) => unknown
  /** Instead: all of these; each is answered. */
  readonly rooms?: (sender: Sender) => readonly string[]
  readonly reply?: (room: string, command: Command<D>) => Message
  readonly acknowledgement?: (room: string, command: Command<D>) => readonly unknown[]
}

export interface PresenceAction<D = AnyData> {
  /** Joins or leaves a presence channel: presence over all nodes, and the channel's events. */
  readonly use: 'joinPresence' | 'leavePresence'
  readonly channel: (data: D, sender: Sender) => string
  readonly allows: (claims: Claims, channel: string) => boolean
  /** The room of one event type in a channel. `undefined`: not had this way. */
  readonly room: (channel: string, type: string, sender: Sender) => string | undefined
  /** Event types that one gets by joining. */
  readonly events: readonly string[]
  readonly reply?: (channel: string, users: number, lastValues: LastValues) => Message
}

export interface SelectAction<D = AnyData> {
  /** Selects the event types that one gets of one presence channel, or of all. Replaces the selection of before. */
  readonly use: 'select'
  readonly events: (data: D) => readonly string[]
  /** `undefined`: all channels. */
  readonly channel: (data: D) => string | undefined
  readonly room: PresenceAction['room']
}

export interface StoreAction<D = AnyData> {
  /** Stores an event; everybody in its rooms gets it, the sender included. */
  readonly use: 'store'
  readonly within?: Within<D>
  /** Its rooms must be such as the sender is in, or may join. */
  readonly event: (command: Command<D>, sender: Sender, id: string) => StoredEvent
  /** Its rooms may be others as well: the contract answers for it that no client's data name them. */
  readonly elsewhere?: true
  /** A command for a service that goes with it, if any. Without `failed` its failure is answered as any other. */
  readonly forward?: (
    event: Message,
    command: Command<D>,
    sender: Sender,
  ) =>
    | {
        readonly type: string
        readonly data: unknown
        readonly failed?: (failure: Failure, tookMs: number) => Message | readonly Message[]
      }
    | undefined
}

/** An event that the broker stores. */
export interface StoredEvent extends Message {
  /** Override those that the event's contract derives. */
  readonly rooms?: readonly string[]
  readonly source?: string
}

/** A room that the sender must be allowed to join. `undefined`: none. */
export type Within<D = AnyData> = (data: D) => string | undefined

export interface BroadcastAction<D = AnyData> {
  /** Says something to the others in a room, or in several: to each once. Not stored. */
  readonly use: 'broadcast'
  readonly within?: Within<D>
  /** Rooms that the sender is in, or may join. */
  readonly room: (data: D, sender: Sender) => string | readonly string[]
  readonly elsewhere?: true
  readonly message: (data: D, sender: Sender) => Message
}

export interface ForwardAction<D = AnyData> {
  /** Sends the command to its service: a NATS request on `commands.<app>.<type>`. */
  readonly use: 'forward'
  /** The conversation that the sender takes part in once the service has accepted the command (24 h, on all nodes). */
  readonly participates?: (data: D) => string | undefined
  /** What the sender gets when there is no service, no answer, or a refusal. Default: as for any failure. */
  readonly failed?: (failure: Failure, command: Command<D>, tookMs: number) => Message
  /** What the `data` of a reply must be; anything else is BAD_REPLY. */
  readonly replies?: TSchema
  /** What the sender gets from a reply `{ok: true, data}`. Default: nothing; the service publishes events. */
  readonly succeeded?: (data: unknown, command: Command<D>) => Message
}

export interface QueryAction<D = AnyData, P = AnyData> {
  /** Answers from the stored log, however old it is, as far back as LOOK_BACK_EVENTS. */
  readonly use: 'query'
  /** Event types that it is about. Default: all of the application. */
  readonly events?: readonly string[]
  /** What a segment of the log comes down to: kept in memory, and shared by all who ask. */
  readonly summary: SegmentSummary<P>
  /** What one who asks makes of the segments. */
  readonly query: (command: Command<D>, sender: Sender) => LogQuery<P>
}

export interface LogQuery<P> {
  /** Looks at a segment: the newest first. @returns false where it has seen enough */
  readonly look: (segment: P) => boolean
  /** @param complete false: there is more, further back than the broker looks */
  readonly reply: (complete: boolean) => Message
}

export interface IdentityAction {
  /**
   * With `lateAuthentication`: says who one is; reads that anew; or ends it: out of all rooms, and free to authenticate
   * again.
   */
  readonly use: 'check' | 'refresh' | 'logout'
  readonly reply: (claims: Claims) => Message
}

export interface LockAction<D = AnyData> {
  /**
   * Takes a resource, or gives it back: compare-and-set in the key-value store, over all nodes. The user who holds it
   * loses it 10 s after their last connection. What it changes is stored as the events of the contract's `locks`.
   */
  readonly use: 'lock' | 'unlock'
  readonly within?: Within<D>
  /** Names it; the same members in the same order are the same resource. */
  readonly resource: (data: D) => Readonly<Record<string, unknown>>
  /** Default: exclusive. */
  readonly mode?: (data: D) => Lock['mode'] | undefined
}

export interface BatchAction<D = AnyData> {
  /** Carries out several commands, one after another, each as if it had come alone. */
  readonly use: 'batch'
  readonly commands: (data: D) => readonly { readonly type: string; readonly data: unknown }[]
}
