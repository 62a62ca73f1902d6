// Orchestrator Portal: one project with its tasks, sprint, chat and agents, and a service that runs chat commands.
import { now, oneOf, pause } from './backend.mjs'

const project_name = 'demo'
const AGENTS = ['orchestrator', 'design', 'code', 'qa']
const STATES = ['IDLE', 'BACKLOG_READY', 'SPRINT_ACTIVE', 'SPRINT_REVIEW']

export function startOrchestratorPortal({ publish, answer, every }) {
  every(1_000, async (round) => {
    const progress = (round % 10) * 10 + 10
    await publish('task_update', {
      project_name,
      task_id: `demo-task-${Math.floor(round / 10)}`,
      task_type: 'code',
      agent_type: oneOf(AGENTS, Math.floor(round / 10)),
      status: progress === 100 ? 'completed' : 'running',
      progress,
      started_at: now(),
    })
    await publish('agent_activity', {
      agent_type: oneOf(AGENTS, round),
      project_name,
      action: 'edit',
      status: oneOf(['started', 'completed'], round),
      timestamp: now(),
      duration: 40,
    })
    await publish('test_output', {
      project_name,
      cycle_id: `demo-${Math.floor(round / 12)}`,
      output_type: 'stdout',
      content: `ok ${round + 1} - a test of the demo`,
      timestamp: now(),
      sequence_number: round,
    })
  })
  every(1_500, async (round) => {
    const completed_stories = round % 9
    await publish('sprint_progress', {
      project_name,
      sprint_id: `demo-${Math.floor(round / 9)}`,
      total_stories: 8,
      completed_stories,
      failed_stories: 0,
      in_progress_stories: Math.min(1, 8 - completed_stories),
      velocity: 1.5,
    })
    await publish('backlog_updated', {
      project_name,
      change_type: 'reordered',
      story_id: `demo-story-${round % 5}`,
      old_position: round % 5,
      new_position: (round + 1) % 5,
    })
    await publish('state_change', {
      project_name,
      old_state: oneOf(STATES, round),
      new_state: oneOf(STATES, round + 1),
      timestamp: now(),
      triggered_by: 'demo',
    })
  })
  every(4_000, async (round) => {
    const phases = ['DESIGN', 'TEST_RED', 'CODE_GREEN', 'REFACTOR']
    const cycle = { project_name, cycle_id: `demo-${Math.floor(round / 4)}`, timestamp: now() }
    if (round % 4 === 0)
      await publish('tdd_cycle_started', {
        ...cycle,
        story_id: 'demo-story-1',
        started_by: 'demo',
        estimated_duration: 16,
      })
    await publish('tdd_state_change', {
      ...cycle,
      old_state: oneOf(phases, round),
      new_state: oneOf(phases, round + 1),
      phase_duration: 4,
    })
    await publish('user_action', {
      user_id: 'demo',
      action: 'login',
      resource: 'portal',
      timestamp: now(),
      success: true,
    })
  })
  every(1_500, async (round) => {
    await publish('message_received', {
      message_id: `demo-message-${round}`,
      project_name,
      user_id: 'demo-bot',
      content: `The sprint goes on: ${oneOf(STATES, round)}`,
      type: 'system',
      timestamp: now(),
    })
  })
  every(9_000, async (round) => {
    const request_id = `demo-approval-${round}`
    await publish('approval_request', {
      project_name,
      request_id,
      task: { id: 'demo-task-1' },
      reason: 'The demo asks before it merges',
      created_at: now(),
      retry_count: 0,
    })
    await pause(3_000)
    await publish('approval_resolved', {
      project_name,
      request_id,
      approved: true,
      resolved_by: 'demo',
      resolved_at: now(),
    })
  })

  answer(
    'command',
    ({ data: { content } }) => ({ accepted: content }),
    async ({ data: { message_id, content } }) => {
      await pause(300)
      await publish(
        'command_result',
        {
          message_id,
          project_name,
          command: content,
          success: true,
          result: { message: `The demo carried out ${content}` },
          execution_time: 300,
          timestamp: now(),
        },
        { rooms: [`project:${project_name}`] },
      )
    },
  )
}
