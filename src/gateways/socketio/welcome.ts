import { PacketType } from 'socket.io-parser'
import { eventValues } from '../../codecs/socketio.ts'
import { joinRooms, openClient } from '../../commands/lifecycle.ts'
import { restorePresence } from '../../commands/presence-channel.ts'
import { missed } from '../../commands/since.ts'
import { soon } from '../../guarded.ts'
import type { Message } from '../../hub/wire.ts'
import type { HandedOverSocket } from './handed-over-state.ts'
import type { SocketIoSocket } from './socket.ts'

/** CONNECT is answered; then comes what the client missed, then live events. */
export function begin(socket: SocketIoSocket): void {
  const { connection, context, namespace, connectionId, pid, recoversByPid } = socket
  context.namespaces.opened(namespace)
  if (socket.authenticated) open(socket)
  connection.sendText(PacketType.CONNECT, socket.name, { sid: connectionId, ...(recoversByPid ? { pid } : undefined) })
  if (socket.authenticated) enterRooms(socket, socket.recovered?.rooms ?? [])
}

/** Events can reach it from now on, once it is in rooms. */
export function open(socket: SocketIoSocket): void {
  openClient(socket, socket.context.services)
  socket.connection.identityChanged()
}

/** @param kept rooms of before that it may be in, where it comes back */
export function enterRooms(socket: SocketIoSocket, kept: readonly string[]): void {
  // What it was told last may have been too much for its connection.
  if (socket.closed) return
  const { recovered, contract, claims } = socket
  const { services } = socket.context
  const { hub, log } = services
  // While it was looked up, or had yet to say who it is, the stream became another one: as its events do not follow
  // those that the client has, it comes back and is told.
  if (recovered && recovered.logLife !== log.life) return socket.missed()
  const { endpoint } = socket.namespace
  const first = endpoint.welcome?.(socket)
  const position = log.position(recovered?.sinceSeq ?? hub.liveSeq)
  const tell = (message: Message) => {
    const values = eventValues(message, socket.positions ? position : undefined)
    socket.connection.sendText(PacketType.EVENT, socket.name, values)
  }
  if (first) tell(first)
  // Who logs out and in again is welcomed again.
  if (!endpoint.lateAuthentication) socket.forgetAuth()
  const own = socket.ownRooms()
  if (recovered?.byPosition) tell({ type: 'subscribed', data: { rooms: kept, position } })
  if (recovered?.missed) socket.reply(missed(recovered.missed.since, recovered.missed.oldest))
  const ofChannels = recovered?.places ? restorePresence(socket, recovered.places, services) : []
  const before = recovered ? kept : []
  const rooms = before.length + ofChannels.length === 0 ? own : new Set([...own, ...before, ...ofChannels])
  joinRooms(socket, rooms, contract.withAccess(claims, []), services, recovered?.sinceSeq)
}

/** Goes on where it was in another worker. */
export function resume(socket: SocketIoSocket, { places, rooms, epoch }: HandedOverSocket): void {
  const { namespaces, services } = socket.context
  namespaces.opened(socket.namespace)
  if (!socket.authenticated) return
  openClient(socket, services)
  // Its connection has all of its sockets before one of them may end it.
  if (epoch !== services.log.epoch) return soon('recovery', () => socket.missed())
  if (places) restorePresence(socket, places, services)
  const predicate = socket.contract.withAccess(socket.claims, [])
  for (const [sinceSeq, names] of rooms) joinRooms(socket, names, predicate, services, sinceSeq)
}
