import type { Target } from './target.ts'
import { type Dialect, type DialectConnection, subscriptionOf } from './dialect.ts'

const CR = 13
const LF = 10
const SPACE = 32
const ZERO = 48
const CRLF_BYTES = 2

/**
 * NATS' client protocol over WebSocket. The frames are a stream of protocol lines: several in a frame, or one over
 * several frames. https://docs.nats.io/reference/reference-protocols/nats-protocol
 */
export function nats(target: Target): Dialect {
  return {
    pathOf: () => target.path,
    opened() {},
    frame(connection, bytes, start, end) {
      if (connection.rest.length === 0) {
        const at = lines(connection, bytes, start, end)
        if (at < end) connection.rest = Buffer.from(bytes.subarray(at, end))
        return
      }
      const whole = Buffer.concat([connection.rest, bytes.subarray(start, end)])
      connection.rest = whole.subarray(lines(connection, whole, 0, whole.length))
    },
  }

  /** @returns where what is not whole yet begins */
  function lines(connection: DialectConnection, bytes: Buffer, start: number, end: number): number {
    let at = start
    for (;;) {
      let lineEnd = at
      while (lineEnd < end && bytes[lineEnd] !== LF) lineEnd++
      if (lineEnd >= end) return at
      // MSG <subject> <sid> [reply] <bytes>
      if (bytes[at] === 77) {
        const payload = lineEnd + 1
        const payloadEnd = payload + lastNumber(bytes, lineEnd)
        if (payloadEnd + CRLF_BYTES > end) return at
        connection.event(bytes, payload, payloadEnd)
        at = payloadEnd + CRLF_BYTES
      } else {
        hear(connection, bytes.toString('latin1', at, lineEnd - 1))
        at = lineEnd + 1
      }
    }
  }

  function hear(connection: DialectConnection, line: string): void {
    if (line.startsWith('PING')) connection.sendBinary(Buffer.from('PONG\r\n'))
    else if (line.startsWith('PONG')) connection.ready()
    else if (line.startsWith('INFO'))
      connection.sendBinary(
        Buffer.from(
          `CONNECT {"verbose":false,"pedantic":false,"lang":"bench","version":"1","protocol":1}\r\nSUB ${subscriptionOf(target, connection)} 1\r\nPING\r\n`,
        ),
      )
    else if (line.startsWith('-ERR')) connection.refuse(line)
  }
}

/** The number that ends the line. @param lineEnd where its LF is */
function lastNumber(bytes: Buffer, lineEnd: number): number {
  let number = 0
  let scale = 1
  let at = bytes[lineEnd - 1] === CR ? lineEnd - 2 : lineEnd - 1
  for (; bytes[at] !== SPACE; at--) {
    number += ((bytes[at] as number) - ZERO) * scale
    scale *= 10
  }
  return number
}
