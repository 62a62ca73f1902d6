/**
 * A time as ISO 8601 in UTC, `2026-11-21T16:42:00.123Z`.
 * @param timeMs milliseconds since 1970; default: now
 */
export function isoTime(timeMs = Date.now()): string {
  return new Date(timeMs).toISOString()
}
