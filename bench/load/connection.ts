import { connect, type Socket } from 'node:net'
import { monotonicUs } from '../machine/clock.ts'
import type { ConnectionGroup, Member } from './connection-group.ts'
import type { DialectConnection } from './dialects/dialect.ts'
import { BINARY, CLOSE, clientFrame, FrameReader, PING, PONG, TEXT } from './frames.ts'
import { Polling } from './polling.ts'

/** Buffers that all connections share for reading, by length. */
const buffers = new Map<number, Buffer>()
/** RFC 6455, 1.3: the key of its example, and the answer that the server must give. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
const HEAD_END = '\r\n\r\n'
const NOTHING = Buffer.alloc(0)

export interface ConnectionOptions {
  readonly group: ConnectionGroup
  /** Number within its group, counted over all processes. */
  readonly index: number
  /** The series that it gets beside the common one; 0: none. */
  readonly series: number
  readonly token: string
  /** Called when the connection was cut, rather than left by `leave`. */
  readonly onLost: (connection: Connection) => void
}

/**
 * One client. It costs as little as Node allows: no streams, no buffers of its own. It can be reopened any number of
 * times, and resumes from its position.
 */
export class Connection implements Member, DialectConnection {
  readonly index: number
  readonly series: number
  token: string
  readonly group: ConnectionGroup
  readonly place: number
  rest = NOTHING
  pid = ''
  sequence = 0
  /** Bytes that it may read before it pauses. */
  allowance = Number.POSITIVE_INFINITY
  isReady = false
  /** The room that it is in beside its own. */
  visiting: string | undefined
  /** How often it was opened. */
  opened = 0
  private socket: Socket | undefined
  /** Set until the upgrade to WebSocket is complete. */
  private polling: Polling | undefined
  private paused = false
  private leaving = false
  private arrivedUs = 0
  private refusal = ''
  private readonly onLost: (connection: Connection) => void
  private whenReady: () => void = () => {}
  private whenClosed: () => void = () => {}

  constructor({ group, index, series, token, onLost }: ConnectionOptions) {
    this.group = group
    this.index = index
    this.series = series
    this.token = token
    this.onLost = onLost
    this.place = group.addPlace(series)
  }

  get position(): string | undefined {
    return this.sequence === 0 ? undefined : `${this.group.epoch}-${this.sequence}`
  }

  /**
   * Opens it, and waits until it will get events.
   * @param localAddress source address
   * @returns why it could not, or undefined
   */
  async open(localAddress: string): Promise<string | undefined> {
    const { group } = this
    this.refusal = ''
    this.leaving = false
    this.rest = NOTHING
    return new Promise((resolve) => {
      this.whenReady = () => resolve(undefined)
      this.whenClosed = () => {
        const wasReady = this.isReady
        this.isReady = false
        this.paused = false
        this.socket = undefined
        this.polling?.destroy()
        this.polling = undefined
        if (!wasReady) resolve(this.refusal || 'the server cut the connection')
        else if (!this.leaving) {
          group.lost(this, this.refusal || 'the server cut the connection')
          this.onLost(this)
        }
      }
      if (group.target.polling) this.poll(localAddress)
      else this.upgrade(group.dialect.pathOf(this), localAddress)
    })
  }

  private poll(localAddress: string): void {
    const { target, dialect } = this.group
    const polling = new Polling({
      port: target.port,
      path: dialect.pathOf(this),
      localAddress,
      onPacket: (packet) => {
        if (this.polling !== polling) return
        this.arrivedUs = monotonicUs()
        dialect.frame(this, packet, 0, packet.length)
      },
      onFailed: (reason) => {
        if (this.polling === polling) this.refuse(reason)
      },
    })
    this.polling = polling
    polling.open().then(
      (path) => {
        if (this.polling === polling) this.upgrade(path, localAddress)
      },
      (error: Error) => {
        if (this.polling === polling) this.refuse(error.message)
      },
    )
  }

