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

/** Says something to the others in a room, on all nodes; not stored, and left out where a socket is full. */
export function broadcast(caller: Caller, command: Command, action: BroadcastAction, { hub, source }: Services): void {
  checkWithin(caller, command, action.within)
  const sender = senderOf(caller)
  const room = action.room(command.data, sender)
  if (!action.elsewhere) checkRooms(caller, typeof room === 'string' ? [room] : room)
  const message = action.message(command.data, sender)
  const body = jsonBody({ room, message })
  const { application } = caller.subscriber
  // What is too large for the others is said to nobody.
  source.notify(`${PREFIX}${application.app}`, body)
  hub.broadcast(application, room, message, (subscriber) => subscriber === caller.subscriber)
  command.acknowledge?.([{ status: 'success' }])
}

/** Passes on what was said on other nodes. */
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

/** Whatever stands there: one that a client cannot read would end its connection. @throws BrokerError INVALID_RECORD */
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
    // No JSON is no record either.
  }
  throw new BrokerError('INVALID_RECORD', 'no JSON object')
}
