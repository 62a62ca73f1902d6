import { jsonBody } from '../plain.ts'
import type { Message } from '../contracts/contract.ts'
import type { BroadcastAction } from '../contracts/action.ts'
import { RESERVED_EVENTS } from '../contracts/reserved.ts'
import { BrokerError } from '../errors.ts'
import { isRecord } from '../log/event.ts'
import { type Caller, checkRooms, checkWithin, senderOf } from './caller.ts'
import type { Services } from './services.ts'
import type { Command } from '../contracts/command.ts'

const PREFIX = 'roomcast.say.'

/**
 * Sends a message to everyone else in a room, on all nodes. It is not stored, and clients whose socket is full do not
 * get it.
 */
export function broadcast(caller: Caller, command: Command, action: BroadcastAction, { hub, source }: Services): void {
  checkWithin(caller, command, action.within)
  const sender = senderOf(caller)
  const room = action.room(command.data, sender)
  if (!action.elsewhere) checkRooms(caller, typeof room === 'string' ? [room] : room)
  const message = action.message(command.data, sender)
  const body = jsonBody({ room, message })
  const { application } = caller.subscriber
  // Notify the other brokers first: if the message is too large for them, this throws and nobody gets it.
  source.notify(`${PREFIX}${application.app}`, body)
  hub.broadcast(application, room, message, (subscriber) => subscriber === caller.subscriber)
  command.acknowledge?.([{ status: 'success' }])
}

/** Delivers broadcasts from other nodes to the clients here. */
export function hearOthers(
  { hub, source }: Services,
  applications: Iterable<{ app: string; application: Parameters<Services['hub']['broadcast']>[0] }>,
): void {
  for (const { app, application } of applications) {
    source.listen(`${PREFIX}${app}`, (body) => {
      const { room, message } = read(body)
      hub.broadcast(application, room, message)
    })
  }
}

/**
 * Checks what another program may have sent: a message that a client cannot read would end its connection.
 * @throws BrokerError INVALID_RECORD
 */
function read(body: Uint8Array): { room: string | readonly string[]; message: Message } {
  const { room, message } = recordIn(body)
  if (typeof room !== 'string' && !(Array.isArray(room) && room.every((name) => typeof name === 'string')))
    throw new BrokerError('INVALID_RECORD', 'no room is named')
  if (!isRecord(message) || typeof message.type !== 'string' || RESERVED_EVENTS.has(message.type))
    throw new BrokerError('INVALID_RECORD', 'the message has no type')
  const { type, data, args } = message
  if (args !== undefined && !Array.isArray(args)) throw new BrokerError('INVALID_RECORD', 'the arguments are no list')
  return { room, message: { type, data, ...(args === undefined ? undefined : { args }) } }
}

function recordIn(body: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(body).toString())
    if (isRecord(value)) return value
  } catch {
    // Invalid JSON is rejected below, like any other value that is not an object.
  }
  throw new BrokerError('INVALID_RECORD', 'no JSON object')
}
