import type { TSchema } from 'typebox'
import type { Message } from '../hub/wire.ts'
import type { SegmentSummary } from '../log/segments.ts'
import type { Claims } from './claims.ts'
import type { AnyData, Command, Failure } from './command.ts'
import type { Sender } from './command.ts'
import type { Lock } from './lock.ts'
import type { LastValues } from './last-values.ts'

/** What a command does, in `src/commands/`: most actions have a file of their own, some share one. */
export type Action<D = AnyData> =
  | { readonly use: 'subscribe' | 'unsubscribe' | 'authenticate' }
  | EchoAction<D>
  | RoomAction<D>
  | PresenceAction<D>
  | SelectAction<D>
  | StoreAction<D>
  | BroadcastAction<D>
  | ForwardAction<D>
  // biome-ignore lint/suspicious/noExplicitAny: only an action's own functions know the type of its segment summaries.
  | QueryAction<D, any>
  | IdentityAction
  | LockAction<D>
  | BatchAction<D>

export interface EchoAction<D = AnyData> {
  /** The broker answers the command itself. */
  readonly use: 'echo'
  readonly reply?: (command: Command<D>) => Message
  /** The values of the acknowledgement. */
  readonly acknowledgement?: (command: Command<D>) => readonly unknown[]
}

export interface RoomAction<D = AnyData> {
  /** Joins or leaves rooms of the contract's `rooms`, which also define who may join. */
  readonly use: 'join' | 'leave'
  readonly room?: (data: D) => unknown
  /** Several rooms, instead of `room`; `reply` is sent for each. */
  readonly rooms?: (sender: Sender) => readonly string[]
  readonly reply?: (room: string, command: Command<D>) => Message
  readonly acknowledgement?: (room: string, command: Command<D>) => readonly unknown[]
}

export interface PresenceAction<D = AnyData> {
  /** Joins or leaves a presence channel: presence across all nodes, and the channel's events. */
  readonly use: 'joinPresence' | 'leavePresence'
  readonly channel: (data: D, sender: Sender) => string
  readonly allows: (claims: Claims, channel: string) => boolean
  /** The room in which a channel's users get one event type. `undefined`: they do not get it through the channel. */
  readonly room: (channel: string, type: string, sender: Sender) => string | undefined
  /** The event types that a client gets by joining. */
  readonly events: readonly string[]
  readonly reply?: (channel: string, users: number, lastValues: LastValues) => Message
}

export interface SelectAction<D = AnyData> {
  /**
   * Selects the event types that a client gets from one presence channel, or from all. Replaces the previous selection.
   */
  readonly use: 'select'
  readonly events: (data: D) => readonly string[]
  /** `undefined`: all channels. */
  readonly channel: (data: D) => string | undefined
  readonly room: PresenceAction['room']
}

export interface StoreAction<D = AnyData> {
  /** Stores an event; everyone in its rooms gets it, including the sender. */
  readonly use: 'store'
  readonly within?: Within<D>
  /** The event to store. Its rooms must be rooms that the sender is in or may join. */
  readonly event: (command: Command<D>, sender: Sender, id: string) => StoredEvent
  /** Lifts that restriction on rooms. The contract must then make sure that client data cannot choose them. */
  readonly elsewhere?: true
  /**
   * A command to send to a service along with the event, if any. Without `failed`, its failure is answered like any
   * other.
   */
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
  /** Override the rooms that the event's contract derives. */
  readonly rooms?: readonly string[]
  readonly source?: string
}

/** Names a room that the sender must be allowed to join. `undefined`: none. */
export type Within<D = AnyData> = (data: D) => string | undefined

export interface BroadcastAction<D = AnyData> {
  /** Sends a message to everyone else in one or several rooms, once to each client. Not stored. */
  readonly use: 'broadcast'
  readonly within?: Within<D>
  /** The rooms; the sender must be in them or allowed to join. */
  readonly room: (data: D, sender: Sender) => string | readonly string[]
  readonly elsewhere?: true
  readonly message: (data: D, sender: Sender) => Message
}

export interface ForwardAction<D = AnyData> {
  /** Sends the command to its service: a NATS request on `commands.<app>.<type>`. */
  readonly use: 'forward'
  /**
   * The conversation in which the sender takes part once the service has accepted the command (for 24 h, on all nodes).
   */
  readonly participates?: (data: D) => string | undefined
  /** What the sender gets if there is no service, no answer, or a refusal. Default: the same as for any failure. */
  readonly failed?: (failure: Failure, command: Command<D>, tookMs: number) => Message
  /** The schema for the `data` of a reply; anything else is BAD_REPLY. */
  readonly replies?: TSchema
  /** What the sender gets from a reply `{ok: true, data}`. Default: nothing; the service publishes events. */
  readonly succeeded?: (data: unknown, command: Command<D>) => Message
}

export interface QueryAction<D = AnyData, P = AnyData> {
  /** Answers from the stored log, as far back as LOOK_BACK_EVENTS. */
  readonly use: 'query'
  /** The event types that it reads. Default: all of the application. */
  readonly events?: readonly string[]
  /** How a segment of the log is summarised. Segment summaries stay in memory, and all queries share them. */
  readonly summary: SegmentSummary<P>
  /** Starts a query: what one command makes of the segment summaries. */
  readonly query: (command: Command<D>, sender: Sender) => LogQuery<P>
}

export interface LogQuery<P> {
  /** Called with each segment summary, newest first. @returns false once it has seen enough */
  readonly look: (segment: P) => boolean
  /** @param complete false: the log goes further back than the broker looks */
  readonly reply: (complete: boolean) => Message
}

export interface IdentityAction {
  /**
   * With `lateAuthentication`: `check` answers with the identity, `refresh` reads it again, and `logout` ends it: the
   * client leaves all rooms and may authenticate again.
   */
  readonly use: 'check' | 'refresh' | 'logout'
  readonly reply: (claims: Claims) => Message
}

export interface LockAction<D = AnyData> {
  /**
   * Locks or unlocks a resource on all nodes, by compare-and-set in the key-value store. Users lose their locks 10 s
   * after their last connection ends. Each change is stored as an event of the contract's `locks`.
   */
  readonly use: 'lock' | 'unlock'
  readonly within?: Within<D>
  /** Identifies the resource: equal members in the same order mean the same resource. */
  readonly resource: (data: D) => Readonly<Record<string, unknown>>
  /** Default: exclusive. */
  readonly mode?: (data: D) => Lock['mode'] | undefined
}

export interface BatchAction<D = AnyData> {
  /** Carries out several commands one after another, each as if it had come alone. */
  readonly use: 'batch'
  readonly commands: (data: D) => readonly { readonly type: string; readonly data: unknown }[]
}
