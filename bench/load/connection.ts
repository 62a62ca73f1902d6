import { connect, type Socket } from 'node:net'
import { monotonicUs } from '../clock.ts'
import type { Cohort } from './cohort.ts'
import { BINARY, CLOSE, clientFrame, FrameReader, PING, PONG, TEXT } from './frames.ts'

/** Connections read into these, one after the other: by length. */
const buffers = new Map<number, Buffer>()
/** RFC 6455, 1.3: the example's key, and what it must be answered with. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
const HEAD_END = '\r\n\r\n'
const NOTHING = Buffer.alloc(0)

/**
 * One client. It costs as little as Node allows: no streams, no buffers of its own. It opens again where it was left, as
 * often as it is told.
 */
export class Connection {
  /** Of all of its cohort, over all processes. */
  readonly index: number
  /** The series that it gets beside the common one; 0: none. */
  readonly series: number
  readonly token: string
  readonly cohort: Cohort
  /** Place of its common series in the cohort's order; its own series' is the next. */
  readonly place: number
  /** Dialects that read over the borders of frames: what is not whole yet. */
  rest = NOTHING
  /** Socket.IO: private id, with which it recovers. */
  pid = ''
  /** Sequence of the last event's position; 0: none. */
  sequence = 0
  /** Bytes that it may read before it pauses. */
  allowance = Number.POSITIVE_INFINITY
  isReady = false
  /** Times that it was opened. */
  opened = 0
  private socket: Socket | undefined
  private paused = false
  private leaving = false
  private arrivedUs = 0
  private refusal = ''
  private whenReady: () => void = () => {}

  constructor(cohort: Cohort, index: number, series: number, token: string, place: number) {
    this.cohort = cohort
    this.index = index
    this.series = series
    this.token = token
    this.place = place
  }

  /** Where it goes on, if it got anything yet. */
  get position(): string | undefined {
    return this.sequence === 0 ? undefined : `${this.cohort.epoch}-${this.sequence}`
  }

  /**
   * Opens it, and waits until it will get events.
   * @param localAddress source address
   * @returns why it could not, or undefined
   */
  async open(localAddress: string): Promise<string | undefined> {
    const { cohort } = this
    let head: string | undefined = ''
    this.refusal = ''
    this.leaving = false
    this.rest = NOTHING
    const frames = new FrameReader((opcode, bytes, start, end) => this.frame(opcode, bytes, start, end))
    const buffer = bufferOf(cohort.readBytes)
    const read = (length: number): boolean => {
      this.arrivedUs = monotonicUs()
      this.allowance -= length
      if (head === undefined) frames.read(buffer, 0, length)
      else {
        head += buffer.toString('latin1', 0, length)
        const end = head.indexOf(HEAD_END)
        if (end === -1) return true
        if (!head.startsWith('HTTP/1.1 101 ') || !head.includes(ACCEPT)) {
          this.refuse(`the upgrade was refused: ${head.slice(0, 300)}`)
          return true
        }
        const rest = Buffer.from(head.slice(end + HEAD_END.length), 'latin1')
        head = undefined
        cohort.dialect.opened(this)
        frames.read(rest, 0, rest.length)
      }
      if (this.allowance <= 0) this.pause()
      return true
    }
    return new Promise((resolve) => {
      const { port } = cohort.target
      const socket = connect({ host: '127.0.0.1', port, localAddress, noDelay: true, onread: { buffer, callback: read } })
      this.socket = socket
      this.whenReady = () => resolve(undefined)
      socket.on('connect', () =>
        socket.write(`GET ${cohort.dialect.pathOf(this)} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`),
      )
      socket.on('error', (error: NodeJS.ErrnoException) => {
        this.refusal ||= error.code ?? error.message
      })
      socket.on('close', () => {
        if (this.socket !== socket) return
        const wasReady = this.isReady
        this.isReady = false
        this.paused = false
        this.socket = undefined
        if (!wasReady) resolve(this.refusal || 'the server cut the connection')
        else if (!this.leaving) cohort.lost(this, this.refusal || 'the server cut the connection')
      })
    })
  }

  ready(): void {
    if (this.isReady) return
    this.isReady = true
    this.cohort.ready++
    this.whenReady()
  }

  /** The server said no: this connection ends. */
  refuse(reason: string): void {
    this.refusal ||= reason
    this.socket?.destroy()
  }

  /** The server said that there are events which it no longer has. */
  toldMissed(): void {
    this.cohort.toldMissed++
  }

  /** An event's bytes. @returns false: they are none */
  event(bytes: Buffer, start: number, end: number): boolean {
    return this.cohort.take(this, bytes, start, end, this.arrivedUs)
  }

  sendText(text: string): void {
    this.socket?.write(clientFrame(TEXT, Buffer.from(text)))
  }

  sendBinary(bytes: Uint8Array): void {
    this.socket?.write(clientFrame(BINARY, bytes))
  }

  /** Reads no more, until it resumes. */
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

  /** Leaves by itself. It may be opened again. */
  leave(): void {
    this.leaving = true
    this.isReady = false
    this.cohort.ready--
    this.socket?.destroy()
    this.socket = undefined
  }

  private frame(opcode: number, bytes: Buffer, start: number, end: number): void {
    if (opcode === TEXT || opcode === BINARY) this.cohort.dialect.frame(this, bytes, start, end)
    else if (opcode === PING) this.socket?.write(clientFrame(PONG, bytes.subarray(start, end)))
    else if (opcode === CLOSE) this.refuse(`the server closed the connection: ${end - start >= 2 ? bytes.readUInt16BE(start) : 'no code'} ${bytes.toString('utf8', start + 2, end)}`)
  }
}

function bufferOf(length: number): Buffer {
  let buffer = buffers.get(length)
  if (!buffer) buffers.set(length, (buffer = Buffer.allocUnsafe(length)))
  return buffer
}
