import { type TSchema, Type } from 'typebox'
import { excerpt } from '../errors.ts'
import { isoTime } from '../time.ts'
import { command, defineContract, type EventContract, event } from '../contracts/contract.ts'
import type { StoredEvent } from '../contracts/action.ts'
import {
  type Activity,
  activityOf,
  auditEventOf,
  eventsOf,
  historyOf,
  OF_COMMAND,
  sessionRoom,
  sessionsOf,
  statisticsOf,
} from './gemini-activity.ts'
import { type Claims, claimNames } from '../contracts/claims.ts'
import type { Command, Failure } from '../contracts/command.ts'
import type { Sender } from '../contracts/command.ts'

/** Gemini Sessions, as its public API document has it; docs/applications.md has its events and commands. */

const text = Type.String()
const number = Type.Number()
const anything = Type.Unknown()
const optional = Type.Optional
const id = Type.String({ minLength: 1, maxLength: 256 })
const maybe = (schema: TSchema) => optional(Type.Union([schema, Type.Null()]))

const EVERYONE = 'everyone'
const MONITORING = 'monitoring'

/** Commands act in the session joined last. */
const sessionOf = ({ rooms }: Sender) => rooms.findLast((room) => room.startsWith('session:'))?.slice('session:'.length)
const roomOf = (sender: Sender) => sessionRoom(sessionOf(sender) ?? '')
const isAdmin = ({ roles = [] }: Claims) => roles.includes('admin')

/** To its session, which the producer's `rooms` or `data.sessionId` names. */
function inSession(data: Record<string, TSchema>): EventContract {
  return event(Type.Object({ sessionId: optional(text), ...data }), {
    rooms: (envelope) => sessionsOf(envelope).map(sessionRoom),
  })
}

/** An event that comes of a command: to the session that the command acts in. */
function said(type: string, data: Record<string, unknown>, sender: Sender): StoredEvent {
  return { type, data, rooms: [roomOf(sender)], source: OF_COMMAND }
}

/** The document's "Common Error Types". */
const MESSAGES = new Map([
  ['INVALID_MESSAGE', 'Invalid message format'],
  ['INVALID_ROOM', 'Session not found'],
  ['NOT_FOUND', 'Session not found'],
  ['NOT_JOINED', 'No session joined: emit join-session first'],
  ['ROOM_ACCESS_DENIED', 'Access denied'],
  ['ACCESS_DENIED', 'Access denied'],
  ['AUTH_MISSING', 'Authentication failed'],
  ['AUTH_FAILED', 'Authentication failed'],
  ['AUTH_EXPIRED', 'Authentication failed'],
])
const messageOf = ({ code, message }: Failure) => MESSAGES.get(code) ?? message

function answerOf(failure: Failure, { type }: Command) {
  const message = messageOf(failure)
  return {
    acknowledgement: [{ status: 'error', error_code: failure.code, error_message: message }],
    message: {
      type: 'error',
      data: {
        message,
        code: failure.code,
        event: excerpt(type),
        ...(failure.code === 'INVALID_MESSAGE' ? { details: failure.details } : undefined),
      },
    },
  }
}

const call = { callId: id }
const toolRun = { name: text, callId: optional(text), executionTime: optional(number) }

