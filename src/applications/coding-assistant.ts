import { type TSchema, Type } from 'typebox'
import { excerpt } from '../errors.ts'
import { isoTime } from '../time.ts'
import {
  type AnyEvent,
  command,
  defineContract,
  type EventContract,
  event,
  type Message,
} from '../contracts/contract.ts'
import { type Claims, claimNames, listClaim, userOf } from '../contracts/claims.ts'
import type { Command, Failure } from '../contracts/command.ts'
import type { Sender } from '../contracts/command.ts'

/** Coding Assistant, as its public API document has it; docs/applications.md has its events and commands. */

const text = Type.String()
const anyObject = Type.Record(Type.String(), Type.Unknown())
const optional = Type.Optional

const id = Type.String({ minLength: 1, maxLength: 128 })
const path = Type.String({ minLength: 1, maxLength: 1_024 })
const named = optional(Type.Union([id, Type.Null()]))

const mayProject = (claims: Claims, project: string) => claimNames(claims, 'project_access', project)
const projectRoom = (project: string) => `project:${project}`
const userRoom = (user: string) => `user:${user}`
const ofProject = ({ projectId }: { projectId?: string | null }) => (projectId ? projectRoom(projectId) : undefined)

/** The `id` that an event names, as `projectId` or in `project`. */
function idOf(data: AnyEvent['data'], key: string, holder: string): string | undefined {
  const found = data[key] ?? data[holder]?.id
  return (typeof found === 'string' && found !== '') || typeof found === 'number' ? String(found) : undefined
}

/** The second argument of handlers: the document's `SocketEvent` without the event's name and data. */
function aboutOf(data: AnyEvent['data'], envelope?: AnyEvent): Record<string, unknown> {
  const userId = idOf(data, 'userId', 'user') ?? envelope?.user_id
  const projectId = idOf(data, 'projectId', 'project')
  const { source, id: correlationId, timestamp = isoTime() } = envelope ?? {}
  const ofSource =
    source === undefined
      ? undefined
      : {
          source,
          priority: 'medium',
          ...(correlationId === undefined ? undefined : { correlationId: String(correlationId) }),
        }
  const metadata = data.metadata ?? ofSource
  return {
    timestamp,
    ...(userId === undefined ? undefined : { userId }),
    ...(projectId === undefined ? undefined : { projectId }),
    ...(metadata === undefined ? undefined : { metadata }),
  }
}

/** What the broker itself says: handlers get the same two arguments as of an event. */
const told = (type: string, data: Record<string, unknown>): Message => ({ type, data, args: [data, aboutOf(data)] })

/** To the project's room, or else to the user's. */
function of(data: Record<string, TSchema> = {}): EventContract {
  return event(Type.Object(data), {
    rooms: ({ data: content }) => {
      const project = idOf(content, 'projectId', 'project')
      if (project !== undefined) return [projectRoom(project)]
      const user = idOf(content, 'userId', 'user')
      return user === undefined ? [] : [userRoom(user)]
    },
  })
}

const profileOf = (claims: Claims) => ({
  ...userOf(claims),
  roles: claims.roles ?? [],
  permissions: claims.permissions ?? [],
})
const authenticated = (claims: Claims) => told('auth:success', { user: profileOf(claims) })
const session = (claims: Claims) =>
  told('auth:session', {
    session: {
      user: profileOf(claims),
      userId: claims.sub,
      projectAccess: listClaim(claims, 'project_access') ?? [],
      expiresAt: new Date(claims.exp * 1000).toISOString(),
    },
  })

/** The document knows one code for whoever has to log in (again); an outage is none of that. */
const authError = ({ code, message }: Failure) =>
  told('auth:error', { code: code.startsWith('AUTH_') ? 'UNAUTHORIZED' : code, message })

/** Codes under the names that the document, or a user of it, knows. */
const CODES = new Map([
  ['LOCKED', 'FILE_LOCKED'],
  ['NOT_LOCKED', 'FILE_NOT_LOCKED'],
  ['AUTH_MISSING', 'UNAUTHORIZED'],
])

