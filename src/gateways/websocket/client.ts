import type { WebSocket } from 'uWebSockets.js'
import type { Codec } from '../../codecs/codec.ts'
import type { Caller } from '../../commands/caller.ts'
import { missed } from '../../commands/subscribe.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { Message } from '../../contracts/contract.ts'
import { BrokerError, ERRORS, type ErrorCode } from '../../errors.ts'
import type { Counted } from '../../guard/connections.ts'
import type { FailedAuthentications } from '../../guard/failed-authentications.ts'
import type { RateState } from '../../guard/rate-limit.ts'
import { reportFault } from '../../guarded.ts'
import { CLOSED, Subscriber } from '../../hub/subscriber.ts'
import type { Peer, Wire } from '../../hub/wire.ts'
import { isoTime } from '../../time.ts'
import { Lane, type LaneLimits, type LaneOwner } from '../lane.ts'
import type { Claims } from '../../contracts/claims.ts'
import type { Command, Failure } from '../../contracts/command.ts'

/** uWS copies these properties onto its own socket object, so there is only one. */
export interface UserData {
  readonly user: WebSocketClient | Refusal
  /** Where it comes from, where that counts. */
  readonly address?: string
}

export type Socket = WebSocket<UserData>

/** A connection that is to be told why it may not stay. */
export interface Refusal {
  readonly refused: BrokerError
  readonly codec: Codec
}

/** One raw WebSocket connection: its session in the hub, its identity, and what waits for its socket to drain. */
export class WebSocketClient extends Subscriber implements Caller, RateState, LaneOwner, Counted {
  readonly contract: CompiledContract
  readonly codec: Codec
  readonly nodeId: string
  claims: Claims
  windowStartMs = 0
  used = 0
  packets = 0
  readonly lane: Lane
  private readonly failures: FailedAuthentications

  constructor(
    contract: CompiledContract,
    wire: Wire,
    codec: Codec,
    claims: Claims,
    nodeId: string,
    laneLimits: LaneLimits,
    failures: FailedAuthentications,
  ) {
    super(contract.application, wire, claims.sub, NO_PEER)
    this.contract = contract
    this.codec = codec
    this.claims = claims
    this.nodeId = nodeId
    this.lane = new Lane(laneLimits, this)
    this.failures = failures
  }

  get subscriber(): Subscriber {
    return this
  }

  get connectionId(): string {
    return `sess_${this.nodeId}${this.id}`
  }

  get countedAs(): string {
    return this.userId
  }

  get closed(): boolean {
    return this.state === CLOSED
  }

  private get socket(): Socket {
    return this.peer as unknown as Socket
  }

  reply(message: Message, command?: Command): void {
    if (!this.closed) this.lane.send(this.peer, encode(this.codec, message, command?.id), this.codec.binary)
  }

  fail({ code, message, details }: Failure, command?: Command, instead?: Message): void {
    if (instead) this.reply(instead)
    else this.reply({ type: 'error', data: { error_code: code, message, details: details ?? null } }, command)
    if (code !== 'AUTH_FAILED') return
    this.failures.count(this)
    if (this.failures.tooMany(this))
      this.end(code, connectionError(new BrokerError(code, 'Too many failed authentications')))
  }

  overflowed(): void {
    this.end('SLOW_CONSUMER')
  }

  /**
   * Its socket is closed: whatever still has this client finds a peer that takes nothing, instead of one that throws.
   */
  gone(): void {
    this.lane.close()
    this.peer = NO_PEER
  }

  broke(error: unknown): void {
    reportFault('command', error)
    this.end('INTERNAL')
  }

  override stalled(): void {
    this.end('SLOW_CONSUMER')
  }

  override missed(since: string, oldest: string): void {
    this.reply(missed(since, oldest))
  }

  /** Says something that may be left out where the socket is full. */
  mention(message: Message): void {
    if (!this.closed) this.lane.mention(this.peer, encode(this.codec, message), this.codec.binary)
  }

  discard(): void {
    if (!this.closed) this.socket.close()
  }

  /** Ends the connection by an error of the table. A socket that takes nothing is closed without a word. */
  end(code: ErrorCode, message?: Message): void {
    if (this.closed) return
    if (message) this.mention(message)
    if (this.lane.isFull(this.peer)) this.socket.close()
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

/** The document's `connection_error`. */
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

/** Stands for the socket until it is open, and from when it is closed. */
const NO_PEER: Peer = {
  send: () => 2,
  getBufferedAmount: () => 0,
  subscribe: () => false,
  unsubscribe: () => false,
  cork: (callback) => callback(),
  close: () => {},
}
