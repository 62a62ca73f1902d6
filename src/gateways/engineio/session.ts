import { decodePacket, encodePayload, type Packet } from 'engine.io-parser'
import type { WebSocket } from 'uWebSockets.js'
import type { Counted } from '../../guard/connections.ts'
import { after } from '../../guarded.ts'
import type { Peer } from '../../hub/wire.ts'
import type { Arrival } from '../handoff/arrival.ts'
import type { ArrivedSession, HandedOverSession, LeavingSession } from '../handoff/handed-over-session.ts'
import type { EngineIoHandler } from './handler.ts'
import { Polling } from './polling.ts'

/** What stands on uWS' own socket object, from `open` on. */
export interface EngineIoSocketData {
  /** The session that the socket carries, or will carry; while that is another worker's, the socket's arrival. */
  session: EngineIoSession | Arrival<EngineIoSocket>
}

export type EngineIoSocket = WebSocket<EngineIoSocketData>

/** Above this many unsent bytes a close frame would be dropped. */
const CLOSE_BEHIND_BYTES = 16_384
/** How often a poll is ended while its client is to change over (the reference server's figure). */
const POLL_END_MS = 100
/** Between the packets of a payload (engine.io-protocol, "Packet encoding"). */
const SEPARATOR = '\x1e'

/** The sessions that a session is one of. */
export interface SessionHost {
  handlerOf(session: EngineIoSession): EngineIoHandler
  ended(session: EngineIoSession): void
  /** The session's end is to be told to the client's next poll. */
  farewell(session: EngineIoSession, polling: Polling): void
}

export interface EngineIoSessionOptions {
  readonly host: SessionHost
  readonly sid: string
  /** Of the heartbeat, when it came. */
  readonly turn: number
  /** It begins with long-polling; otherwise its socket is to come. */
  readonly polls: boolean
  /** Of the handshake's query. */
  readonly token: string | null
}

/**
 * One Engine.IO session: a WebSocket, or long-polling, or the one after the other. To the hub it is a socket like any
 * other; only a WebSocket can hold native topics.
 */
export class EngineIoSession implements Peer, Counted, LeavingSession, ArrivedSession {
  readonly sid: string
  /** Turn of the heartbeat at which it came; it is pinged each time that an interval has passed since. */
  readonly turn: number
  /** Of the handshake's query: of clients that give none with CONNECT. */
  readonly token: string | null
  readonly handler: EngineIoHandler
  /** Pings sent since the last pong. */
  unanswered = 0
  closed = false
  /** Another worker has the WebSocket that is to take over; the session will go there. */
  leaving = false
  /** A POST request is on its way in. */
  posting = false
  polling: Polling | undefined
  socket: EngineIoSocket | undefined
  /** A WebSocket that has yet to take over from polling. */
  probe: EngineIoSocket | undefined
  /** That one has said `2probe`. */
  probed = false
  private readonly host: SessionHost

  constructor({ host, sid, turn, polls, token }: EngineIoSessionOptions) {
    this.host = host
    this.sid = sid
    this.turn = turn
    this.token = token
    if (polls) this.polling = new Polling(() => this.handler.drained())
    this.handler = host.handlerOf(this)
  }

  /** Whether it can hold native topics. */
  get native(): boolean {
    return this.socket !== undefined
  }

  get heldBytes(): number {
    return this.closed ? 0 : this.getBufferedAmount() + this.handler.heldBytes
  }

  get mayUpgrade(): boolean {
    return !this.native && !this.probe && !this.leaving && !this.closed
  }

  get settled(): boolean {
    return this.handler.settled
  }

  /** Sends an encoded packet: text with its type in front, or a binary attachment. */
  send(frame: Uint8Array | string, binary = false): number {
    if (this.closed) return 2
    if (this.socket) return this.socket.send(frame, binary)
    this.polling?.push(packetOf(frame, binary))
    return 1
  }

  getBufferedAmount(): number {
    return this.socket ? this.socket.getBufferedAmount() : (this.polling?.bytes ?? 0)
  }

  subscribe(topic: string): boolean {
    return this.socket?.subscribe(topic) ?? false
  }

  unsubscribe(topic: string): boolean {
    return this.socket?.unsubscribe(topic) ?? false
  }

  cork(callback: () => void): void {
    if (this.socket) this.socket.cork(callback)
    else callback()
  }

