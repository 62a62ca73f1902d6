import { BrokerError } from '../errors.ts'

const MINUTE_MS = 60_000

/**
 * Bytes that each user may have stored in a minute. Minutes are the clock's, the same for all, so that nothing is kept
 * of users for longer.
 */
export class ByteBudget {
  private readonly perMinute: number
  private readonly used = new Map<string, number>()
  private minute = 0

  /** @param perMinute 0: no limit */
  constructor(perMinute: number) {
    this.perMinute = perMinute
  }

  /** Takes some of a user's bytes. @throws BrokerError RATE_LIMITED where there are not as many left */
  take(userId: string, bytes: number, nowMs: number): void {
    if (this.perMinute === 0) return
    const minute = Math.floor(nowMs / MINUTE_MS)
    if (minute !== this.minute) {
      this.minute = minute
      this.used.clear()
    }
    const used = (this.used.get(userId) ?? 0) + bytes
    if (used > this.perMinute) {
      const retryAfterS = Math.ceil(((minute + 1) * MINUTE_MS - nowMs) / 1000)
      throw new BrokerError(
        'RATE_LIMITED',
        `A user may store ${this.perMinute} bytes a minute (STORED_BYTES_PER_MINUTE_PER_USER); this was ignored`,
        { retry_after_seconds: retryAfterS },
      )
    }
    this.used.set(userId, used)
  }
}
