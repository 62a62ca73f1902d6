/** For every event of specs/orchestrator-portal.md: the namespace that it is of, and data of its interface. */
const project_name = 'my-project'
const timestamp = '2024-07-20T12:00:00Z'

export const EXAMPLES: Readonly<
  Record<string, readonly [namespace: string, data: Record<string, unknown>, rooms?: string[]]>
> = {
  state_change: [
    '/project/my-project',
    {
      project_name,
      old_state: 'IDLE',
      new_state: 'SPRINT_ACTIVE',
      timestamp,
      triggered_by: 'user123',
      command: '/sprint start',
    },
  ],
  task_update: [
    '/project/my-project',
    {
      project_name,
      task_id: 't1',
      task_type: 'code',
      status: 'running',
      progress: 40,
      agent_type: 'coder',
      metadata: { a: 1 },
    },
  ],
  approval_request: [
    '/project/my-project',
    {
      project_name,
      request_id: 'r1',
      task: { id: 't1' },
      reason: 'check',
      created_at: timestamp,
      retry_count: 0,
      timeout_at: timestamp,
    },
  ],
  approval_resolved: [
    '/project/my-project',
    { project_name, request_id: 'r1', approved: true, resolved_by: 'user123', resolved_at: timestamp },
  ],
  sprint_progress: [
    '/project/my-project',
    {
      project_name,
      sprint_id: 's1',
      total_stories: 5,
      completed_stories: 2,
      failed_stories: 0,
      in_progress_stories: 1,
      estimated_completion: timestamp,
      velocity: 1.5,
    },
  ],
  backlog_updated: [
    '/project/my-project',
    { project_name, change_type: 'reordered', story_id: 'st1', old_position: 1, new_position: 2 },
  ],
  message_received: [
    '/chat/my-project',
    { message_id: 'm1', project_name, user_id: 'bot', content: 'hello', type: 'system', timestamp },
  ],
  command_result: [
    '/chat/my-project',
    { message_id: 'm1', command: '/sprint start', success: true, execution_time: 12, timestamp },
    ['project:my-project'],
  ],
  thread_created: [
    '/chat/my-project',
    { thread_id: 'th1', parent_message_id: 'm1', project_name, created_by: 'user123', timestamp },
  ],
  thread_updated: [
    '/chat/my-project',
    { thread_id: 'th1', message_count: 3, last_message_at: timestamp, participants: ['a', 'b'] },
    ['project:my-project'],
  ],
  agent_activity: ['/monitoring', { agent_type: 'coder', project_name, action: 'edit', status: 'started', timestamp }],
  system_metrics: ['/monitoring', { timestamp, cpu_usage: 1, memory_usage: 2, marker: 'published' }],
  tdd_cycle_started: [
    '/monitoring',
    { project_name, cycle_id: 'c1', story_id: 'st1', started_by: 'x', estimated_duration: 3, timestamp },
  ],
  tdd_state_change: ['/monitoring', { project_name, cycle_id: 'c1', old_state: 'RED', new_state: 'GREEN', timestamp }],
  test_output: [
    '/monitoring',
    { project_name, cycle_id: 'c1', output_type: 'stdout', content: 'ok', timestamp, sequence_number: 1 },
  ],
  config_changed: ['/admin', { config_type: 'system', changed_by: 'root', changes: { a: 1 }, timestamp }],
  user_action: ['/admin', { user_id: 'u', action: 'login', resource: 'portal', timestamp, success: true }],
}
