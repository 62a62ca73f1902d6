import pino, { type Logger } from 'pino'
import { LogDestination } from './log-destination.ts'

export type { Logger }

/**
 * Structured logs: JSON lines on stderr. stdout is reserved for output that programs read.
 * @param worker the number of this worker, if there are several
 */
export function makeLogger(level: string, worker?: number): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid, ...(worker === undefined ? undefined : { worker }) },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: ['token', '*.token', 'authorization', '*.authorization'],
    },
    new LogDestination(2),
  )
}