  /** A frame of its WebSocket. */
  receive(frame: ArrayBuffer, binary: boolean): void {
    // A copy: the frame is gone after this call.
    if (binary) return this.handler.receive(Buffer.from(frame.slice(0)))
    const text = Buffer.from(frame).toString()
    switch (text[0]) {
      case '4':
        return this.handler.receive(text.slice(1))
      case '3':
        if (this.handler.admitsPacket()) this.unanswered = 0
        return
      default:
        // `1` closes; anything else is no packet that a client may send.
        return this.discard()
    }
  }

  /** The packets of a POST request. */
  receivePayload(body: string): void {
    // One after another: a megabyte may be half a million packets, of which the session's limit leaves the most unread.
    for (let start = 0; start <= body.length; ) {
      const end = body.indexOf(SEPARATOR, start)
      const { type, data } = decodePacket(body.slice(start, end === -1 ? undefined : end), 'nodebuffer')
      start = end === -1 ? body.length + 1 : end + 1
      if (this.closed) return
      if (type === 'message') this.handler.receive(data)
      else if (type === 'pong') {
        if (this.handler.admitsPacket()) this.unanswered = 0
      } else if (type === 'close') this.letGo()
      else this.discard()
    }
  }

  /** The WebSocket takes over: what waits for polling goes through it. */
  upgrade(socket: EngineIoSocket): void {
    const { polling } = this
    this.probe = undefined
    this.socket = socket
    this.polling = undefined
    for (const packet of polling?.take() ?? [])
      socket.send(frameOf(packet), typeof packet.data !== 'string' && packet.data !== undefined)
    // A poll that is still open must not stay so.
    polling?.push({ type: 'noop' })
    polling?.flush()
    this.handler.upgraded()
  }

  /** Ends its polls, one after another, as long as it is to change over: its client waits for the last to end. */
  endPollsWhile(wanted: () => boolean): void {
    if (this.closed || !wanted()) return
    if (this.polling?.polled) this.polling.push({ type: 'noop' })
    after('upgrade', POLL_END_MS, () => this.endPollsWhile(wanted)).unref()
  }

  /** Ends the session; the client sees `transport close` and comes back. One that polls is told by its next poll. */
  close(): void {
    const { polling } = this
    if (!this.end() || !polling) return
    polling.finish()
    if (!polling.finished) this.host.farewell(this, polling)
  }

  /** Ends a session that broke the protocol, or is dead: nothing of it is kept. */
  discard(): void {
    const { polling } = this
    if (!this.end() || !polling) return
    polling.take()
    polling.finish()
  }

  /** Ends without a CLOSE packet: it goes on in another worker, or its client closed it. */
  letGo(): void {
    const { polling } = this
    this.ended()
    // An open poll is ended by a NOOP, as the reference server does.
    polling?.push({ type: 'noop' })
    polling?.flush()
  }

  async handOver(): Promise<HandedOverSession> {
    const { token, handler } = this
    const state = handler.suspend()
    const packets = this.takePackets()
    // In rooms there and in none here: what its client still sends here must not be carried out.
    handler.stop()
    const payload = packets.length === 0 ? '' : await new Promise<string>((resolve) => encodePayload(packets, resolve))
    return { token, payload, state }
  }

  resume(state: unknown): Promise<unknown> {
    return this.handler.resume(state)
  }

  /** Its transport is gone, or the client closed it. */
  ended(): void {
    if (this.closed) return
    this.closed = true
    this.probe?.close()
    this.handler.ended()
    this.host.ended(this)
  }

  private end(): boolean {
    if (this.closed) return false
    const { socket } = this
    this.ended()
    if (socket) {
      if (socket.getBufferedAmount() > CLOSE_BEHIND_BYTES) socket.close()
      else socket.end(1012)
    }
    return true
  }

  /** What waits for its client, the handler's part included. */
  private takePackets(): Packet[] {
    const packets: Packet[] = []
    for (let some = this.polling?.take() ?? []; some.length > 0; some = this.polling?.take() ?? []) {
      packets.push(...some)
      this.handler.drained()
    }
    return packets
  }
}

function packetOf(frame: Uint8Array | string, binary: boolean): Packet {
  if (binary) return { type: 'message', data: Buffer.from(frame as Uint8Array) }
  const text = typeof frame === 'string' ? frame : Buffer.from(frame).toString()
  return text[0] === '2' ? { type: 'ping' } : { type: 'message', data: text.slice(1) }
}

function frameOf({ type, data }: Packet): string | Uint8Array {
  if (type === 'ping') return '2'
  return typeof data === 'string' ? `4${data}` : (data as Uint8Array)
}
