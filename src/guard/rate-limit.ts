export interface RateLimits {
  /** Commands allowed in a window of one minute. */
  readonly perMinute: number
  /** Warn when this many commands are left. 0: never. */
  readonly warnAt: number
}

export const WINDOW_MS = 60_000

/** The counts of one connection: three numbers and no timer. */
export interface RateState {
  windowStartMs: number
  /** Commands that passed. */
  used: number
  /** Packets of any kind, commands included. */
  packets: number
}

export type Verdict = 'pass' | 'warn' | 'refuse'

/** Counts one command and decides whether it passes. Changes only `state`. */
export function countCommand(state: RateState, limits: RateLimits, nowMs: number): Verdict {
  proceed(state, nowMs)
  if (state.used >= limits.perMinute) return 'refuse'
  state.used++
  return limits.warnAt > 0 && limits.perMinute - state.used === limits.warnAt ? 'warn' : 'pass'
}

/** Counts one packet of any kind. Changes only `state`. @returns false if it exceeds the limit */
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
