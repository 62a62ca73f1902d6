import { BrokerError } from '../errors.ts'
import { soon } from '../guarded.ts'

export interface ConnectionLimits {
  readonly connectionsMax: number
  /** Connections that have not authenticated. */
  readonly unauthenticatedMax: number
  readonly unauthenticatedTimeoutMs: number
  /** 0: no limit. */
  readonly perAddressMax: number
  /** 0: no limit. */
  readonly perUserMax: number
}

/** A connection, as the counts see it. */
export interface Counted {
  /** Bytes of its waiting commands and answers. */
  readonly heldBytes?: number
  /** Ends the connection at once and drops whatever waits for it. */
  discard(): void
}

/** Connections that are closed for being late in one turn of the event loop: thousands may have come at once. */
const CLOSED_PER_TURN = 128
/** Bytes that may wait for all unauthenticated connections together. */
const UNAUTHENTICATED_BYTES_MAX = 67_108_864

/** The counts that other parts of the broker read. */
interface ConnectionCounts {
  connections: number
  connectionsOpened: number
}

/**
 * Counts the connections of this process: all of them, by address, by user, and the unauthenticated ones. If there are
 * too many unauthenticated ones, or the process is full, the oldest unauthenticated connection is closed for the new
 * one. Clients that intend to authenticate do so within a round trip or two, so the oldest is the least likely to;
 * refusing newcomers instead would let idle connections lock everyone out.
 */
export class Connections {
  private readonly limits: ConnectionLimits
  private readonly figures: ConnectionCounts
  /** The time, in ms, since when each connection has been unauthenticated; the oldest first. */
  private readonly unauthenticated = new Map<Counted, number>()
  private readonly perAddress = new Map<string, number>()
  /** The address of each connection that is counted by address. */
  private readonly addresses = new Map<Counted, string>()
  private readonly perUser = new Map<string, number>()

  constructor(limits: ConnectionLimits, figures: ConnectionCounts) {
    this.limits = limits
    this.figures = figures
  }

  /** Whether connections are counted by address, so that callers have to give it. */
  get countsAddresses(): boolean {
    return this.limits.perAddressMax > 0
  }

  /** Makes room for one more connection. @throws BrokerError TOO_MANY_CONNECTIONS */
  admit(address: string | undefined): void {
    const { connectionsMax, perAddressMax } = this.limits
    if (address !== undefined && perAddressMax > 0 && (this.perAddress.get(address) ?? 0) >= perAddressMax) {
      throw new BrokerError(
        'TOO_MANY_CONNECTIONS',
        `An address may have ${perAddressMax} connections (MAX_CONNECTIONS_PER_ADDRESS)`,
      )
    }
    if (this.figures.connections >= connectionsMax && !this.closeOldest()) throw new BrokerError('TOO_MANY_CONNECTIONS')
  }

  /** @param moved it comes from another worker, so it does not count as newly opened */
  opened(connection: Counted, address: string | undefined, moved = false): void {
    this.figures.connections++
    if (!moved) this.figures.connectionsOpened++
    if (address === undefined || !this.countsAddresses) return
    this.addresses.set(connection, address)
    add(this.perAddress, address, 1)
  }

  closed(connection: Counted): void {
    this.figures.connections--
    this.unauthenticated.delete(connection)
    const address = this.addresses.get(connection)
    if (address === undefined) return
    this.addresses.delete(connection)
    add(this.perAddress, address, -1)
  }

  /** Counts a connection as unauthenticated: it has not authenticated yet, or has logged out. */
  waits(connection: Counted, nowMs: number): void {
    if (this.unauthenticated.has(connection)) return
    if (this.unauthenticated.size >= this.limits.unauthenticatedMax) this.closeOldest()
    this.unauthenticated.set(connection, nowMs)
  }

  /** Stops counting a connection as unauthenticated: it has authenticated or is gone. */
  waitsNoLonger(connection: Counted): void {
    this.unauthenticated.delete(connection)
  }

  /**
   * Closes the oldest unauthenticated connection.
   * @param among selects the connections to consider; default: all
   * @returns false if there is none
   */
  closeOldest(among?: (connection: Counted) => boolean): boolean {
    for (const connection of this.unauthenticated.keys()) {
      if (among && !among(connection)) continue
      this.unauthenticated.delete(connection)
      connection.discard()
      return true
    }
    return false
  }

  /** Checks that a user may have one more connection. @throws BrokerError TOO_MANY_CONNECTIONS */
  admitUser(userId: string): void {
    const { perUserMax } = this.limits
    if (perUserMax > 0 && (this.perUser.get(userId) ?? 0) >= perUserMax) {
      throw new BrokerError(
        'TOO_MANY_CONNECTIONS',
        `A user may have ${perUserMax} connections (MAX_CONNECTIONS_PER_USER)`,
      )
    }
  }

  userCame(userId: string): void {
    add(this.perUser, userId, 1)
  }

  userWent(userId: string): void {
    add(this.perUser, userId, -1)
  }

  /**
   * Closes connections that have been unauthenticated for too long; then, if too many bytes wait for the remaining
   * ones, those with the most. Call about once a second.
   */
  sweep(nowMs: number): void {
    this.closeLate(nowMs)
    this.closeLargest()
  }

  private closeLate(nowMs: number): void {
    let closed = 0
    for (const [connection, sinceMs] of this.unauthenticated) {
      if (nowMs - sinceMs < this.limits.unauthenticatedTimeoutMs) return
      if (closed++ === CLOSED_PER_TURN) {
        soon('sweep', () => this.closeLate(nowMs))
        return
      }
      this.unauthenticated.delete(connection)
      connection.discard()
    }
  }

  private closeLargest(): void {
    const waiting = [...this.unauthenticated.keys()].map((connection) => ({
      connection,
      bytes: connection.heldBytes ?? 0,
    }))
    let bytes = waiting.reduce((sum, one) => sum + one.bytes, 0)
    if (bytes <= UNAUTHENTICATED_BYTES_MAX) return
    for (const one of waiting.sort((a, b) => b.bytes - a.bytes)) {
      if (bytes <= UNAUTHENTICATED_BYTES_MAX) return
      bytes -= one.bytes
      this.unauthenticated.delete(one.connection)
      one.connection.discard()
    }
  }
}

/** Adds to a count, and deletes it when it reaches zero to free its memory. */
function add(counts: Map<string, number>, key: string, n: number): void {
  const count = (counts.get(key) ?? 0) + n
  if (count <= 0) counts.delete(key)
  else counts.set(key, count)
}
