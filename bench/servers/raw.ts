import { connect } from 'nats'
import { App, us_socket_local_port } from 'uWebSockets.js'

/**
 * A process: the least that a uWebSockets.js server does between NATS and its clients. It sends the same bytes as
 * Roomcast does, to whoever connects, and keeps no promise about them.
 */

const { NATS_URL, SUBJECT = '', BY_MESSAGE, MAX_BACKPRESSURE_BYTES, IDLE_TIMEOUT_S } = process.env
/** Clients ask to be subscribed, as they ask Roomcast, rather than being so from the start. */
const byMessage = BY_MESSAGE !== undefined
/** As long as a stream's epoch in Roomcast's positions. */
const EPOCH = '0123456789'
const TOPIC = 't'

const app = App().ws('/*', {
  maxBackpressure: Number(MAX_BACKPRESSURE_BYTES),
  idleTimeout: Number(IDLE_TIMEOUT_S),
  open: (ws) => {
    if (!byMessage) ws.subscribe(TOPIC)
  },
  message: (ws) => {
    ws.send(JSON.stringify({ type: 'subscribed' }))
    ws.subscribe(TOPIC)
  },
})

const nc = await connect({ servers: NATS_URL as string })
const type = SUBJECT.slice(SUBJECT.lastIndexOf('.') + 1)
const decoder = new TextDecoder()
let events = 0
nc.subscribe(SUBJECT, {
  callback: (_error, message) => {
    const { data } = JSON.parse(decoder.decode(message.data))
    app.publish(TOPIC, JSON.stringify({ type, data, timestamp: new Date().toISOString(), id: `${EPOCH}-${++events}` }), false)
  },
})
await nc.flush()

app.listen('127.0.0.1', 0, (socket) => {
  if (!socket) throw new Error('cannot listen')
  process.stdout.write(`${JSON.stringify({ port: us_socket_local_port(socket) })}\n`)
})
