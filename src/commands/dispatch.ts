import { Type } from 'typebox'
import type { CompiledCommand } from '../contracts/compiled.ts'
import type { CommandContract } from '../contracts/contract.ts'
import { BrokerError, excerpt } from '../errors.ts'
import { reportFault } from '../guarded.ts'
import { isRecord } from '../log/event.ts'
import type { Meters } from '../meters.ts'
import { authenticate } from './authenticate.ts'
import { batch } from './batch.ts'
import { type Caller, senderOf } from './caller.ts'
import type { Services } from './services.ts'
import { forward } from './forward.ts'
import { identity } from './identity.ts'
import { join, leave } from './join.ts'
import { lock, unlock } from './lock.ts'
import { joinPresence, leavePresence, select } from './presence-channel.ts'
import { broadcast } from './broadcast.ts'
import { audit, store } from './store.ts'
import { subscribe, unsubscribe } from './subscribe.ts'
import type { Command } from '../contracts/command.ts'

const names = Type.Array(Type.String({ minLength: 1, maxLength: 256 }), { maxItems: 256 })
const filterValue = Type.Union([
  Type.String(),
  Type.Number(),
  Type.Boolean(),
  Type.Array(Type.Union([Type.String(), Type.Number(), Type.Boolean()]), { maxItems: 1_000 }),
])

/** The commands of every raw WebSocket endpoint; its contract may add more (docs/protocol.md). */
export const BUILT_IN_COMMANDS: Readonly<Record<string, CommandContract>> = {
  subscribe: {
    schema: Type.Object({
      events: Type.Optional(names),
      rooms: Type.Optional(names),
      filters: Type.Optional(Type.Record(Type.String({ maxLength: 256 }), filterValue, { maxProperties: 256 })),
      since: Type.Optional(Type.Unknown()),
    }),
    action: { use: 'subscribe' },
  },
  unsubscribe: {
    schema: Type.Object({ events: Type.Optional(names), rooms: Type.Optional(names) }),
    action: { use: 'unsubscribe' },
  },
  ping: { action: { use: 'echo', reply: ({ id }) => ({ type: 'pong', data: { client_id: id ?? null } }) } },
  authenticate: { schema: Type.Object({ token: Type.String() }), action: { use: 'authenticate' } },
}

/** The actions that a client may still use after its token has expired: they renew its identity or end it. */
const RENEWALS: ReadonlySet<string> = new Set(['authenticate', 'refresh', 'logout'])

/**
 * Carries out a message from a raw client.
 * @returns a promise if the client's next command has to wait for this one
 */
export function dispatchMessage(
  caller: Caller,
  message: unknown,
  services: Services,
  meters: Meters,
): Promise<void> | undefined {
  let command: Command
  try {
    command = read(message)
  } catch (error) {
    fail(caller, undefined, meters, error)
    return undefined
  }
  return dispatch(caller, command, services, meters)
}

