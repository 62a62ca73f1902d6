import { connect, type Socket } from 'node:net'
import { monotonicUs } from '../clock.ts'
import { CLOSE, clientFrame, FrameReader, PING, PONG, TEXT } from './frame-reader.ts'

export interface Target {
  readonly port: number
  /** Path and query. */
  readonly path: string
  /** Sent once connected; the connection is ready when `subscribed` comes back. Without it: when it is open. */
  readonly subscribe?: string
}

/** Gets each event's bytes, valid during the call, and when they were read off the socket. */
export type OnEvent = (bytes: Buffer, start: number, end: number, arrivedUs: number) => void

/** All connections read into this, one after the other. */
const shared = Buffer.allocUnsafe(262_144)
/** RFC 6455, 1.3: the example's key, and what it must be answered with. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ=='
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='
const HEAD_END = '\r\n\r\n'

/**
 * Opens a WebSocket connection and waits until it will get events. It costs as little as Node allows: no streams, no
 * buffers of its own. Anything that should not happen to it, its end included, is thrown.
 */
export async function openConnection(target: Target, onEvent: OnEvent): Promise<Socket> {
  return new Promise((resolve) => {
    let head: string | undefined = ''
    let ready = false
    let arrivedUs = 0
    const frames = new FrameReader((opcode, bytes, start, end) => {
      if (opcode === TEXT && ready) onEvent(bytes, start, end, arrivedUs)
      else if (opcode === TEXT) prepare(bytes.toString('utf8', start, end))
      else if (opcode === PING) socket.write(clientFrame(PONG, bytes.subarray(start, end)))
      else if (opcode === CLOSE) throw new Error(`the server closed a connection: ${end - start >= 2 ? bytes.readUInt16BE(start) : 'no code'} ${bytes.toString('utf8', start + 2, end)}`)
    })
    const prepare = (message: string) => {
      if (message.startsWith('{"type":"connection_established"')) return
      if (!message.startsWith('{"type":"subscribed"')) throw new Error(`unexpected before "subscribed": ${message.slice(0, 500)}`)
      ready = true
      resolve(socket)
    }
    const read = (length: number): boolean => {
      arrivedUs = monotonicUs()
      if (head === undefined) {
        frames.read(shared, 0, length)
        return true
      }
      head += shared.toString('latin1', 0, length)
      const end = head.indexOf(HEAD_END)
      if (end === -1) return true
      if (!head.startsWith('HTTP/1.1 101 ') || !head.includes(ACCEPT)) throw new Error(`the upgrade was refused: ${head.slice(0, 500)}`)
      const rest = Buffer.from(head.slice(end + HEAD_END.length), 'latin1')
      head = undefined
      if (target.subscribe === undefined) {
        ready = true
        resolve(socket)
      } else socket.write(clientFrame(TEXT, Buffer.from(target.subscribe)))
      frames.read(rest, 0, rest.length)
      return true
    }
    const socket = connect({ host: '127.0.0.1', port: target.port, noDelay: true, onread: { buffer: shared, callback: read } })
    socket.on('connect', () => socket.write(`GET ${target.path} HTTP/1.1\r\nHost: 127.0.0.1:${target.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`))
    socket.on('close', () => {
      throw new Error('the server cut a connection')
    })
  })
}
