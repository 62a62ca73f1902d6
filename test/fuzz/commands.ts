import type { TSchema } from 'typebox'
import { BUILT_IN_COMMANDS } from '../../src/commands/dispatch.ts'
import { codingAssistant } from '../../src/applications/coding-assistant.ts'
import type { Contract } from '../../src/contracts/contract.ts'
import { portOf } from '../../src/contracts/ports.ts'
import { gameDjinn } from '../../src/applications/game-djinn.ts'
import { geminiSessions } from '../../src/applications/gemini-sessions.ts'
import { orchestratorPortal } from '../../src/applications/orchestrator-portal.ts'
import { sweAgent } from '../../src/applications/swe-agent.ts'
import type { Random } from './random.ts'
import type { PortName } from './script.ts'
import { anyId, oddText, oddValue, validValue } from './values.ts'

export const CONTRACTS: readonly Contract[] = [gameDjinn, sweAgent, orchestratorPortal, codingAssistant, geminiSessions]

/** An application that speaks Socket.IO, and where. */
export interface SocketIoApplication {
  readonly contract: Contract
  readonly port: PortName
  readonly namespaces: readonly string[]
}

export const SOCKET_IO_APPLICATIONS: readonly SocketIoApplication[] = CONTRACTS.flatMap((contract) => {
  const namespaces = contract.endpoints.flatMap((endpoint) =>
    endpoint.transport === 'socketio' ? [endpoint.namespace.replace(/\{[^}]*\}/, 'p1')] : [],
  )
  return namespaces.length > 0 ? [{ contract, port: portOf(contract) as PortName, namespaces }] : []
})

export interface GeneratedCommand {
  readonly type: string
  readonly data: unknown
}

/** A command of the application as its schema wants it; where there is none, as its documents' examples are. */
export function validCommand({ commands = {} }: Contract, random: Random): GeneratedCommand {
  const type = random.pick(Object.keys(commands))
  return { type, data: validData(commands[type]?.schema, random) }
}

/** A command of every raw WebSocket endpoint. */
export function builtInCommand({ events, groups = {}, filters = {} }: Contract, random: Random): GeneratedCommand {
  const type = random.pick(Object.keys(BUILT_IN_COMMANDS))
  if (type !== 'subscribe') return { type, data: validData(BUILT_IN_COMMANDS[type]?.schema, random) }
  const data = {
    events: random.some(4, () => random.pick([...Object.keys(events), ...Object.keys(groups)])),
    ...(random.chance(0.3)
      ? {
          filters: Object.fromEntries(
            random.some(3, () => [
              random.pick([...Object.keys(filters), oddText(random)]),
              random.pick<unknown>([anyId(random), [anyId(random)], oddValue(random)]),
            ]),
          ),
        }
      : undefined),
    ...(random.chance(0.3)
      ? {
          since: random.pick<unknown>([
            '{offset}',
            'abc-0',
            '-',
            `${'a'.repeat(40)}-9007199254740991`,
            oddValue(random),
          ]),
        }
      : undefined),
  }
  return { type, data }
}

function validData(schema: TSchema | undefined, random: Random): unknown {
  return schema === undefined
    ? random.pick([{}, { room: `project:${anyId(random)}` }, { sessionId: anyId(random) }, { events: ['x'] }])
    : validValue(schema, random)
}

/** An event as a producer would publish it. */
export function validEvent(
  { events }: Contract,
  random: Random,
): { readonly type: string; readonly body: Record<string, unknown> } {
  const type = random.pick(Object.keys(events))
  const schema = events[type]?.schema
  const data = {
    ...(schema === undefined ? {} : (validValue(schema, random) as object)),
    ...Object.fromEntries(
      ['project_name', 'project_id', 'projectId', 'sessionId', 'library_id', 'conversation_id', 'user_id']
        .filter(() => random.chance(0.3))
        .map((key) => [key, anyId(random)]),
    ),
  }
  return {
    type,
    body: {
      data,
      ...(random.chance(0.2) ? { id: anyId(random) } : undefined),
      ...(random.chance(0.2)
        ? { rooms: random.some(3, () => `${random.pick(['project', 'session', 'user'])}:${anyId(random)}`) }
        : undefined),
      ...(random.chance(0.1) ? { user_id: `user-${random.int(500)}` } : undefined),
      ...(random.chance(0.2) ? { source: 'service', timestamp: '2026-01-01T00:00:00Z' } : undefined),
    },
  }
}
