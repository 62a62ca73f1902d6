import { BrokerError } from '../errors.ts'
import type { Message } from '../hub/wire.ts'
import type { EventLog } from '../log/event-log.ts'
import { parsePosition, type Position } from '../log/position.ts'
import type { Bounds } from '../source/source.ts'

/** How long a position of another stream waits until the source says which stream is there. Elections end sooner. */
const WAIT_MS = 25_000
const WAIT_STEP_MS = 250

/** Where a client goes on that names the position it has come to. */
export interface ResumePoint {
  /** It gets what followed this sequence. */
  readonly sinceSeq: number
  /** Set if the log no longer has all that followed the position: the oldest one it has. Null: nothing is stored. */
  readonly missed?: { readonly since: string; readonly oldest: string | null }
}

/** @throws BrokerError INVALID_POSITION */
export function positionIn(since: unknown): Position {
  const position = parsePosition(since)
  if (position) return position
  throw new BrokerError(
    'INVALID_POSITION',
    'since: this is no position; give the `id` of an event',
    typeof since === 'string' ? { since: since.slice(0, 100) } : undefined,
  )
}

/**
 * The stream's bounds, which decide whether a position is still available. `resumePointOf` follows in the same turn.
 * @throws BrokerError SERVICE_UNAVAILABLE if the position is of another stream and the source is out of reach
 */
export async function boundsFor(log: EventLog, position: Position, gaveUp: () => boolean): Promise<Bounds> {
  let bounds = await askBounds(log, position, gaveUp)
  // The log has switched to another stream meanwhile.
  while (bounds.epoch !== log.epoch && !gaveUp()) bounds = await askBounds(log, position, gaveUp)
  return bounds
}

export function resumePointOf(log: EventLog, { epoch, seq }: Position, since: string, bounds: Bounds): ResumePoint {
  const { firstSeq, lastSeq } = bounds
  const known = epoch === bounds.epoch && epoch === log.epoch && seq <= lastSeq
  if (known && seq + 1 >= firstSeq) return { sinceSeq: seq }
  return {
    // Not beyond what the log has read: if the stream is cut short before that, other events get those sequences.
    sinceSeq: Math.min(firstSeq - 1, log.headSeq),
    missed: { since, oldest: firstSeq > lastSeq ? null : log.position(firstSeq) },
  }
}

/** The `events_missed` message: the log no longer has what a client needs. `oldest` null: nothing is stored. */
export function missed(since: string, oldest: string | null): Message {
  return { type: 'events_missed', data: { since, oldest_available: oldest } }
}

async function askBounds(log: EventLog, { epoch, seq }: Position, gaveUp: () => boolean): Promise<Bounds> {
  for (const untilMs = Date.now() + WAIT_MS; ; ) {
    try {
      return await (epoch === log.epoch ? log.recentBounds(seq) : log.bounds())
    } catch {
      // Go by what is in memory; older events are read when the source is back.
      if (epoch === log.epoch) return { epoch, firstSeq: 1, lastSeq: Math.max(log.headSeq, seq) }
    }
    // Wait for the source, since only it can tell which stream is newer: this broker may not have noticed that its own
    // stream has ended, and the client may already have all of it.
    if (gaveUp()) return { epoch, firstSeq: 1, lastSeq: seq }
    if (Date.now() > untilMs) throw new BrokerError('SERVICE_UNAVAILABLE', 'The stream is out of reach; try again')
    await new Promise((resolve) => setTimeout(resolve, WAIT_STEP_MS))
  }
}
