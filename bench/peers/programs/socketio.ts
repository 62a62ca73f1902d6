import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createVerifier } from 'fast-jwt'
import { Server } from 'socket.io'
import { printPort, subscribeEvents } from './events.ts'
import { App, us_socket_local_port } from './uws.ts'

/**
 * A process: the `socket.io` package between NATS and its clients, attached to uWebSockets.js or on its default `ws`.
 * Like Roomcast it checks the token, joins the rooms and welcomes the client; it gives none of Roomcast's guarantees.
 */

const {
  NATS_URL = '',
  SUBJECT = '',
  TYPE = '',
  SOCKETIO_NAMESPACE = '',
  ROOM = '',
  JWT_SECRET,
  ON_UWS,
  PORT = '0',
} = process.env

const io = new Server({ transports: ['websocket'], perMessageDeflate: false, serveClient: false })
const verify = createVerifier({ key: JWT_SECRET as string, algorithms: ['HS256'], requiredClaims: ['sub', 'exp'] })
const namespace = io.of(SOCKETIO_NAMESPACE)

namespace.use((socket, next) => {
  try {
    socket.data.userId = verify(socket.handshake.auth.token).sub
    next()
  } catch {
    next(new Error('AUTH_FAILED'))
  }
})

namespace.on('connection', (socket) => {
  const { userId } = socket.data
  socket.join([`user:${userId}`, ROOM])
  const data = { connection_id: socket.id, user_id: userId, protocol_version: '1.0' }
  socket.emit('connection_established', { type: 'connection.established', timestamp: new Date().toISOString(), data })
})

await subscribeEvents(NATS_URL, SUBJECT, TYPE, (event) => {
  namespace.to(ROOM).emit(event.type, event, event.id)
})

if (ON_UWS !== undefined) {
  const app = App()
  io.attachApp(app)
  app.listen('127.0.0.1', Number(PORT), (socket) => {
    if (!socket) throw new Error('cannot listen')
    printPort(us_socket_local_port(socket))
  })
} else {
  const http = createServer()
  io.attach(http)
  http.listen(Number(PORT), '127.0.0.1', () => printPort((http.address() as AddressInfo).port))
}