/** What a command's failure is told by: `auth:error`, `room:error` or `error`. */
function answerOf(failure: Failure, { type, data }: Command): Message {
  const { message, details } = failure
  const code = CODES.get(failure.code) ?? failure.code
  if (type.startsWith('auth:')) return authError(failure)
  const room = ROOM_COMMANDS.get(type)?.(typeof data === 'object' && data !== null ? data : {})
  if (room !== undefined) return told('room:error', { room: repeated(room), error: message, code })
  return told(code === 'UNAUTHORIZED' ? 'auth:error' : 'error', {
    code,
    message,
    event: excerpt(type),
    ...(details as object | undefined),
  })
}

/** Clients know by it which of their rooms is meant: one that is longer than any is cut. */
function repeated(room: unknown): unknown {
  return typeof room === 'string' && room.length <= ROOM_LENGTH_MAX ? room : excerpt(room)
}

const ROOM_LENGTH_MAX = 300

/** Commands that `room:joined`, `room:left` or `room:error` answers, and the room that they mean. */
const ROOM_COMMANDS: ReadonlyMap<string, (data: AnyEvent['data']) => unknown> = new Map<
  string,
  (data: AnyEvent['data']) => unknown
>([
  ['room:join', ({ room = null }) => room],
  ['room:leave', ({ room = null }) => room],
  ['room:leaveAll', () => null],
  ['user:join', ({ userId = null }) => (userId === null ? null : userRoom(userId))],
  ['user:leave', ({ userId = null }) => (userId === null ? null : userRoom(userId))],
  ['project:join', ({ projectId = null }) => (projectId === null ? null : projectRoom(projectId))],
  ['project:leave', ({ projectId = null }) => (projectId === null ? null : projectRoom(projectId))],
])

function roomCommand<S extends TSchema>(
  schema: S,
  use: 'join' | 'leave',
  room: (data: AnyEvent['data']) => unknown,
  rooms?: (sender: Sender) => readonly string[],
) {
  return command(schema, {
    use,
    room,
    ...(rooms ? { rooms } : undefined),
    reply: (name) => told(use === 'join' ? 'room:joined' : 'room:left', { room: name }),
    acknowledgement: (name) => [{ status: 'success', room: name }],
  })
}

/** The project that a message names, or all that its sender has joined. */
const projectsOf = (projectId: string | null | undefined, { rooms }: Sender) =>
  projectId ? [projectRoom(projectId)] : rooms.filter((room) => room.startsWith('project:'))
const sent = ({ claims }: Sender) => ({ userId: claims.sub, user: userOf(claims) })
const inRoom = Type.Object({ room: Type.String({ minLength: 1, maxLength: 256 }), userId: named })
const ofUser = Type.Object({ userId: id })
const inProject = Type.Object({ projectId: id, userId: named })
const ofFile = { projectId: id, userId: named, filePath: path }

