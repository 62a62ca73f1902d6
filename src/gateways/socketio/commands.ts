import { PacketType } from 'socket.io-parser'
import { dispatch } from '../../commands/dispatch.ts'
import { permittedRooms } from '../../commands/permission.ts'
import type { Command } from '../../contracts/command.ts'
import type { LateAuthentication } from '../../contracts/contract.ts'
import { BrokerError } from '../../errors.ts'
import { type Identity, inTime } from '../../state/login-sessions.ts'
import { askerOf } from './connecting.ts'
import { failureOf } from './failure.ts'
import type { SocketIoSocket } from './socket.ts'
import { enterRooms, open } from './welcome.ts'

/**
 * An event of a client is a command: counted, queued behind those before it, and carried out.
 * @param ackId of the acknowledgement that the client wants, if any
 * @param bytes of the packet that it came in
 */
export function receiveCommand(
  socket: SocketIoSocket,
  type: string,
  args: readonly unknown[],
  ackId: number | undefined,
  bytes: number,
): void {
  const { connection, name } = socket
  const command: Command = {
    type,
    data: args[0] ?? {},
    args,
    ...(ackId === undefined
      ? undefined
      : { acknowledge: (values: readonly unknown[]) => connection.send(PacketType.ACK, name, values, ackId) }),
  }
  if (!socket.admits(command)) return
  connection.queues.run(bytes, () => {
    // A logout before it may have put another socket in this one's place.
    const current = connection.socketIn(name)
    return current && carryOut(current, command, bytes)
  })
}

function carryOut(socket: SocketIoSocket, command: Command, bytes: number): Promise<void> | undefined {
  const { contract, context } = socket
  const late = socket.namespace.endpoint.lateAuthentication
  if (late && command.type === late.command) return authenticate(socket, late, command)
  if (late && !socket.authenticated && !contract.commands.get(command.type)?.anonymous) {
    socket.keepEarly(command, bytes)
    return undefined
  }
  return dispatch(socket, command, context.services, context.meters)
}

/** The command by which a client says who it is, or that it is still who it was. */
async function authenticate(
  socket: SocketIoSocket,
  late: LateAuthentication,
  { data, acknowledge }: Command,
): Promise<void> {
  const { access, services, meters, failures } = socket.context
  const { connection } = socket
  try {
    const identity = await access.identify(late, data)
    const kept = await keptRoomsOf(socket, identity)
    if (socket.authenticated && socket.userId !== identity.claims.sub)
      throw new BrokerError('AUTH_FAILED', "This connection is another user's; log out first")
    if (socket.closed) return
    // The answer may have taken its time.
    inTime(identity.claims)
    const anew = !socket.authenticated
    try {
      if (anew) access.enter(socket.namespace, identity.claims, connection)
      else socket.renew(identity)
    } catch (error) {
      socket.reply(late.refused(failureOf(error)))
      connection.disconnect(socket)
      return
    }
    socket.identify(identity)
    if (anew) open(socket)
    socket.reply(late.succeeded(identity.claims))
    if (anew) enterRooms(socket, kept)
    await socket.remember()
    acknowledge?.([{ status: 'success' }])
    for (const early of socket.takeEarly()) if (!socket.closed) await dispatch(socket, early, services, meters)
  } catch (error) {
    const failure = failureOf(error)
    meters.error(failure.code)
    if (socket.closed) return
    socket.reply(late.failed(failure))
    acknowledge?.([{ status: 'error', error_code: failure.code, error_message: failure.message }])
    if (failure.code.startsWith('AUTH_')) failures.count(connection)
    connection.endIfFailing()
  }
}

/** Rooms in which a client was before it came back, as far as it may be in them now. */
async function keptRoomsOf(socket: SocketIoSocket, { claims }: Identity): Promise<readonly string[]> {
  if (socket.authenticated) return []
  const { contract, recovered, context, connection } = socket
  const { gone, countRead } = askerOf(connection, contract)
  const asker = { gone: () => socket.closed || gone(), ...(recovered?.byPosition ? { countRead } : undefined) }
  return (await permittedRooms(contract, claims, recovered?.rooms ?? [], context.services.source, asker)) ?? []
}
