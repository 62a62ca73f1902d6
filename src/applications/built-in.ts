import { codingAssistant } from './coding-assistant.ts'
import type { Contract } from '../contracts/contract.ts'
import { gameDjinn } from './game-djinn.ts'
import { geminiSessions } from './gemini-sessions.ts'
import { orchestratorPortal } from './orchestrator-portal.ts'
import { sweAgent } from './swe-agent.ts'

/** The five applications of the specifications. */
export const BUILT_IN_CONTRACTS: readonly Contract[] = [
  gameDjinn,
  sweAgent,
  orchestratorPortal,
  codingAssistant,
  geminiSessions,
]
