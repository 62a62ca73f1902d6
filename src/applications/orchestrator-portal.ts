import { Type } from 'typebox'
import { isoTime } from '../time.ts'
import {
  type AnyEvent,
  command,
  defineContract,
  type EventContract,
  event,
  type LateAuthentication,
  type SocketIoEndpoint,
} from '../contracts/contract.ts'
import type { PresenceAction } from '../contracts/action.ts'
import { type Claims, claimNames } from '../contracts/claims.ts'
import type { Failure } from '../contracts/command.ts'
import type { Sender } from '../contracts/command.ts'

/** Orchestrator Portal, as its public API document has it; docs/applications.md has its events and commands. */

const text = Type.String()
const number = Type.Number()
const list = Type.Array(Type.Unknown())
const anyObject = Type.Record(Type.String(), Type.Unknown())
const optional = Type.Optional

/** The document's `WebSocketError`. */
const socketError =
  (type: string) =>
  ({ code, message, details }: Failure) => ({
    type,
    message,
    code,
    ...(details === undefined ? undefined : { details }),
    timestamp: isoTime(),
  })
const authenticationError = socketError('authentication')

const mayProject = (claims: Claims, name: string) => claimNames(claims, 'project_access', name)
const mayMonitor = ({ permissions = [] }: Claims) => permissions.includes('monitoring')
const mayAdminister = ({ permissions = [] }: Claims) => permissions.includes('admin')

/** `data.project_name`, or `project:<name>` in what the producer gave as rooms. */
function projectOf({ data, rooms = [] }: AnyEvent): string | undefined {
  if (typeof data.project_name === 'string') return data.project_name
  return rooms.find((name) => name.startsWith('project:'))?.slice('project:'.length)
}

const portalRoom = (project: string, type: string) => `portal:${project}:${type}`

/** An event of one namespace; whoever chose it for its project gets it in `/portal` as well. */
function of(
  home: (project: string | undefined) => string | undefined,
  schema: Parameters<typeof event>[0],
  lastValue?: EventContract['lastValue'],
): EventContract {
  return event(schema, {
    readsRooms: true,
    rooms: (envelope) => {
      const project = projectOf(envelope)
      const own = home(project)
      return [
        ...(own === undefined ? [] : [own]),
        ...(project === undefined ? [] : [portalRoom(project, envelope.type)]),
      ]
    },
    entity: projectOf,
    ...(lastValue ? { lastValue } : undefined),
  })
}

const project = (name: string | undefined) => (name === undefined ? undefined : `project:${name}`)
const chat = (name: string | undefined) => (name === undefined ? undefined : `chat:${name}`)
const monitoring = () => 'monitoring'
const admin = () => 'admin'

const lateAuthentication: LateAuthentication = {
  command: 'authenticate',
  timeoutMs: 10_000,
  succeeded: ({ sub, permissions = [] }) => ({ type: 'authenticated', data: { user_id: sub, permissions } }),
  failed: ({ code, message }) => ({ type: 'authentication_failed', data: { message, code } }),
  refused: (failure) => ({ type: 'error', data: authenticationError(failure) }),
}

function namespace(name: string, rest: Partial<SocketIoEndpoint> = {}): SocketIoEndpoint {
  return {
    transport: 'socketio',
    namespace: name,
    lateAuthentication,
    refusal: authenticationError,
    failed: (failure, { type }) => ({
      acknowledgement: [{ status: 'error', error_code: failure.code, error_message: failure.message }],
      message:
        failure.code === 'INVALID_MESSAGE' && type === 'send_message'
          ? { type: 'validation_error', data: { message: 'Invalid message format', details: faultsOf(failure) } }
          : {
              type: 'error',
              data: socketError(
                failure.code.startsWith('INVALID') || failure.code.startsWith('UNKNOWN')
                  ? 'validation'
                  : failure.code.endsWith('DENIED')
                    ? 'authentication'
                    : 'server',
              )(failure),
            },
    }),
    ...rest,
  }
}

function faultsOf({ details }: Failure): { message: string }[] {
  const { faults = [] } = (details ?? {}) as { faults?: string[] }
  return faults.map((message) => ({ message }))
}

const named = Type.Object({
  project_name: Type.String({ minLength: 1, maxLength: 128, pattern: '^[^/:]+$' }),
  user_id: optional(text),
})
const joinable = ['/portal', '/project/{name}']
const inProject: Pick<PresenceAction<{ project_name: string }>, 'channel' | 'allows' | 'room' | 'events'> = {
  channel: ({ project_name }) => project_name,
  allows: mayProject,
  room: (project, type, sender) => (sender.namespace === '/portal' ? portalRoom(project, type) : undefined),
  events: ['state_change'],
}

