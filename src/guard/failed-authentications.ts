/** Counts failed authentications by connection. A connection without any costs nothing. */
export class FailedAuthentications {
  private readonly max: number
  private readonly counts = new WeakMap<object, number>()

  constructor(max: number) {
    this.max = max
  }

  count(connection: object): void {
    this.counts.set(connection, (this.counts.get(connection) ?? 0) + 1)
  }

  /** Whether it is to end by them. */
  tooMany(connection: object): boolean {
    return (this.counts.get(connection) ?? 0) >= this.max
  }
}
