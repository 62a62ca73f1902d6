import type { Connection } from './connection.ts'

const TICK_MS = 50

/** Limits how many bytes a second connections read, with one timer for all of them. */
export class Throttle {
  private readonly paces = new Map<Connection, number>()
  private timer: NodeJS.Timeout | undefined

  add(connection: Connection, bytesPerSecond: number): void {
    connection.allowance = 0
    this.paces.set(connection, (bytesPerSecond * TICK_MS) / 1000)
    this.timer ??= setInterval(() => this.tick(), TICK_MS)
  }

  remove(connection: Connection): void {
    this.paces.delete(connection)
    connection.allowance = Number.POSITIVE_INFINITY
    connection.resume()
    if (this.paces.size > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }

  private tick(): void {
    for (const [connection, bytes] of this.paces) {
      // A read that took more than its share is paid back first; an unused share is not saved up.
      connection.allowance = Math.min(bytes, connection.allowance + bytes)
      if (connection.allowance > 0) connection.resume()
    }
  }
}
