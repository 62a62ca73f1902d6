export interface RateLimits {
  /** Commands in a window of a minute. */
  readonly perMinute: number
  /** Warn when this many are left. 0: never. */
  readonly warnAt: number
}

export const WINDOW_MS = 60_000

/** A connection's counts; three numbers, no timer. */
export interface RateState {
  windowStartMs: number
  /** Commands that passed. */
  used: number
  /** Packets of any kind, commands included. */
  packets: number
}

export type Verdict = 'pass' | 'warn' | 'refuse'

/** Counts one command and says what becomes of it. Pure but for `state`. */
export function countCommand(state: RateState, limits: RateLimits, nowMs: number): Verdict {
  proceed(state, nowMs)
  if (state.used >= limits.perMinute) return 'refuse'
  state.used++
  return limits.warnAt > 0 && limits.perMinute - state.used === limits.warnAt ? 'warn' : 'pass'
}

/** Counts one packet, whatever it is. @returns false where it is one too many. Pure but for `state`. */
export function countPacket(state: RateState, perMinute: number, nowMs: number): boolean {
  proceed(state, nowMs)
  state.packets++
  return state.packets <= perMinute
}

function proceed(state: RateState, nowMs: number): void {
  if (nowMs - state.windowStartMs < WINDOW_MS) return
  state.windowStartMs = nowMs
  state.used = 0
  state.packets = 0
}
