import type { WebSocket } from 'uWebSockets.js'
import type { Codec } from '../../codecs/codec.ts'
import type { Caller } from '../../commands/caller.ts'
import { missed } from '../../commands/since.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { Message } from '../../contracts/contract.ts'
import { BrokerError, ERRORS, type ErrorCode } from '../../errors.ts'
import type { Counted } from '../../guard/connections.ts'
import type { FailedAuthentications } from '../../guard/failed-authentications.ts'
import type { RateState } from '../../guard/rate-limit.ts'
import { reportFault } from '../../guarded.ts'
import { CLOSED, Subscriber, type SubscriberOwner } from '../../hub/subscriber.ts'
import type { Wire } from '../../hub/wire.ts'
import { isoTime } from '../../time.ts'
import { ConnectionQueues, type QueueLimits, type QueueOwner } from '../connection-queues.ts'
import type { Claims } from '../../contracts/claims.ts'
import type { Command, Failure } from '../../contracts/command.ts'

/** An accepted connection whose socket is not open yet. */
export interface Admission {
  readonly claims: Claims
  readonly codec: Codec
}

/** A refused connection. Its client gets the reason once the socket is open. */
export interface Refusal {
  readonly refused: BrokerError
  readonly codec: Codec
}

/** uWS copies these properties onto its own socket object, so keep them few. */
export interface UserData {
  /** A `WebSocketClient` from `open` on, unless the connection was refused. */
  user: WebSocketClient | Admission | Refusal
  /** The client's address, if connections are counted by address. */
  readonly address?: string
}

export type Socket = WebSocket<UserData>

export interface WebSocketClientOptions {
  readonly contract: CompiledContract
  readonly wire: Wire
  readonly codec: Codec
  readonly claims: Claims
  readonly socket: Socket
  /** Names this process among all brokers. */
  readonly nodeId: string
  readonly queueLimits: QueueLimits
  readonly failures: FailedAuthentications
}

/** One raw WebSocket connection: its identity, its subscriber in the hub, and its queues. */
export class WebSocketClient implements Caller, SubscriberOwner, RateState, QueueOwner, Counted {
  readonly contract: CompiledContract
  readonly subscriber: Subscriber
  readonly codec: Codec
  claims: Claims
  windowStartMs = 0
  used = 0
  packets = 0
  readonly queues: ConnectionQueues
  private readonly socket: Socket
  private readonly nodeId: string
  private readonly failures: FailedAuthentications

  constructor({ contract, wire, codec, claims, socket, nodeId, queueLimits, failures }: WebSocketClientOptions) {
    this.contract = contract
    this.subscriber = new Subscriber({
      application: contract.application,
      wire,
      userId: claims.sub,
      peer: socket,
      owner: this,
    })
    this.codec = codec
    this.claims = claims
    this.queues = new ConnectionQueues(queueLimits, this, socket)
    this.socket = socket
    this.nodeId = nodeId
    this.failures = failures
  }

  get connectionId(): string {
    return `sess_${this.nodeId}${this.subscriber.id}`
  }

  get countedAs(): string {
    return this.subscriber.userId
  }

  get closed(): boolean {
    return this.subscriber.state === CLOSED
  }

  reply(message: Message, command?: Command): void {
    if (!this.closed) this.queues.send(encode(this.codec, message, command?.id), this.codec.binary)
  }

  /** Sends a message only if the socket has enough room; otherwise drops it. */
  replyIfRoom(message: Message): void {
    if (!this.closed) this.queues.sendIfRoom(encode(this.codec, message), this.codec.binary)
  }

  fail({ code, message, details }: Failure, command?: Command, instead?: Message): void {
    if (instead) this.reply(instead)
    else this.reply({ type: 'error', data: { error_code: code, message, details: details ?? null } }, command)
    if (code !== 'AUTH_FAILED') return
    this.failures.count(this)
    if (this.failures.tooMany(this))
      this.end(code, connectionError(new BrokerError(code, 'Too many failed authentications')))
  }

  endIfExpired(nowMs: number): boolean {
    if (this.claims.exp * 1000 > nowMs) return false
    this.end('AUTH_EXPIRED', connectionError(new BrokerError('AUTH_EXPIRED')))
    return true
  }

  tooMuchWaiting(): void {
    this.end('SLOW_CONSUMER')
  }

  broke(error: unknown): void {
    reportFault('command', error)
    this.end('INTERNAL')
  }

  stalled(): void {
    this.end('SLOW_CONSUMER')
  }

  missed(since: string, oldest: string): void {
    this.reply(missed(since, oldest))
  }

  discard(): void {
    if (!this.closed) this.socket.close()
  }

  /** Ends the connection with an error of the table `ERRORS`. A full socket is closed without a close frame. */
  end(code: ErrorCode, message?: Message): void {
    if (this.closed) return
    if (message) this.replyIfRoom(message)
    if (this.queues.full) this.socket.close()
    else this.socket.end((ERRORS[code] as { close?: number }).close ?? 1011, code)
  }
}

export function encode(codec: Codec, { type, data }: Message, id?: string | number): Uint8Array {
  return codec.encodeMessage({ type, data, timestamp: isoTime(), ...(id === undefined ? undefined : { id }) })
}

const ACTIONS = new Map<string, string>([
  ['AUTH_MISSING', 'provide_token'],
  ['AUTH_FAILED', 'login'],
  ['AUTH_EXPIRED', 'refresh_token'],
  ['TOO_MANY_CONNECTIONS', 'retry_later'],
  ['RATE_LIMITED', 'retry_later'],
])

/** The `connection_error` message of the application's document. */
export function connectionError({ code, message }: BrokerError): Message {
  return {
    type: 'connection_error',
    data: {
      error_code: code,
      message,
      reconnect_required: true,
      action_required: ACTIONS.get(code) ?? 'check_request',
    },
  }
}
