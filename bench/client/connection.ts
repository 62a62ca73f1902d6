import { connect, type Socket } from 'node:net'
import { monotonicUs } from '../clock.ts'
import { type Dialogue, READY } from './dialogue.ts'
import { CLOSE, clientFrame, FrameReader, PING, PONG, TEXT } from './frame-reader.ts'

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
export async function openConnection(port: number, dialogue: Dialogue, onEvent: OnEvent): Promise<Socket> {
  return new Promise((resolve) => {
    let head: string | undefined = ''
    let ready = false
    let arrivedUs = 0
    const frames = new FrameReader((opcode, bytes, start, end) => {
      if (opcode === TEXT && ready && isEvent(dialogue, bytes, start, end)) onEvent(bytes, start, end, arrivedUs)
      else if (opcode === TEXT) go(dialogue.answer(bytes.toString('utf8', start, end)))
      else if (opcode === PING) socket.write(clientFrame(PONG, bytes.subarray(start, end)))
      else if (opcode === CLOSE) throw new Error(`the server closed a connection: ${end - start >= 2 ? bytes.readUInt16BE(start) : 'no code'} ${bytes.toString('utf8', start + 2, end)}`)
    })
    const go = (next: Dialogue['opening']) => {
      if (typeof next === 'string') socket.write(clientFrame(TEXT, Buffer.from(next)))
      if (next !== READY) return
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
      go(dialogue.opening)
      frames.read(rest, 0, rest.length)
      return true
    }
    const socket = connect({ host: '127.0.0.1', port, noDelay: true, onread: { buffer: shared, callback: read } })
    socket.on('connect', () => socket.write(`GET ${dialogue.path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`))
    socket.on('close', () => {
      throw new Error('the server cut a connection')
    })
  })
}

function isEvent({ eventPrefix }: Dialogue, bytes: Buffer, start: number, end: number): boolean {
  if (eventPrefix === undefined) return true
  if (end - start < eventPrefix.length) return false
  for (let i = 0; i < eventPrefix.length; i++) if (bytes[start + i] !== eventPrefix[i]) return false
  return true
}