/** @returns a promise if the client's next command has to wait for this one */
export function dispatch(
  caller: Caller,
  command: Command,
  services: Services,
  meters: Meters,
): Promise<void> | undefined {
  try {
    const { contract } = caller
    const known = contract.commands.get(command.type)
    if (caller.authenticated === false && !known?.anonymous) throw new BrokerError('AUTH_MISSING', 'Authenticate first')
    if (!known || (known.namespaces && !known.namespaces.includes(caller.endpointName ?? '')))
      throw new BrokerError('UNKNOWN_TYPE', `There is no command "${command.type.slice(0, 100)}"`, {
        known: [...contract.commands.keys()],
      })
    meters.command(contract.app, command.type)
    const faults = known.check(command.data)
    if (faults.length > 0)
      throw new BrokerError('INVALID_MESSAGE', `The data of "${command.type}" is not valid: ${faults[0]}`, { faults })
    // Check here: until the next sweep of all connections, the client could go on acting with an expired token.
    if (!RENEWALS.has(known.action.use) && caller.endIfExpired(Date.now())) return undefined
    checkSender(caller, known)
    audit(caller, command, services)
    const { action } = known
    switch (action.use) {
      case 'subscribe':
        return failing(caller, command, meters, subscribe(caller, command, services))
      case 'unsubscribe':
        unsubscribe(caller, command, services)
        return undefined
      case 'authenticate':
        authenticate(caller, command, services)
        return undefined
      case 'join':
        return failing(caller, command, meters, join(caller, command, action, services))
      case 'leave':
        return failing(caller, command, meters, leave(caller, command, action, services))
      case 'joinPresence':
        return failing(caller, command, meters, joinPresence(caller, command, action, services))
      case 'leavePresence':
        return failing(caller, command, meters, leavePresence(caller, command, action, services))
      case 'select':
        return failing(caller, command, meters, select(caller, command, action, services))
      case 'store':
        return failing(caller, command, meters, store(caller, command, action, services))
      case 'broadcast':
        broadcast(caller, command, action, services)
        return undefined
      case 'check':
      case 'refresh':
      case 'logout':
        return failing(caller, command, meters, identity(caller, command, action))
      case 'lock':
        return failing(caller, command, meters, lock(caller, command, action, services))
      case 'unlock':
        return failing(caller, command, meters, unlock(caller, command, action, services))
      case 'batch':
        return failing(
          caller,
          command,
          meters,
          batch(caller, command, action, (one) => dispatch(caller, one, services, meters)),
        )
      case 'echo':
        if (action.reply) caller.reply(action.reply(command))
        if (action.acknowledgement) command.acknowledge?.(action.acknowledgement(command))
        return undefined
      case 'forward': {
        // The client's next command does not wait for the service.
        const outcome = failing(caller, command, meters, forward(caller, command, action, services, known.checkReply))
        if (outcome) caller.answersLater?.(outcome)
        return undefined
      }
      case 'query':
        return failing(caller, command, meters, services.logQueries.answer(caller, command, action))
      default:
        return action satisfies never
    }
  } catch (error) {
    fail(caller, command, meters, error)
    return undefined
  }
}

/** @throws BrokerError ACCESS_DENIED, NOT_JOINED */
function checkSender(caller: Caller, { allows, inSession }: CompiledCommand): void {
  if (allows && !caller.claims.roles?.includes('admin') && !allows(caller.claims))
    throw new BrokerError('ACCESS_DENIED')
  if (inSession && caller.contract.contract.session?.(senderOf(caller)) === undefined)
    throw new BrokerError('NOT_JOINED')
}

function read(message: unknown): Command {
  if (!isRecord(message)) throw new BrokerError('INVALID_MESSAGE', 'The message is not an object {type, data, id?}')
  const { type, data = {}, id } = message
  if (typeof type !== 'string') throw new BrokerError('INVALID_MESSAGE', '`type` is missing or not a string')
  if (!isRecord(data)) throw new BrokerError('INVALID_MESSAGE', '`data` is not an object')
  return { type, data, ...(typeof id === 'string' || typeof id === 'number' ? { id } : undefined) }
}

function failing(
  caller: Caller,
  command: Command,
  meters: Meters,
  outcome: Promise<void> | undefined,
): Promise<void> | undefined {
  return outcome?.catch((error: unknown) => fail(caller, command, meters, error))
}

function fail(caller: Caller, command: Command | undefined, meters: Meters, error: unknown): void {
  if (!(error instanceof BrokerError)) reportFault('command', error)
  // For an unforeseen error, the client gets only INTERNAL.
  const { code, message, details } = error instanceof BrokerError ? error : new BrokerError('INTERNAL')
  meters.error(code)
  if (caller.closed) return
  try {
    caller.fail({ code, message, ...(details === undefined ? undefined : { details: excerpt(details) }) }, command)
  } catch (unsayable) {
    reportFault('command', unsayable)
  }
}
