import pino, { type Logger } from 'pino'

export type { Logger }

/** Structured logs, JSON lines on stderr; stdout is for what programs read. */
export function makeLogger(level: string): Logger {
  return pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime, redact: ['token', '*.token', 'authorization', '*.authorization'] }, pino.destination({ fd: 2, sync: true }))
}
