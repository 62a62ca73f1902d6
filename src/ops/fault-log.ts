import { BrokerError } from '../errors.ts'
import type { FaultListener } from '../guarded.ts'
import type { LogEntry } from '../log/entry.ts'
import type { Meters } from '../meters.ts'
import type { Logger } from './logger.ts'

const REPORT_MS = 60_000
const SUBJECTS_MAX = 1_000
const FAULT_LOG_MS = 1_000

/**
 * Counts the faults that the guard caught and logs them with their stacks: at most one a second for each place, since
 * broken code may run often. Bad records that another program wrote where brokers write for each other do not count as
 * faults.
 */
export function reportingFaults(meters: Meters, log: Logger): FaultListener {
  const loggedMs = new Map<string, number>()
  const foreign = oncePerMinute((where, { message }: BrokerError) =>
    log.warn({ where, reason: message }, 'what another program wrote was left out'),
  )
  return (where, error) => {
    if (error instanceof BrokerError && error.code === 'INVALID_RECORD') {
      meters.badRecords++
      return foreign(where, error)
    }
    meters.fault(where)
    const now = Date.now()
    if (now - (loggedMs.get(where) ?? 0) < FAULT_LOG_MS) return
    loggedMs.set(where, now)
    log.error(
      { where, reason: error instanceof Error ? (error.stack ?? error.message) : String(error) },
      'a fault that cost nothing else: please report it',
    )
  }
}

/**
 * Logs bodies that are no events, and events that no contract knows: one line a minute for each subject, or for each
 * pattern and type where a contract names subjects.
 */
export function logBadEvents(log: Logger): (place: string, subject: string, type: string, error: BrokerError) => void {
  const report = oncePerMinute((_, { subject, type, error }: { subject: string; type: string; error: BrokerError }) =>
    log.warn(
      { subject: subject.slice(0, 200), type: type.slice(0, 200), code: error.code, reason: error.message },
      'an event was left out',
    ),
  )
  return (place, subject, type, error) => report(place, { subject, type, error })
}

/** Logs events that a wire format cannot represent. */
export function logUnencodable(log: Logger): (entry: LogEntry, error: unknown) => void {
  return ({ position }, error) =>
    log.error({ position, reason: String(error) }, "an event cannot be written in a client's format and was left out")
}

/** Passes on at most one report per subject and minute. */
function oncePerMinute<E>(report: (subject: string, error: E) => void): (subject: string, error: E) => void {
  const reportedMs = new Map<string, number>()
  return (subject, error) => {
    const now = Date.now()
    if (now - (reportedMs.get(subject) ?? 0) < REPORT_MS) return
    // A flood of names is not a flood of lines.
    if (reportedMs.size >= SUBJECTS_MAX && !reportedMs.has(subject)) {
      for (const [known, ms] of reportedMs) if (now - ms >= REPORT_MS) reportedMs.delete(known)
      if (reportedMs.size >= SUBJECTS_MAX) return
    }
    reportedMs.set(subject, now)
    report(subject, error)
  }
}
