export interface RateLimits {
  /** Commands in a window of a minute. */
  readonly perMinute: number
  /** Warn when this many are left. 0: never. */
  readonly warnAt: number
}

export const WINDOW_MS = 60_000

/** A connection's count; two numbers, no timer. */
export interface RateState {
  windowStartMs: number
  used: number
}

export type Verdict = 'pass' | 'warn' | 'refuse'

/** Counts one command and says what becomes of it. Pure but for `state`. */
export function countCommand(state: RateState, limits: RateLimits, nowMs: number): Verdict {
  if (nowMs - state.windowStartMs >= WINDOW_MS) {
    state.windowStartMs = nowMs
    state.used = 0
  }
  if (state.used >= limits.perMinute) return 'refuse'
  state.used++
  return limits.warnAt > 0 && limits.perMinute - state.used === limits.warnAt ? 'warn' : 'pass'
}