export const geminiSessions = defineContract({
  app: 'gemini-sessions',
  about: 'Chats with a model that uses tools, and who watches them',
  port: { option: 'GEMINI_SESSIONS_PORT', default: 3000 },
  claims: ['session_access'],
  endpoints: [
    {
      transport: 'socketio',
      namespace: '/',
      joins: () => [EVERYONE],
      refusalMessage: messageOf,
      refusal: ({ code }) => ({ code }),
      expired: (failure) => ({ type: 'error', data: { message: messageOf(failure), code: failure.code } }),
      failed: answerOf,
    },
  ],

  events: {
    'chat:message': inSession({
      content: text,
      userId: optional(text),
      messageId: optional(text),
      timestamp: optional(text),
    }),
    'chat:cleared': inSession({ timestamp: optional(text) }),
    'chat:typing': inSession({ userId: text, typing: Type.Boolean() }),
    'gemini:content': inSession({ text, accumulated: optional(text) }),
    'gemini:thought': inSession({ thought: optional(anything), summary: optional(anything) }),
    'gemini:tool-request': inSession({ callId: text, tool: text, args: optional(anything) }),
    'gemini:tool-result': inSession({ callId: text, result: optional(anything) }),
    'gemini:done': inSession({ fullResponse: text, timestamp: optional(text) }),
    'gemini:cancelled': inSession({ message: optional(text) }),
    'gemini:error': inSession({ error: anything }),
    'tool:execution-start': inSession({ ...toolRun, args: optional(anything) }),
    'tool:execution-complete': inSession({ ...toolRun, result: optional(anything), resultDisplay: optional(anything) }),
    'tool:execution-error': inSession({ ...toolRun, error: anything }),
    'tool:approved': inSession({ callId: text, approvedBy: optional(text), timestamp: optional(text) }),
    'tool:rejected': inSession({ callId: text, rejectedBy: optional(text), reason: optional(text) }),
    'tool:list-response': inSession({ tools: Type.Array(anything) }),
    'system:broadcast': event(
      Type.Object({ message: text, type: optional(text), from: optional(text), timestamp: optional(text) }),
      { rooms: () => [EVERYONE] },
    ),
    // What is kept of commands: the room that shows every event shows them as they are.
    'monitoring:event': event(
      Type.Object({
        type: text,
        userId: maybe(text),
        sessionId: maybe(text),
        data: anything,
        timestamp: optional(text),
      }),
      { rooms: () => [] },
    ),
  },

  rooms: {
    'session:{id}': {
      allows: (claims, session) => claimNames(claims, 'session_access', session),
      record: { bucket: 'roomcast_sessions', allows: ({ sub }, record) => record?.ownerId === sub },
    },
    [EVERYONE]: {},
    [MONITORING]: {
      allows: isAdmin,
      projection: (envelope) => {
        const activity: Activity | undefined = activityOf(envelope)
        return activity && { type: 'monitoring:event', data: activity }
      },
    },
  },

  session: sessionOf,
  audit: (given, sender) => auditEventOf(given, sender, sessionOf(sender)),

  commands: {
    'join-session': command(Type.Object({ sessionId: text }), {
      use: 'join',
      room: ({ sessionId }) => sessionRoom(sessionId),
      reply: (_, { data: { sessionId } }) => ({ type: 'session-joined', data: { sessionId } }),
      acknowledgement: (_, { data: { sessionId } }) => [{ status: 'success', sessionId }],
    }),

    'chat:message': {
      ...command(Type.Object({ content: Type.String({ minLength: 1 }) }), {
        use: 'store',
        event: ({ data: { content } }, sender, messageId) =>
          said('chat:message', { messageId, userId: sender.userId, content, timestamp: isoTime() }, sender),
        forward: (_, { type, data }) => ({
          type,
          data,
          failed: ({ code, message: error }) => ({ type: 'gemini:error', data: { error, code } }),
        }),
      }),
      inSession: true,
    },
    'chat:cancel': { action: { use: 'forward' }, inSession: true },
    'chat:clear': {
      action: { use: 'store', event: (_, sender) => said('chat:cleared', { timestamp: isoTime() }, sender) },
      inSession: true,
    },
    'chat:get-history': { action: historyOf(sessionOf), inSession: true },
    'chat:typing': {
      ...command(Type.Object({ typing: Type.Boolean() }), {
        use: 'broadcast',
        room: (_, sender) => roomOf(sender),
        message: ({ typing }, { userId }) => ({ type: 'chat:typing', data: { userId, typing } }),
      }),
      inSession: true,
    },

    'tool:execute': {
      ...command(
        Type.Object({ name: id, args: optional(Type.Record(Type.String(), anything)), callId: optional(id) }),
        {
          use: 'forward',
          failed: ({ code, message }, { data: { name, callId } }, executionTime) => ({
            type: 'tool:execution-error',
            data: {
              name,
              ...(callId === undefined ? undefined : { callId }),
              error: `Tool execution failed: ${message}`,
              code,
              executionTime,
            },
          }),
        },
      ),
      inSession: true,
    },
    'tool:approve': {
      ...command(Type.Object(call), {
        use: 'store',
        event: ({ data: { callId } }, sender) =>
          said('tool:approved', { callId, approvedBy: sender.userId, timestamp: isoTime() }, sender),
        forward: (_, { type, data }) => ({ type, data }),
      }),
      inSession: true,
    },
    'tool:reject': {
      ...command(Type.Object({ ...call, reason: optional(text) }), {
        use: 'store',
        event: ({ data: { callId, reason } }, sender) =>
          said(
            'tool:rejected',
            { callId, rejectedBy: sender.userId, ...(reason === undefined ? undefined : { reason }) },
            sender,
          ),
        forward: (_, { type, data }) => ({ type, data }),
      }),
      inSession: true,
    },
    'tool:list': {
      action: {
        use: 'forward',
        replies: Type.Object({ tools: Type.Array(anything) }),
        succeeded: (data) => ({ type: 'tool:list-response', data: { tools: (data as { tools: unknown[] }).tools } }),
      },
      inSession: true,
    },

    'monitoring:subscribe': {
      action: { use: 'join', room: () => MONITORING, acknowledgement: () => [{ status: 'success' }] },
    },
    'monitoring:unsubscribe': {
      action: { use: 'leave', room: () => MONITORING, acknowledgement: () => [{ status: 'success' }] },
      allows: isAdmin,
    },
    'monitoring:get-events': {
      ...command(
        Type.Object({ userId: maybe(text), sessionId: maybe(text), limit: maybe(Type.Integer({ minimum: 1 })) }),
        eventsOf(),
      ),
      allows: isAdmin,
    },
    'monitoring:get-stats': { ...command(Type.Object({ userId: maybe(text) }), statisticsOf()), allows: isAdmin },
    'monitoring:broadcast': {
      ...command(
        Type.Object({
          message: Type.String({ minLength: 1 }),
          type: optional(Type.Union([Type.Literal('info'), Type.Literal('warning'), Type.Literal('error')])),
        }),
        {
          use: 'store',
          event: ({ data: { message, type = 'info' } }, { userId: from }) => ({
            type: 'system:broadcast',
            data: { message, type, from, timestamp: isoTime() },
          }),
        },
      ),
      allows: isAdmin,
    },
  },
})
