import { Type } from 'typebox'
import { excerpt } from '../errors.ts'
import { isoTime } from '../time.ts'
import { type AnyEvent, defineContract, type EventContract, event } from '../contracts/contract.ts'
import { type Claims, claimNames, listClaim } from '../contracts/claims.ts'
import type { Failure } from '../contracts/command.ts'

/** SWE Agent, as its public API document has it; docs/applications.md has its events and commands. */

const text = Type.String()
const number = Type.Number()
const list = Type.Array(Type.Unknown())
const anyObject = Type.Record(Type.String(), Type.Unknown())
const optional = Type.Optional

/** A token without the claim allows all agents. */
const mayWatch = (claims: Claims, agent: string) =>
  listClaim(claims, 'agent_access') === undefined || claimNames(claims, 'agent_access', agent)

/** Rooms exactly as the document's **Room** lines; an id that the event lacks names no room. */
const room = (kind: string, id: unknown): string[] =>
  typeof id === 'string' || typeof id === 'number' ? [`${kind}:${id}`] : []
const projectOrGlobal = ({ data }: AnyEvent) =>
  data.project_id == null ? ['global'] : room('project', data.project_id)
const agentAndGlobal = ({ data }: AnyEvent) => [...room('agent', data.agent_id), 'global']
const project = ({ data }: AnyEvent) => room('project', data.project_id)

const agent = Type.Object({
  agent_id: text,
  agent_name: optional(text),
  status: optional(Type.Union(['online', 'offline', 'busy', 'idle', 'error'].map((value) => Type.Literal(value)))),
  availability: optional(number),
  metadata: optional(anyObject),
})
const workflow = Type.Object({
  workflow_id: text,
  project_id: optional(text),
  status: optional(
    Type.Union(['pending', 'running', 'completed', 'failed', 'cancelled'].map((value) => Type.Literal(value))),
  ),
  progress: optional(number),
  current_step: optional(text),
  total_steps: optional(number),
  estimated_time_remaining: optional(number),
  logs: optional(list),
  errors: optional(list),
})
const pullRequest = Type.Object({
  pr_id: text,
  project_id: text,
  title: optional(text),
  description: optional(text),
  author: optional(text),
  branch: optional(text),
  github_url: optional(text),
  status: optional(text),
  created_at: optional(text),
})
const issue = Type.Object({
  issue_id: text,
  project_id: text,
  title: optional(text),
  description: optional(text),
  status: optional(Type.Union(['open', 'in_progress', 'closed', 'blocked'].map((value) => Type.Literal(value)))),
  priority: optional(Type.Union(['low', 'medium', 'high', 'critical'].map((value) => Type.Literal(value)))),
  assigned_to: optional(text),
  updated_at: optional(text),
})
const suggestion = Type.Object({
  suggestion_id: optional(text),
  project_id: optional(text),
  target_type: optional(text),
  target_id: optional(text),
  category: optional(text),
  title: optional(text),
  description: optional(text),
  severity: optional(text),
  confidence: optional(number),
  suggested_action: optional(text),
  metadata: optional(anyObject),
})

const agentEvent: EventContract = event(agent, { rooms: agentAndGlobal })
const workflowEvent: EventContract = event(workflow, { rooms: projectOrGlobal })
const pullRequestEvent: EventContract = event(pullRequest, { rooms: project })
const issueEvent: EventContract = event(issue, {
  rooms: ({ data }) => [...room('project', data.project_id), ...room('user', data.assigned_to)],
})
const aiEvent: EventContract = event(suggestion, { rooms: projectOrGlobal })

const connectionError = ({ code, message }: Failure) => ({
  type: 'connection.error',
  timestamp: isoTime(),
  data: { error_code: code === 'AUTH_EXPIRED' ? 'AUTH_FAILED' : code, error_message: message, connection_id: null },
})

export const sweAgent = defineContract({
  app: 'swe-agent',
  about: 'Projects, agents, workflows, pull requests and issues',
  claims: ['project_access', 'agent_access'],
  endpoints: [
    {
      transport: 'socketio',
      namespace: '/ws',
      joins: ({ sub }) => [`user:${sub}`, 'global'],
      handlerArguments: ({ type, timestamp, source, data }, id) => [
        { type, timestamp, ...(source === undefined ? undefined : { source }), data, id },
      ],
      welcome: ({ claims, connectionId }) => ({
        type: 'connection_established',
        data: {
          type: 'connection.established',
          timestamp: isoTime(),
          data: { connection_id: connectionId, user_id: claims.sub, protocol_version: '1.0' },
        },
      }),
      refusal: connectionError,
      failed: ({ code, message }, { data }) => ({
        acknowledgement: [
          { status: 'error', error_code: code, error_message: message, room: excerpt(data?.room ?? null) },
        ],
      }),
    },
  ],

  events: {
    'project.updated': event(
      Type.Object({
        project_id: text,
        project_name: optional(text),
        repository_url: optional(text),
        status: optional(text),
        updated_by: optional(text),
        changes: optional(anyObject),
      }),
      { rooms: ({ data }) => [...room('project', data.project_id), ...room('user', data.updated_by)] },
    ),
    'project.deleted': event(Type.Object({ project_id: text, deleted_by: optional(text) }), {
      rooms: ({ data }) => [...room('project', data.project_id), ...room('user', data.deleted_by)],
    }),
    'agent.status_changed': agentEvent,
    'agent.connected': agentEvent,
    'agent.disconnected': agentEvent,
    'workflow.progress': workflowEvent,
    'workflow.started': workflowEvent,
    'workflow.completed': workflowEvent,
    'workflow.failed': workflowEvent,
    'pr.created': pullRequestEvent,
    'pr.updated': pullRequestEvent,
    'pr.closed': pullRequestEvent,
    'issue.updated': issueEvent,
    'issue.created': issueEvent,
    'issue.closed': issueEvent,
    'ai.suggestion': aiEvent,
    'ai.analysis_complete': aiEvent,
  },

  rooms: {
    'project:{id}': { allows: (claims, id) => claimNames(claims, 'project_access', id) },
    'agent:{id}': { allows: mayWatch },
    'user:{id}': { allows: ({ sub }, id) => sub === id },
    global: {},
  },

  commands: {
    subscribe: {
      action: {
        use: 'join',
        room: ({ room: name }) => name,
        acknowledgement: (name) => [{ status: 'success', room: name }],
      },
    },
    unsubscribe: {
      action: {
        use: 'leave',
        room: ({ room: name }) => name,
        acknowledgement: (name) => [{ status: 'success', room: name }],
      },
    },
    ping: { action: { use: 'echo', acknowledgement: () => [{ status: 'pong' }] } },
  },
})
