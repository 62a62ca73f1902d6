export const TEXT = 1
export const BINARY = 2
export const CLOSE = 8
export const PING = 9
export const PONG = 10

const NOTHING = Buffer.alloc(0)

/** Takes WebSocket frames (RFC 6455, 5.2) out of a stream of bytes, without a copy where a frame arrives whole. */
export class FrameReader {
  /** The beginning of a frame whose end is still to come. */
  private rest = NOTHING
  private readonly onFrame: (opcode: number, bytes: Buffer, start: number, end: number) => void

  /** @param onFrame gets the payload's place; the bytes are only valid during the call */
  constructor(onFrame: (opcode: number, bytes: Buffer, start: number, end: number) => void) {
    this.onFrame = onFrame
  }

  /** Reads what arrived. The buffer may be used again afterwards. */
  read(arrived: Buffer, from: number, to: number): void {
    let bytes = arrived
    let at = from
    let until = to
    if (this.rest.length > 0) {
      bytes = Buffer.concat([this.rest, arrived.subarray(from, to)])
      this.rest = NOTHING
      at = 0
      until = bytes.length
    }
    while (until - at >= 2) {
      const first = bytes[at] as number
      const second = bytes[at + 1] as number
      // A whole message, no extension, and no mask, for it comes from a server.
      if ((first & 0xf0) !== 0x80 || second > 127)
        throw new Error(
          `a frame that this client does not know, beginning ${first.toString(16)} ${second.toString(16)}`,
        )
      const headBytes = second === 127 ? 10 : second === 126 ? 4 : 2
      if (until - at < headBytes) break
      const start = at + headBytes
      const end =
        start +
        (second === 127 ? Number(bytes.readBigUInt64BE(at + 2)) : second === 126 ? bytes.readUInt16BE(at + 2) : second)
      if (end > until) break
      this.onFrame(first & 0x0f, bytes, start, end)
      at = end
    }
    if (at < until) this.rest = Buffer.from(bytes.subarray(at, until))
  }
}

/** A frame as clients send it: masked, by zeros, so the payload stays as it is. */
export function clientFrame(opcode: number, payload: Uint8Array): Buffer {
  if (payload.length > 0xffff) throw new Error('longer than this client can send')
  const head =
    payload.length < 126
      ? [0x80 | opcode, 0x80 | payload.length]
      : [0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 0xff]
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload])
}
