import type { Logger } from '../ops/logger.ts'
import { leave } from './leave.ts'

/** The broker or supervisor to stop when a fault gets past every guard. */
export interface Escaping {
  stop(): Promise<void>
  /** Makes it not ready from now on, and counts the fault. */
  failed(): void
}

let running: Escaping | undefined

/**
 * Handles errors that got past every guard. They leave the process in an unknown state, so it logs the stack, reports
 * that it is not ready, disconnects its clients as on SIGTERM, and exits with 1, so that its supervisor starts another.
 * @param drainMs read when the error happens
 */
export function leaveOnEscape(log: Logger, drainMs: () => number, graceMs?: number): void {
  const escaped = (error: unknown, kind: string) => {
    log.fatal(
      { kind, reason: error instanceof Error ? (error.stack ?? error.message) : String(error) },
      'a fault got past every guard; this process drains and ends with 1',
    )
    const broker = running
    if (broker === undefined) process.exit(1)
    broker.failed()
    // Node reports a rejection inside uWS' handler. Wait, so that whatever the handler has written goes out first.
    setImmediate(() => leave(broker, log, drainMs(), kind, graceMs, 1))
  }
  process.on('uncaughtException', (error) => escaped(error, 'uncaughtException'))
  process.on('unhandledRejection', (error) => escaped(error, 'unhandledRejection'))
}

/** Sets the broker to drain before a fault ends the process. Until this call, a fault ends it at once. */
export function serves(broker: Escaping): void {
  running = broker
}
