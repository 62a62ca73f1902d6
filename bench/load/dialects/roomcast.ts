import type { Target } from './target.ts'
import { type Dialect, type DialectConnection, subscriptionOf } from './dialect.ts'

/** Roomcast's raw protocol (docs/protocol.md), in JSON or msgpack. The raw uWebSockets.js peer speaks it as well. */
export function roomcast(target: Target): Dialect {
  const binary = target.format === 'msgpack'
  return {
    tailBytes: binary ? 0 : '"}'.length,
    pathOf: ({ token }) => `${target.path}?token=${token}${binary ? '&format=msgpack' : ''}`,
    opened(connection) {
      if (target.subscribe === undefined) return connection.ready()
      const { position } = connection
      const data = subscriptionOf(target, connection)
      const since =
        position === undefined ? data : `${data.slice(0, -1)}${data === '{}' ? '' : ','}"since":"${position}"}`
      if (binary) connection.sendBinary(msgpackCommand(JSON.parse(since)))
      else connection.sendText(`{"type":"subscribe","data":${since}}`)
    },
    visit(connection, room, on) {
      connection.sendText(`{"type":"${on ? 'subscribe' : 'unsubscribe'}","data":{"rooms":["${room}"]}}`)
    },
    talk(connection, room) {
      connection.sendText('{"type":"note","data":{}}')
      connection.sendText(`{"type":"say","data":{"room":"${room}"}}`)
    },
    frame(connection, bytes, start, end) {
      if (!connection.event(bytes, start, end)) hear(connection, bytes.toString('latin1', start, end))
    },
  }
}

/** What is no event. In msgpack the words look the same: short strings are their bytes behind their length. */
function hear(connection: DialectConnection, message: string): void {
  const type = /type(?:":"|[\xa0-\xbf])([a-z_]+)/.exec(message)?.[1] ?? ''
  if (type.startsWith('subscribed')) connection.ready()
  else if (type.startsWith('events_missed')) connection.toldMissed()
  else if (type.startsWith('error') || type.startsWith('connection_error')) connection.refuse(message.slice(0, 300))
}

/** `{type: "subscribe", data}`: maps, lists and strings are all there is in it. */
function msgpackCommand(data: unknown): Buffer {
  return Buffer.concat([...packed({ type: 'subscribe', data })])
}

function* packed(value: unknown): Generator<Buffer> {
  if (typeof value === 'string') {
    const bytes = Buffer.from(value)
    yield Buffer.from([0xda, bytes.length >> 8, bytes.length & 0xff])
    yield bytes
  } else if (Array.isArray(value)) {
    yield Buffer.from([0xdc, value.length >> 8, value.length & 0xff])
    for (const item of value) yield* packed(item)
  } else {
    const entries = Object.entries(value as object)
    yield Buffer.from([0xde, entries.length >> 8, entries.length & 0xff])
    for (const [key, item] of entries) {
      yield* packed(key)
      yield* packed(item)
    }
  }
}
