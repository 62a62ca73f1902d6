/**
 * The limits of an application that punishes floods: Orchestrator Portal (docs/applications.md).
 */
export interface BurstLimits {
  readonly perSecond: number
  readonly perMinute: number
  /** The number of refusals within a minute that bans the user. */
  readonly strikes: number
}

const SECOND_MS = 1_000
const MINUTE_MS = 60_000

/** The counts of one connection. */
export class BurstState {
  secondStartMs = 0
  secondUsed = 0
  minuteStartMs = 0
  minuteUsed = 0
  refusals: number[] = []
}

export type BurstVerdict =
  | { readonly pass: true }
  | { readonly pass: false; readonly retryAfterS: number; readonly ban: boolean }

const PASS: BurstVerdict = { pass: true }

/** Counts one event and decides whether it passes. Changes only `state`. */
export function countBurst(state: BurstState, limits: BurstLimits, nowMs: number): BurstVerdict {
  if (nowMs - state.secondStartMs >= SECOND_MS) {
    state.secondStartMs = nowMs
    state.secondUsed = 0
  }
  if (nowMs - state.minuteStartMs >= MINUTE_MS) {
    state.minuteStartMs = nowMs
    state.minuteUsed = 0
  }
  const overMinute = state.minuteUsed >= limits.perMinute
  if (!overMinute && state.secondUsed < limits.perSecond) {
    state.secondUsed++
    state.minuteUsed++
    return PASS
  }
  state.refusals = [...state.refusals.filter((atMs) => nowMs - atMs < MINUTE_MS), nowMs]
  const waitMs = overMinute ? state.minuteStartMs + MINUTE_MS - nowMs : state.secondStartMs + SECOND_MS - nowMs
  return { pass: false, retryAfterS: Math.ceil(waitMs / 100) / 10, ban: state.refusals.length >= limits.strikes }
}
