import type { Packet } from 'engine.io-parser'
import type { WebSocket } from 'uWebSockets.js'
import type { Counted } from '../../guard/connections.ts'
import { connectionOrder } from '../../hub/subscriber.ts'
import type { Peer } from '../../hub/wire.ts'
import type { Connection } from '../socketio/connection.ts'
import type { Passage } from '../handoff/passage.ts'
import { Polling } from './polling.ts'

/** What stands on uWS' own socket object, from `open` on. */
export interface EngineSocketData {
  /**
   * The session that the socket carries, or will carry once its probe is done; or the way to it, while it is another
   * worker's.
   */
  session: EngineSession | Passage
}

export type EngineSocket = WebSocket<EngineSocketData>

const CLOSE_BEHIND_BYTES = 16_384

/** What a session is made for, and told to. */
export interface SessionHost {
  /** @param token of the handshake's query */
  connectionOf(session: EngineSession, token: string | null): Connection
  ended(session: EngineSession): void
  /** A session's end is to be told to the next poll. */
  farewell(session: EngineSession, polling: Polling): void
}

/**
 * One Engine.IO session: a WebSocket, or long-polling, or the one after the other. To the hub it is a socket like any
 * other; only a WebSocket can hold native topics.
 */
export class EngineSession implements Peer, Counted {
  readonly sid: string
  /** Turn of the heartbeat at which it came; it is pinged each time that an interval has passed since. */
  readonly turn: number
  readonly connection: Connection
  readonly order = connectionOrder()
  /** Pings sent since the last pong. */
  unanswered = 0
  /** It was in a namespace. */
  connected = false
  closed = false
  /** Another worker has the WebSocket that is to take over; the session will go there. */
  leaving = false
  /** A POST request is on its way in. */
  posting = false
  polling: Polling | undefined
  socket: EngineSocket | undefined
  /** A WebSocket that has yet to take over from polling. */
  probe: EngineSocket | undefined
  /** That one has said `2probe`. */
  probed = false
  private readonly host: SessionHost

  /**
   * @param turn of the heartbeat
   * @param polls it begins with long-polling; otherwise its socket is to come
   * @param token of the handshake's query
   */
  constructor(host: SessionHost, sid: string, turn: number, polls: boolean, token: string | null) {
    this.host = host
    this.sid = sid
    this.turn = turn
    if (polls) this.polling = new Polling(() => this.connection.drained())
    this.connection = host.connectionOf(this, token)
  }

  /** Whether it can hold native topics. */
  get native(): boolean {
    return this.socket !== undefined
  }

  get heldBytes(): number {
    return this.closed ? 0 : this.getBufferedAmount() + this.connection.queues.heldBytes
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

  /** The WebSocket takes over: what waits for polling goes through it. */
  upgrade(socket: EngineSocket): void {
    const { polling } = this
    this.probe = undefined
    this.socket = socket
    this.polling = undefined
    for (const packet of polling?.take() ?? [])
      socket.send(frameOf(packet), typeof packet.data !== 'string' && packet.data !== undefined)
    // A poll that is still open must not stay so.
    polling?.push({ type: 'noop' })
    polling?.flush()
    this.connection.upgraded()
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

  private end(): boolean {
    if (this.closed) return false
    const { socket } = this
    this.ended()
    if (socket) {
      // A close frame would be dropped behind a long queue.
      if (socket.getBufferedAmount() > CLOSE_BEHIND_BYTES) socket.close()
      else socket.end(1012)
    }
    return true
  }

  /** What waits for its client, answers held back included, for another worker to send. */
  takePackets(): Packet[] {
    const packets: Packet[] = []
    for (let some = this.polling?.take() ?? []; some.length > 0; some = this.polling?.take() ?? []) {
      packets.push(...some)
      this.connection.queues.proceed()
    }
    return packets
  }

  /** It goes on in another worker. */
  moved(): void {
    const { polling } = this
    this.ended()
    polling?.push({ type: 'noop' })
    polling?.flush()
  }

  /** Its transport is gone, or the client closed it. */
  ended(): void {
    if (this.closed) return
    this.closed = true
    this.probe?.close()
    this.connection.ended()
    this.host.ended(this)
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
