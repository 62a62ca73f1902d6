/** Every server event, as in the examples of specs/swe-agent.md, with the rooms of its **Room** line. */
export interface Example {
  readonly type: string
  readonly source: string
  readonly data: Record<string, unknown>
  readonly rooms: readonly string[]
}

export const PROJECT = '550e8400-e29b-41d4-a716-446655440000'
export const USER = '660e8400-e29b-41d4-a716-446655440001'
export const AGENT = '770e8400-e29b-41d4-a716-446655440002'
const WORKFLOW = '880e8400-e29b-41d4-a716-446655440003'
const PULL_REQUEST = '990e8400-e29b-41d4-a716-446655440004'
const ISSUE = 'aa0e8400-e29b-41d4-a716-446655440005'

const project = `project:${PROJECT}`
const user = `user:${USER}`
const agent = `agent:${AGENT}`

const issue = {
  issue_id: ISSUE,
  project_id: PROJECT,
  title: 'Support for async/await syntax',
  description: 'Add support for async/await syntax in code analysis',
  status: 'in_progress',
  priority: 'high',
  assigned_to: USER,
  updated_at: '2024-11-08T10:30:00Z',
}
const workflow = {
  workflow_id: WORKFLOW,
  status: 'running',
  progress: 45,
  current_step: 'Analyzing code structure',
  total_steps: 10,
  estimated_time_remaining: 120,
  logs: ['Starting workflow execution', 'Cloning repository', 'Analyzing code structure'],
  errors: [],
}
const suggestion = {
  suggestion_id: 'bb0e8400-e29b-41d4-a716-446655440006',
  target_type: 'pr',
  target_id: PULL_REQUEST,
  category: 'optimization',
  title: 'Reduce complexity in error handling',
  description: 'This function has a cyclomatic complexity of 12. Consider breaking it into smaller functions.',
  severity: 'warning',
  confidence: 0.92,
  suggested_action: 'Refactor function into smaller utilities',
  metadata: { function_name: 'handle_request', line_number: 125, complexity_score: 12, recommended_complexity: 8 },
}

/** The seventeen types; those without an example of their own carry what their section's do. */
export const EXAMPLES: readonly Example[] = [
  {
    type: 'project.updated',
    source: 'project_service',
    rooms: [project, user],
    data: {
      project_id: PROJECT,
      project_name: 'AI Agent Framework',
      repository_url: 'https://github.com/user/ai-agent-framework',
      status: 'active',
      updated_by: USER,
      changes: { status: 'updated', fields: ['status', 'description'] },
    },
  },
  {
    type: 'project.deleted',
    source: 'project_service',
    rooms: [project, user],
    data: { project_id: PROJECT, deleted_by: USER },
  },
  {
    type: 'agent.status_changed',
    source: 'agent_service',
    rooms: [agent, 'global'],
    data: {
      agent_id: AGENT,
      agent_name: 'GPT-4 Code Analyst',
      status: 'online',
      availability: 85,
      metadata: { version: '1.0', last_update: '2024-11-08T10:25:00Z', cpu_usage: 45.2, memory_usage: 62.1 },
    },
  },
  { type: 'agent.connected', source: 'agent_service', rooms: [agent, 'global'], data: { agent_id: AGENT } },
  { type: 'agent.disconnected', source: 'agent_service', rooms: [agent, 'global'], data: { agent_id: AGENT } },
  { type: 'workflow.progress', source: 'workflow_service', rooms: ['global'], data: workflow },
  {
    type: 'workflow.started',
    source: 'workflow_service',
    rooms: ['global'],
    data: { workflow_id: WORKFLOW, status: 'pending' },
  },
  {
    type: 'workflow.completed',
    source: 'workflow_service',
    rooms: ['global'],
    data: { ...workflow, status: 'completed', progress: 100 },
  },
  {
    type: 'workflow.failed',
    source: 'workflow_service',
    rooms: ['global'],
    data: { ...workflow, status: 'failed', errors: ['out of memory'] },
  },
  {
    type: 'pr.created',
    source: 'github_service',
    rooms: [project],
    data: {
      pr_id: PULL_REQUEST,
      project_id: PROJECT,
      title: 'Fix: Improve error handling in API routes',
      description: 'This PR improves error handling across API routes...',
      author: 'john-doe',
      branch: 'feature/improve-error-handling',
      github_url: 'https://github.com/user/project/pull/42',
      status: 'open',
      created_at: '2024-11-08T10:30:00Z',
    },
  },
  {
    type: 'pr.updated',
    source: 'github_service',
    rooms: [project],
    data: {
      pr_id: PULL_REQUEST,
      project_id: PROJECT,
      title: 'Fix: Improve error handling in API routes',
      status: 'merged',
    },
  },
  {
    type: 'pr.closed',
    source: 'github_service',
    rooms: [project],
    data: { pr_id: PULL_REQUEST, project_id: PROJECT, status: 'closed' },
  },
  { type: 'issue.updated', source: 'github_service', rooms: [project, user], data: issue },
  { type: 'issue.created', source: 'github_service', rooms: [project, user], data: { ...issue, status: 'open' } },
  { type: 'issue.closed', source: 'github_service', rooms: [project, user], data: { ...issue, status: 'closed' } },
  { type: 'ai.suggestion', source: 'ai_dock_service', rooms: ['global'], data: suggestion },
  {
    type: 'ai.analysis_complete',
    source: 'ai_dock_service',
    rooms: ['global'],
    data: { target_type: 'code', target_id: PULL_REQUEST },
  },
]

/** The document's "(if available)": the same events of a project. */
export const OF_PROJECT: readonly Example[] = EXAMPLES.filter(
  ({ type }) => type.startsWith('workflow.') || type.startsWith('ai.'),
).map((example) => ({
  ...example,
  data: { ...example.data, project_id: PROJECT },
  rooms: [project],
}))

/** Events that lack an id, and events whose producer says where they go. */
export const OTHERS: readonly (Example & { readonly override?: readonly string[] })[] = [
  { type: 'project.updated', source: 'project_service', rooms: [project], data: { project_id: PROJECT } },
  { type: 'issue.updated', source: 'github_service', rooms: [project], data: { ...issue, assigned_to: null } },
  { type: 'workflow.progress', source: 'workflow_service', rooms: ['global'], data: { ...workflow, project_id: null } },
  {
    type: 'pr.created',
    source: 'github_service',
    rooms: [user, agent],
    override: [user, agent],
    data: { pr_id: PULL_REQUEST, project_id: PROJECT },
  },
  {
    type: 'agent.connected',
    source: 'agent_service',
    rooms: [project],
    override: [project],
    data: { agent_id: AGENT },
  },
  {
    type: 'pr.closed',
    source: 'github_service',
    rooms: [],
    override: [],
    data: { pr_id: PULL_REQUEST, project_id: PROJECT },
  },
  {
    type: 'ai.suggestion',
    source: 'ai_dock_service',
    rooms: [project, user, agent, 'global'],
    override: [project, user, agent, 'global', user],
    data: suggestion,
  },
]
