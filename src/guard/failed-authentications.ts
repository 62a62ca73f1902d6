/** Counts failed authentications by connection. A connection without any costs nothing. */
export class FailedAuthentications {
  private readonly max: number
  private readonly counts = new WeakMap<object, number>()

  constructor(max: number) {
    this.max = max
  }

  /** Counts one more. @returns whether the connection is to end by it */
  count(connection: object): boolean {
    const count = (this.counts.get(connection) ?? 0) + 1
    this.counts.set(connection, count)
    return count >= this.max
  }
}
