/** Counts failed authentications by connection. Connections without failures use no memory here. */
export class FailedAuthentications {
  private readonly max: number
  private readonly counts = new WeakMap<object, number>()

  constructor(max: number) {
    this.max = max
  }

  count(connection: object): void {
    this.counts.set(connection, (this.counts.get(connection) ?? 0) + 1)
  }

  /** Whether the connection has failed too often and must end. */
  tooMany(connection: object): boolean {
    return (this.counts.get(connection) ?? 0) >= this.max
  }
}
