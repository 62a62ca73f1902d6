import type { Logger } from '../ops/logger.ts'

/** What is left to do is given up so long after all clients should be gone. A supervisor waits longer than its workers. */
const GRACE_MS = 700
export const SUPERVISOR_GRACE_MS = 950

let leaving = false

/** Stops what runs, and ends the process with 0, in time whatever happens. Once. */
export function leave(running: { stop(): Promise<void> }, log: Logger, drainMs: number, reason: string, graceMs = GRACE_MS): void {
  if (leaving) return
  leaving = true
  log.info({ reason, drain_ms: drainMs }, 'draining')
  setTimeout(() => process.exit(0), drainMs + graceMs).unref()
  running.stop().then(
    () => process.exit(0),
    (error: unknown) => {
      log.error({ reason: String(error) }, 'stopping failed')
      process.exit(1)
    },
  )
}
