import type { Claims } from './claims.ts'

// biome-ignore lint/suspicious/noExplicitAny: producers decide what data holds; `event()` gives it a type.
export type AnyData = any

/** A command as it arrived, checked against its schema. */
export interface Command<D = AnyData> {
  readonly type: string
  readonly data: D
  /** Raw WebSocket: returned in the answer. */
  readonly id?: string | number
  /** Socket.IO: all arguments of the event; `data` is the first. */
  readonly args?: readonly unknown[]
  /** Socket.IO: answers the client's acknowledgement callback. */
  readonly acknowledge?: (values: readonly unknown[]) => void
}

export interface Failure {
  readonly code: string
  readonly message: string
  readonly details?: unknown
}

/** The sender of a command, as contracts see it. */
export interface Sender {
  readonly userId: string
  readonly claims: Claims
  /** Socket.IO: the namespace, and the value of its parameter. */
  readonly namespace: string
  readonly parameter: string
  /** The rooms that it is in; the most recently joined is last. */
  readonly rooms: readonly string[]
}