export const codingAssistant = defineContract({
  app: 'coding-assistant',
  about: 'Projects with their files, chat with an AI, and who works on what',
  port: { option: 'CODING_ASSISTANT_PORT', default: 3001 },
  idPattern: '[^\\u0000-\\u001f]{1,256}',
  claims: ['project_access'],
  endpoints: [
    {
      transport: 'socketio',
      namespace: '/',
      handlerArguments: (envelope) => [envelope.data, aboutOf(envelope.data, envelope)],
      lateAuthentication: {
        command: 'auth:session',
        credential: ({ sessionId }) => ({ credential: sessionId }),
        sessions: true,
        timeoutMs: 30_000,
        succeeded: authenticated,
        failed: authError,
        refused: (failure, refused) => (refused ? answerOf(failure, refused) : authError(failure)),
        ended: authError,
        changed: session,
      },
      welcome: ({ claims }) => told('auth:login', { user: profileOf(claims) }),
      refusal: ({ code, message }) => ({ code: code.startsWith('AUTH_') ? 'UNAUTHORIZED' : code, message }),
      failed: (failure, failing) => {
        const { code, message, details } = failure
        return {
          acknowledgement: [
            { status: 'error', code: CODES.get(code) ?? code, message, ...(details as object | undefined) },
          ],
          message: answerOf(failure, failing),
        }
      },
    },
  ],

  events: {
    'auth:login': of({ user: optional(anyObject) }),
    'auth:logout': of({ userId: optional(text) }),
    'auth:session': of({ session: optional(anyObject) }),
    'project:created': of({ project: anyObject }),
    'project:updated': of({
      projectId: optional(text),
      update: optional(Type.Unknown()),
      project: optional(anyObject),
    }),
    'project:deleted': of({ projectId: text }),
    'file:created': of({ projectId: text, file: optional(anyObject), filePath: optional(text) }),
    'file:updated': of({ projectId: text, file: optional(anyObject), filePath: optional(text) }),
    'file:deleted': of({ projectId: text, file: optional(anyObject), filePath: optional(text) }),
    'file:locked': of({ projectId: text, filePath: text, lockType: optional(text), userId: optional(text) }),
    'file:unlocked': of({ projectId: text, filePath: text, lockType: optional(text), userId: optional(text) }),
    'ai:message': of({ message: Type.Unknown() }),
    'ai:response': of({ response: Type.Unknown() }),
    'ai:processing': of({ status: text, progress: optional(Type.Number()), error: optional(Type.Unknown()) }),
    'user:joined': of({ user: anyObject }),
    'user:left': of({ user: anyObject }),
    'user:typing': of({ user: optional(anyObject) }),
    'user:presence': of({ userId: optional(text), status: optional(text) }),
  },

  rooms: {
    'project:{id}': { allows: mayProject, presence: true },
    'user:{id}': { allows: ({ sub }, user) => sub === user },
    '{name}': {},
  },

  presence: {
    room: (channel) => channel,
    joined: (user, channel) => told('user:joined', { user, projectId: channel.slice('project:'.length) }),
    left: (user, channel) => told('user:left', { user, projectId: channel.slice('project:'.length) }),
  },

  locks: {
    locked: ({ resource, mode, userId }) => told('file:locked', { ...resource, lockType: mode, userId }),
    unlocked: ({ resource, mode, userId }) => told('file:unlocked', { ...resource, lockType: mode, userId }),
  },

  commands: {
    'auth:check': { action: { use: 'check', reply: authenticated } },
    'auth:refresh': { action: { use: 'refresh', reply: session } },
    'auth:logout': { action: { use: 'logout', reply: ({ sub }) => told('auth:logout', { userId: sub }) } },

    'user:join': roomCommand(ofUser, 'join', ({ userId }) => userRoom(userId)),
    // The document leaves the user's room after the logout that left it already.
    'user:leave': { ...roomCommand(ofUser, 'leave', ({ userId }) => userRoom(userId)), anonymous: true },
    'project:join': roomCommand(inProject, 'join', ({ projectId }) => projectRoom(projectId)),
    'project:leave': roomCommand(inProject, 'leave', ({ projectId }) => projectRoom(projectId)),
    'room:join': roomCommand(inRoom, 'join', ({ room }) => room),
    'room:leave': roomCommand(inRoom, 'leave', ({ room }) => room),
    'room:leaveAll': roomCommand(
      Type.Object({}),
      'leave',
      () => null,
      ({ rooms }) => rooms,
    ),

    'project:update': command(
      Type.Object({ projectId: id, userId: named, update: Type.Unknown(), project: optional(anyObject) }),
      {
        use: 'store',
        within: ofProject,
        event: ({ data: { projectId, update, project } }, { userId }) => ({
          type: 'project:updated',
          data: { projectId, userId, update, project: { ...project, ...changeOf(update), id: projectId } },
        }),
      },
    ),
    'file:change': command(
      Type.Object({
        projectId: id,
        userId: named,
        file: Type.Object({
          path,
          action: Type.Union([Type.Literal('created'), Type.Literal('updated'), Type.Literal('deleted')]),
          timestamp: optional(text),
        }),
      }),
      {
        use: 'store',
        within: ofProject,
        event: ({ data: { projectId, file } }, { userId }) => ({
          type: `file:${file.action}`,
          data: { projectId, userId, file: fileOf(file), filePath: file.path },
        }),
      },
    ),
    'file:lock': command(
      Type.Object({ ...ofFile, lockType: optional(Type.Union([Type.Literal('exclusive'), Type.Literal('shared')])) }),
      {
        use: 'lock',
        within: ofProject,
        resource: ({ projectId, filePath }) => ({ projectId, filePath }),
        mode: ({ lockType }) => lockType,
      },
    ),
    'file:unlock': command(Type.Object(ofFile), {
      use: 'unlock',
      within: ofProject,
      resource: ({ projectId, filePath }) => ({ projectId, filePath }),
    }),

    'ai:message': command(
      Type.Object({
        message: Type.String({ minLength: 1, maxLength: 100_000 }),
        projectId: named,
        userId: named,
        context: optional(Type.Unknown()),
      }),
      {
        use: 'store',
        within: ofProject,
        event: ({ data: { message, projectId, context } }, { userId }, messageId) => ({
          type: 'ai:message',
          data: {
            messageId,
            message,
            userId,
            ...(projectId ? { projectId } : undefined),
            ...(context === undefined ? undefined : { context }),
          },
        }),
        forward: ({ data }) => {
          const { messageId, projectId } = data as { messageId: string; projectId?: string }
          return {
            type: 'ai:message',
            data,
            failed: ({ code, message }) => [
              told('ai:processing', {
                status: 'error',
                error: message,
                code,
                messageId,
                ...(projectId ? { projectId } : undefined),
              }),
              told('error', { code, message, event: 'ai:message', messageId }),
            ],
          }
        },
      },
    ),
    'ai:status': command(
      Type.Object({
        status: Type.String({ minLength: 1, maxLength: 64 }),
        progress: optional(Type.Number()),
        message: optional(text),
        projectId: named,
      }),
      {
        use: 'store',
        within: ofProject,
        event: ({ data: { status, progress, message, projectId } }, sender) => {
          const rooms = projectsOf(projectId, sender)
          const said = { status, progress, message, ...(projectId ? { projectId } : undefined), userId: sender.userId }
          return { type: 'ai:processing', data: said, ...(rooms.length > 0 ? { rooms } : undefined) }
        },
      },
    ),

    'user:presence': command(
      Type.Object({
        userId: named,
        status: Type.String({ minLength: 1, maxLength: 64 }),
        activity: optional(text),
        timestamp: optional(text),
      }),
      {
        use: 'broadcast',
        room: (_, sender) => projectsOf(undefined, sender),
        message: ({ status, activity, timestamp = isoTime() }, sender) =>
          told('user:presence', {
            ...sent(sender),
            status,
            ...(activity === undefined ? undefined : { activity }),
            timestamp,
          }),
      },
    ),
    'user:typing': command(Type.Object({ userId: named, projectId: named, isTyping: optional(Type.Boolean()) }), {
      use: 'broadcast',
      within: ofProject,
      room: ({ projectId }, sender) => projectsOf(projectId, sender),
      message: ({ projectId, isTyping = true }, sender) =>
        told('user:typing', { ...sent(sender), ...(projectId ? { projectId } : undefined), isTyping }),
    }),

    'batch:update': command(
      Type.Object({
        updates: Type.Array(
          Type.Object({ event: Type.String({ minLength: 1, maxLength: 100 }), data: optional(Type.Unknown()) }),
          { maxItems: 100 },
        ),
      }),
      {
        use: 'batch',
        commands: ({ updates }) => updates.map(({ event: type, data }) => ({ type, data })),
      },
    ),

    'test:ping': {
      action: {
        use: 'echo',
        reply: () => told('test:pong', { timestamp: isoTime() }),
        acknowledgement: () => [{ status: 'success' }],
      },
      anonymous: true,
    },
    'test:event': {
      action: {
        use: 'echo',
        reply: ({ data }) => told('test:response', data),
        acknowledgement: ({ data }) => [{ status: 'success', data }],
      },
      anonymous: true,
    },
  },
})

/**
 * What an update of the document's shape, `{type: 'description', value}`, makes of the project. Which project it is it
 * cannot change.
 */
function changeOf(update: unknown): Record<string, unknown> {
  const { type, value } = (update ?? {}) as { type?: unknown; value?: unknown }
  return typeof type === 'string' && !NOT_CHANGED.has(type) ? { [type]: value } : {}
}

/** Who it is, and a name that programs which merge objects take for something else. */
const NOT_CHANGED = new Set(['id', 'projectId', '__proto__'])

/** The document's fields of a file, and no other. */
function fileOf({
  path: filePath,
  action,
  timestamp,
}: {
  path: string
  action: string
  timestamp?: string
}): Record<string, unknown> {
  return {
    name: filePath.slice(filePath.lastIndexOf('/') + 1),
    path: filePath,
    action,
    ...(timestamp === undefined ? undefined : { timestamp }),
  }
}
