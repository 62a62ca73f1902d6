import type { WebSocket } from 'uWebSockets.js'
import type { Codec } from '../codecs/codec.ts'
import type { Caller } from '../commands/caller.ts'
import type { CompiledContract } from '../contracts/compiled.ts'
import type { Claims, Message } from '../contracts/contract.ts'
import { type BrokerError, ERRORS, type ErrorCode } from '../errors.ts'
import type { RateState } from '../guard/rate-limit.ts'
import { CLOSED, Session } from '../hub/session.ts'
import type { Peer, Wire } from '../hub/wire.ts'

/** uWS copies these properties onto its own socket object, so there is only one. */
export interface UserData {
  readonly user: WebSocketClient | Refusal
}

export type Socket = WebSocket<UserData>

/** A connection that is to be told why it may not stay. */
export interface Refusal {
  readonly refused: BrokerError
  readonly codec: Codec
}

/** Answers and commands that wait for a full socket; more, and the connection is closed as too slow. */
const WAITING_MAX = 1_024

/** One raw WebSocket connection: its session in the hub, its identity, and what waits for its socket to drain. */
export class WebSocketClient extends Session implements Caller, RateState {
  readonly contract: CompiledContract
  readonly codec: Codec
  readonly nodeId: string
  readonly bufferBytesMax: number
  claims: Claims
  windowStartMs = 0
  used = 0
  private outbox: Uint8Array[] | undefined
  private waiting: (() => Promise<void> | undefined)[] | undefined
  private busy = false

  constructor(contract: CompiledContract, wire: Wire, codec: Codec, claims: Claims, nodeId: string, bufferBytesMax: number) {
    super(contract.audience, wire, claims.sub, NO_PEER)
    this.contract = contract
    this.codec = codec
    this.claims = claims
    this.nodeId = nodeId
    this.bufferBytesMax = bufferBytesMax
  }

  get session(): Session {
    return this
  }

  get connectionId(): string {
    return `sess_${this.nodeId}${this.id}`
  }

  get closed(): boolean {
    return this.state === CLOSED
  }

  private get socket(): Socket {
    return this.peer as unknown as Socket
  }

  reply(message: Message, id?: string | number): void {
    this.send(encode(this.codec, message, id))
  }

  fail({ code, message, details }: BrokerError, id?: string | number): void {
    this.reply({ type: 'error', data: { error_code: code, message, details: details ?? null } }, id)
  }

  renew(claims: Claims): void {
    this.claims = claims
  }

  /** Says something that may be left out where the socket is full. */
  mention(message: Message): void {
    if (!this.closed && this.peer.getBufferedAmount() <= this.bufferBytesMax / 2) this.peer.send(encode(this.codec, message), this.codec.binary)
  }

  /**
   * Runs a command, now or once the ones before it are done and the socket can take its answer.
   */
  run(command: () => Promise<void> | undefined): void {
    if (!this.busy && this.waiting === undefined && !this.full) {
      const outcome = command()
      if (outcome) this.waitFor(outcome)
      return
    }
    this.waiting ??= []
    this.waiting.push(command)
    if (this.waiting.length > WAITING_MAX) this.end('SLOW_CONSUMER')
  }

  /** The socket drained, or a command ended: goes on with what waits. */
  proceed(): void {
    while (this.outbox !== undefined && !this.full && !this.closed) {
      this.peer.send(this.outbox.shift() as Uint8Array, this.codec.binary)
      if (this.outbox.length === 0) this.outbox = undefined
    }
    while (this.waiting !== undefined && !this.busy && !this.full && !this.closed) {
      const outcome = (this.waiting.shift() as () => Promise<void> | undefined)()
      if (this.waiting.length === 0) this.waiting = undefined
      if (outcome) this.waitFor(outcome)
    }
  }

  /** Ends the connection by an error of the table. A socket that takes nothing is closed without a word. */
  end(code: ErrorCode, message?: Message): void {
    if (this.closed) return
    if (message) this.mention(message)
    if (this.full) this.socket.close()
    else this.socket.end((ERRORS[code] as { close?: number }).close ?? 1011, code)
  }

  private get full(): boolean {
    return this.peer.getBufferedAmount() > this.bufferBytesMax
  }

  private send(frame: Uint8Array): void {
    if (this.closed) return
    if (this.outbox === undefined && !this.full) {
      this.peer.send(frame, this.codec.binary)
      return
    }
    this.outbox ??= []
    this.outbox.push(frame)
    if (this.outbox.length > WAITING_MAX) this.end('SLOW_CONSUMER')
  }

  private waitFor(outcome: Promise<void>): void {
    this.busy = true
    void outcome.finally(() => {
      this.busy = false
      if (!this.closed) this.proceed()
    })
  }
}

export function encode(codec: Codec, { type, data }: Message, id?: string | number): Uint8Array {
  return codec.encodeMessage({ type, data, timestamp: new Date().toISOString(), ...(id === undefined ? undefined : { id }) })
}

/** Stands for the socket until it is open. */
const NO_PEER: Peer = {
  send: () => 2,
  getBufferedAmount: () => 0,
  subscribe: () => false,
  unsubscribe: () => false,
  cork: (callback) => callback(),
  close: () => {},
}