  private upgrade(path: string, localAddress: string): void {
    const { group } = this
    let head: string | undefined = ''
    const frames = new FrameReader((opcode, bytes, start, end) => this.frame(opcode, bytes, start, end))
    const buffer = bufferOf(group.readBytes)
    const read = (length: number): boolean => {
      this.arrivedUs = monotonicUs()
      this.allowance -= length
      if (head === undefined) frames.read(buffer, 0, length)
      else {
        head += buffer.toString('latin1', 0, length)
        const end = head.indexOf(HEAD_END)
        if (end === -1) return true
        if (!head.startsWith('HTTP/1.1 101 ') || !head.includes(ACCEPT)) {
          if (this.polling !== undefined) socket.destroy()
          else this.refuse(`the upgrade was refused: ${head.slice(0, 300)}`)
          return true
        }
        const rest = Buffer.from(head.slice(end + HEAD_END.length), 'latin1')
        head = undefined
        if (this.polling !== undefined) this.writeText('2probe')
        else group.dialect.opened(this)
        frames.read(rest, 0, rest.length)
      }
      if (this.allowance <= 0) this.pause()
      return true
    }
    const { port } = group.target
    const socket = connect({ host: '127.0.0.1', port, localAddress, noDelay: true, onread: { buffer, callback: read } })
    this.socket = socket
    socket.on('connect', () =>
      socket.write(
        `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
      ),
    )
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.socket === socket && (this.polling === undefined || this.polling.stopping))
        this.refusal ||= error.code ?? error.message
    })
    socket.on('close', () => {
      if (this.socket !== socket) return
      // Like socket.io-client: if the upgrade fails, the session continues by polling.
      if (this.polling !== undefined && !this.polling.stopping) this.socket = undefined
      else this.whenClosed()
    })
  }

  ready(): void {
    if (this.isReady) return
    this.isReady = true
    this.group.ready++
    this.whenReady()
  }

  refuse(reason: string): void {
    this.refusal ||= reason
    const { socket, polling } = this
    if (polling !== undefined && !polling.stopping) {
      this.socket = undefined
      socket?.destroy()
      this.whenClosed()
    } else socket?.destroy()
  }

  toldMissed(): void {
    this.group.toldMissed++
  }

  event(bytes: Buffer, start: number, end: number): boolean {
    return this.group.take(this, bytes, start, end, this.arrivedUs)
  }

  sendText(text: string): void {
    if (this.polling !== undefined) this.polling.send(text)
    else this.writeText(text)
  }

  sendBinary(bytes: Uint8Array): void {
    this.socket?.write(clientFrame(BINARY, bytes))
  }

  /** Stops reading, until `resume`. */
  pause(): void {
    if (this.paused) return
    this.paused = true
    this.socket?.pause()
  }

  resume(): void {
    if (!this.paused) return
    this.paused = false
    this.socket?.resume()
  }

  /** Disconnects. The connection may be opened again. */
  leave(): void {
    this.leaving = true
    this.isReady = false
    // A recovered Socket.IO session keeps its rooms.
    if (this.pid === '') this.visiting = undefined
    this.group.ready--
    this.socket?.destroy()
    this.socket = undefined
    this.polling?.destroy()
    this.polling = undefined
  }

  /** Forgets session and position: the next time it connects as a new client. */
  forget(token: string): void {
    this.token = token
    this.pid = ''
    this.sequence = 0
    this.visiting = undefined
    this.group.restart(this)
  }

  private writeText(text: string): void {
    this.socket?.write(clientFrame(TEXT, Buffer.from(text)))
  }

  /** The server has answered the probe: the session continues on the WebSocket. */
  private async goOver(polling: Polling): Promise<void> {
    await polling.stop()
    if (this.polling !== polling) return
    this.polling = undefined
    this.writeText('5')
  }

  private frame(opcode: number, bytes: Buffer, start: number, end: number): void {
    if (this.polling !== undefined && opcode === TEXT) void this.goOver(this.polling)
    else if (opcode === TEXT || opcode === BINARY) this.group.dialect.frame(this, bytes, start, end)
    else if (opcode === PING) this.socket?.write(clientFrame(PONG, bytes.subarray(start, end)))
    else if (opcode === CLOSE)
      this.refuse(
        `the server closed the connection: ${end - start >= 2 ? bytes.readUInt16BE(start) : 'no code'} ${bytes.toString('utf8', start + 2, end)}`,
      )
  }
}

function bufferOf(length: number): Buffer {
  let buffer = buffers.get(length)
  if (!buffer) buffers.set(length, (buffer = Buffer.allocUnsafe(length)))
  return buffer
}
