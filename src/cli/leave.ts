import type { Logger } from '../ops/logger.ts'

/**
 * The process exits this long after all clients should be gone, even if stopping has not finished. A supervisor waits
 * longer than its workers.
 */
const GRACE_MS = 700
export const SUPERVISOR_GRACE_MS = 950

let leaving = false
let exitCode = 0

/**
 * Stops the broker or supervisor and ends the process, at the latest when the grace time is over. Later calls only
 * raise the exit code.
 * @param code the exit code; of several calls, the highest counts
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
