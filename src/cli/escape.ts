import type { Logger } from '../ops/logger.ts'
import { leave } from './leave.ts'

/** What can be told that a fault got past every guard. */
export interface Escaping {
  stop(): Promise<void>
  /** From now on it is not ready, and counts the fault. */
  failed(): void
}

let running: Escaping | undefined

/**
 * An error that got past every guard leaves the process in a state that nobody foresaw: it says so with the stack, is
 * not ready any more, sends its clients away as it would on SIGTERM, and ends with 1, so that its supervisor starts
 * another.
 * @param drainMs read when it happens
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
    // A rejection is told within uWS' handler: what that has written goes out first.
    setImmediate(() => leave(broker, log, drainMs(), kind, graceMs, 1))
  }
  process.on('uncaughtException', (error) => escaped(error, 'uncaughtException'))
  process.on('unhandledRejection', (error) => escaped(error, 'unhandledRejection'))
}

/** It serves from now on; before, a fault ends the process at once. */
export function serves(broker: Escaping): void {
  running = broker
}
