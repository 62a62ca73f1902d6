import { eventPrefix } from '../../events/workload.ts'
import { printPort, subscribeEvents } from './events.ts'
import { App, us_socket_local_port } from './uws.ts'

/**
 * A process: the least that a uWebSockets.js server does between NATS and its clients. It sends the same bytes as
 * Roomcast to everyone who connects, and guarantees nothing.
 */

const {
  NATS_URL = '',
  SUBJECT = '',
  TYPE = '',
  SOCKETIO_NAMESPACE,
  BY_MESSAGE,
  MAX_BACKPRESSURE_BYTES,
  IDLE_TIMEOUT_S,
  PORT = '0',
} = process.env
/** Clients ask to be subscribed, as they ask Roomcast, rather than being so from the start. */
const byMessage = BY_MESSAGE !== undefined
const TOPIC = 't'
const decoder = new TextDecoder()

const app = App().ws('/*', {
  maxBackpressure: Number(MAX_BACKPRESSURE_BYTES),
  idleTimeout: Number(IDLE_TIMEOUT_S),
  open: (ws) => {
    if (!byMessage) ws.subscribe(TOPIC)
  },
  message: (ws, message) => {
    const { rooms = [TOPIC] } = JSON.parse(decoder.decode(message)).data
    ws.send(JSON.stringify({ type: 'subscribed' }))
    for (const room of rooms) ws.subscribe(room)
  },
})

const prefix = SOCKETIO_NAMESPACE === undefined ? undefined : eventPrefix(SOCKETIO_NAMESPACE)
await subscribeEvents(NATS_URL, SUBJECT, TYPE, ({ type, timestamp, data, id }) => {
  const frame =
    prefix === undefined
      ? JSON.stringify({ type, data, timestamp, id })
      : `${prefix}${JSON.stringify([type, { type, timestamp, data, id }, id]).slice(1)}`
  const { k } = data as { k?: number }
  app.publish(k === undefined ? TOPIC : `room:${k}`, frame, false)
})

app.listen('127.0.0.1', Number(PORT), (socket) => {
  if (!socket) throw new Error('cannot listen')
  printPort(us_socket_local_port(socket))
})
