// SWE Agent: agents at work on one project, with its workflows, pull requests and issues.
import { now, oneOf } from './backend.mjs'

const project_id = 'demo'
const AGENTS = [
  { agent_id: 'planner', agent_name: 'Planner' },
  { agent_id: 'coder', agent_name: 'Coder' },
  { agent_id: 'reviewer', agent_name: 'Reviewer' },
]
const STEPS = ['Cloning repository', 'Analyzing code structure', 'Writing tests', 'Changing code', 'Running tests']

export function startSweAgent({ publish, every }) {
  every(1_000, async (round) => {
    await publish('agent.status_changed', {
      ...oneOf(AGENTS, round),
      status: oneOf(['busy', 'idle', 'busy', 'online'], round),
      availability: (round * 7) % 100,
      metadata: { current_task: oneOf(STEPS, round) },
    })
  })
  every(1_000, async (round) => {
    const step = round % 20
    const workflow = {
      workflow_id: `demo-${Math.floor(round / 20)}`,
      project_id,
      total_steps: STEPS.length,
      errors: [],
    }
    if (step === 0) await publish('workflow.started', { ...workflow, status: 'pending', progress: 0 })
    const current_step = STEPS[Math.floor(step / 4)]
    await publish('workflow.progress', {
      ...workflow,
      status: 'running',
      progress: (step + 1) * 5,
      current_step,
      estimated_time_remaining: 19 - step,
      logs: [current_step],
    })
    if (step === 19) await publish('workflow.completed', { ...workflow, status: 'completed', progress: 100 })
  })
  every(4_000, async (round) => {
    const issue = {
      issue_id: `demo-${Math.floor(round / 3)}`,
      project_id,
      title: 'Support for async/await syntax',
      priority: 'high',
      updated_at: now(),
    }
    await publish(oneOf(['issue.created', 'issue.updated', 'issue.closed'], round), {
      ...issue,
      status: oneOf(['open', 'in_progress', 'closed'], round),
    })
    const pr = {
      pr_id: `demo-${Math.floor(round / 3)}`,
      project_id,
      title: 'Add async/await to the analysis',
      author: 'coder',
      branch: 'demo',
      created_at: now(),
    }
    await publish(oneOf(['pr.created', 'pr.updated', 'pr.closed'], round), {
      ...pr,
      status: oneOf(['open', 'open', 'merged'], round),
    })
  })
  every(8_000, async (round) => {
    await publish('ai.suggestion', {
      suggestion_id: `demo-${round}`,
      project_id,
      target_type: 'pr',
      target_id: 'demo-0',
      category: 'optimization',
      title: 'Reduce complexity',
      severity: 'info',
      confidence: 0.9,
    })
    await publish('project.updated', {
      project_id,
      project_name: 'Demo',
      status: 'active',
      updated_by: 'demo',
      changes: { round },
    })
  })
}
