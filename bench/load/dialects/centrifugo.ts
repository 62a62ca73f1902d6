import type { Target } from './target.ts'
import { type Dialect, type DialectConnection, subscriptionOf } from './dialect.ts'

const LF = 10

/**
 * Centrifugo's bidirectional protocol in JSON: a frame holds one message a line; an empty object is a ping, and its
 * answer. https://centrifugal.dev/docs/transports/client_protocol
 */
export function centrifugo(target: Target): Dialect {
  const hear = (connection: DialectConnection, message: string) => {
    if (message === '{}') connection.sendText('{}')
    else if (message.includes('"error":')) connection.refuse(message.slice(0, 300))
    else if (message.startsWith('{"id":1,'))
      connection.sendText(`{"id":2,"subscribe":{"channel":"${subscriptionOf(target, connection)}"}}`)
    else if (message.startsWith('{"id":2,')) connection.ready()
  }
  return {
    pathOf: () => target.path,
    opened: (connection) => connection.sendText(`{"id":1,"connect":{"token":"${connection.token}","name":"bench"}}`),
    frame(connection, bytes, start, end) {
      for (let at = start; at < end; ) {
        let lineEnd = at
        while (lineEnd < end && bytes[lineEnd] !== LF) lineEnd++
        if (lineEnd > at && !connection.event(bytes, at, lineEnd)) hear(connection, bytes.toString('utf8', at, lineEnd))
        at = lineEnd + 1
      }
    },
  }
}
