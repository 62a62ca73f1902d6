import type { Logger } from '../ops/logger.ts'

/**
 * What is left to do is given up so long after all clients should be gone. A supervisor waits longer than its workers.
 */
const GRACE_MS = 700
export const SUPERVISOR_GRACE_MS = 950

let leaving = false
let exitCode = 0

/**
 * Stops what runs, and ends the process in time whatever happens. Once.
 * @param code that it ends with; the highest that was asked for counts
 */
export function leave(
  running: { stop(): Promise<void> },
  log: Logger,
  drainMs: number,
  reason: string,
  graceMs = GRACE_MS,
  code = 0,
): void {
  exitCode = Math.max(exitCode, code)
  if (leaving) return
  leaving = true
  log.info({ reason, drain_ms: drainMs }, 'draining')
  setTimeout(() => process.exit(exitCode), drainMs + graceMs).unref()
  running.stop().then(
    () => process.exit(exitCode),
    (error: unknown) => {
      log.error({ reason: String(error) }, 'stopping failed')
      process.exit(1)
    },
  )
}