const UUID = '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$'
const message = Type.Object(
  {
    content: Type.String({ minLength: 1, maxLength: 2_000 }),
    type: Type.Union([Type.Literal('command'), Type.Literal('message'), Type.Literal('thread_reply')]),
    thread_id: optional(Type.String({ pattern: UUID })),
    attachments: optional(
      Type.Array(
        Type.Object(
          { name: text, size: Type.Number({ maximum: 10_485_760 }), type: text },
          { additionalProperties: false },
        ),
        { maxItems: 5 },
      ),
    ),
  },
  { additionalProperties: false },
)
const typing = (type: string) => ({
  action: {
    use: 'broadcast' as const,
    room: (_: unknown, { parameter }: Sender) => `chat:${parameter}`,
    message: (_: unknown, { userId, parameter }: Sender) => ({
      type,
      data: { user_id: userId, project_name: parameter, timestamp: isoTime() },
    }),
  },
  namespaces: ['/chat/{name}'],
})

export const orchestratorPortal = defineContract({
  app: 'orchestrator-portal',
  about: 'Projects with their tasks, sprints, chat and agents',
  idPattern: '[^/:]{1,128}',
  claims: ['project_access'],
  endpoints: [
    namespace('/portal'),
    namespace('/project/{name}', { allows: mayProject, joins: (_, name) => [`project:${name}`] }),
    namespace('/chat/{name}', { allows: mayProject, joins: (_, name) => [`chat:${name}`] }),
    namespace('/monitoring', { allows: mayMonitor, joins: () => ['monitoring'] }),
    namespace('/admin', { allows: mayAdminister, joins: () => ['admin'] }),
  ],

  events: {
    state_change: of(
      project,
      Type.Object({
        project_name: text,
        old_state: optional(Type.Unknown()),
        new_state: Type.Unknown(),
        timestamp: optional(text),
        triggered_by: optional(text),
        command: optional(text),
        reason: optional(text),
      }),
      projectOf,
    ),
    task_update: of(
      project,
      Type.Object({
        project_name: text,
        task_id: text,
        task_type: optional(text),
        status: optional(text),
        progress: optional(number),
        agent_type: optional(text),
        started_at: optional(text),
        completed_at: optional(text),
        error: optional(text),
        metadata: optional(anyObject),
      }),
      (envelope) => {
        const { task_id } = envelope.data
        return typeof task_id === 'string' ? `${projectOf(envelope) ?? ''} ${task_id}` : undefined
      },
    ),
    approval_request: of(
      project,
      Type.Object({
        project_name: text,
        request_id: text,
        task: optional(Type.Unknown()),
        reason: optional(text),
        created_at: optional(text),
        retry_count: optional(number),
        timeout_at: optional(text),
      }),
    ),
    approval_resolved: of(
      project,
      Type.Object({
        project_name: text,
        request_id: text,
        approved: Type.Boolean(),
        resolved_by: optional(text),
        resolved_at: optional(text),
        comment: optional(text),
      }),
    ),
    sprint_progress: of(
      project,
      Type.Object({
        project_name: text,
        sprint_id: text,
        total_stories: optional(number),
        completed_stories: optional(number),
        failed_stories: optional(number),
        in_progress_stories: optional(number),
        estimated_completion: optional(text),
        velocity: optional(number),
      }),
    ),
    backlog_updated: of(
      project,
      Type.Object({
        project_name: text,
        change_type: text,
        story_id: text,
        story: optional(Type.Unknown()),
        old_position: optional(number),
        new_position: optional(number),
      }),
    ),

    message_received: of(
      chat,
      Type.Object({
        message_id: text,
        project_name: text,
        user_id: text,
        content: text,
        type: text,
        timestamp: optional(text),
        thread_id: optional(text),
        attachments: optional(list),
        reactions: optional(list),
      }),
    ),
    command_result: of(
      chat,
      Type.Object({
        message_id: text,
        project_name: optional(text),
        command: text,
        success: Type.Boolean(),
        result: optional(Type.Unknown()),
        error: optional(text),
        execution_time: optional(number),
        timestamp: optional(text),
        embed_data: optional(Type.Unknown()),
      }),
    ),
    thread_created: of(
      chat,
      Type.Object({
        thread_id: text,
        parent_message_id: optional(text),
        project_name: text,
        created_by: optional(text),
        timestamp: optional(text),
      }),
    ),
    thread_updated: of(
      chat,
      Type.Object({
        thread_id: text,
        project_name: optional(text),
        message_count: optional(number),
        last_message_at: optional(text),
        participants: optional(list),
      }),
    ),

    agent_activity: of(
      monitoring,
      Type.Object({
        agent_type: text,
        project_name: optional(text),
        action: optional(text),
        status: optional(text),
        task_id: optional(text),
        story_id: optional(text),
        timestamp: optional(text),
        duration: optional(number),
        metrics: optional(Type.Unknown()),
        error: optional(text),
      }),
    ),
    system_metrics: of(
      monitoring,
      Type.Object({ timestamp: optional(text), cpu_usage: optional(number), memory_usage: optional(number) }),
    ),
    tdd_cycle_started: of(
      monitoring,
      Type.Object({
        project_name: optional(text),
        cycle_id: text,
        story_id: optional(text),
        started_by: optional(text),
        estimated_duration: optional(number),
        timestamp: optional(text),
      }),
    ),
    tdd_state_change: of(
      monitoring,
      Type.Object({
        project_name: optional(text),
        cycle_id: text,
        old_state: optional(Type.Unknown()),
        new_state: optional(Type.Unknown()),
        timestamp: optional(text),
        phase_duration: optional(number),
        test_results: optional(list),
        code_metrics: optional(Type.Unknown()),
      }),
    ),
    test_output: of(
      monitoring,
      Type.Object({
        project_name: optional(text),
        cycle_id: text,
        output_type: optional(text),
        content: text,
        timestamp: optional(text),
        sequence_number: optional(number),
      }),
    ),

    config_changed: of(
      admin,
      Type.Object({
        config_type: text,
        changed_by: optional(text),
        changes: optional(anyObject),
        timestamp: optional(text),
        reason: optional(text),
      }),
    ),
    user_action: of(
      admin,
      Type.Object({
        user_id: text,
        action: text,
        resource: optional(text),
        timestamp: optional(text),
        ip_address: optional(text),
        user_agent: optional(text),
        success: optional(Type.Boolean()),
        error: optional(text),
      }),
    ),
  },

  rooms: {
    'portal:{name}:{type}': { allows: mayProject },
    'present:{name}': { allows: mayProject },
    'project:{name}': { allows: mayProject },
    'chat:{name}': { allows: mayProject },
    monitoring: { allows: mayMonitor },
    admin: { allows: mayAdminister },
  },

  presence: {
    joined: ({ id: user_id }, project_name) => ({
      type: 'user_joined',
      data: { user_id, project_name, timestamp: isoTime() },
    }),
    left: ({ id: user_id }, project_name) => ({
      type: 'user_left',
      data: { user_id, project_name, timestamp: isoTime() },
    }),
  },

  commands: {
    join_project: {
      ...command(named, {
        use: 'joinPresence',
        ...inProject,
        reply: (project_name, users, lastValues) => ({
          type: 'joined_project',
          data: {
            project_name,
            current_state: lastValues.of('state_change', project_name)?.data.new_state ?? null,
            active_users: users,
            last_activity: lastValues.latestTime(project_name) ?? null,
          },
        }),
      }),
      namespaces: joinable,
    },
    leave_project: { ...command(named, { use: 'leavePresence', ...inProject }), namespaces: joinable },
    subscribe_to_events: {
      ...command(Type.Object({ events: Type.Array(text, { maxItems: 100 }), project_name: optional(text) }), {
        use: 'select',
        events: ({ events }) => events,
        channel: ({ project_name }) => project_name,
        room: inProject.room,
      }),
      namespaces: ['/portal'],
    },
    send_message: {
      ...command(message, {
        use: 'store',
        event: ({ data: { type, ...rest } }, { userId, parameter }, message_id) => ({
          type: 'message_received',
          data: {
            message_id,
            project_name: parameter,
            user_id: userId,
            ...rest,
            type: type === 'thread_reply' ? 'thread' : type,
            timestamp: isoTime(),
          },
        }),
        forward: ({ data }, { data: { type, content } }, { parameter }) => {
          const { message_id } = data as { message_id: string }
          if (type !== 'command') return undefined
          return {
            type: 'command',
            data: { message_id, project_name: parameter, content },
            failed: ({ code, message: error }, tookMs) => ({
              type: 'command_result',
              data: {
                message_id,
                project_name: parameter,
                command: content,
                success: false,
                error,
                error_code: code,
                execution_time: tookMs,
                timestamp: isoTime(),
              },
            }),
          }
        },
      }),
      namespaces: ['/chat/{name}'],
    },
    typing_start: typing('typing_start'),
    typing_stop: typing('typing_stop'),
  },

  limits: {
    burst: {
      perSecond: 10,
      perMinute: 100,
      strikes: 3,
      banMs: 300_000,
      connectionsPerUser: 5,
      refused: (retry_after) => ({ type: 'rate_limited', data: { message: 'Rate limit exceeded', retry_after } }),
    },
  },

  figures: {
    room: 'monitoring',
    everyMs: 5_000,
    message: (figures, lastValues) => ({
      type: 'system_metrics',
      data: {
        timestamp: isoTime(),
        cpu_usage: figures.cpuPercent,
        memory_usage: figures.memoryPercent,
        disk_usage: figures.diskPercent,
        network_io: { bytes_sent: figures.bytesSent, bytes_received: figures.bytesReceived },
        active_connections: figures.connections,
        active_projects: figures.channels,
        active_tasks: [...lastValues.all('task_update')].filter(({ data }) => !DONE.has(data.status)).length,
        error_rate: figures.errorRate,
        uptime: figures.uptimeS,
      },
    }),
  },
})

/** Statuses of tasks that are over. */
const DONE = new Set(['completed', 'failed', 'cancelled', 'done', 'error'])
