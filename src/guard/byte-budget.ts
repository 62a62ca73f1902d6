import { BrokerError } from '../errors.ts'

const MINUTE_MS = 60_000

/**
 * The bytes that each user may store in a minute. All users share the minutes of the clock, so that nothing has to be
 * kept about a user for longer.
 */
export class ByteBudget {
  private readonly perMinute: number
  private readonly used = new Map<string, number>()
  private minute = 0

  /** @param perMinute 0: no limit */
  constructor(perMinute: number) {
    this.perMinute = perMinute
  }

  /** Takes bytes from a user's budget. @throws BrokerError RATE_LIMITED if there are not enough left */
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
