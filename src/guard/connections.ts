import { BrokerError } from '../errors.ts'

export interface ConnectionLimits {
  readonly connectionsMax: number
  /** Connections that have yet to say who they are. */
  readonly unauthenticatedMax: number
  readonly unauthenticatedTimeoutMs: number
  /** 0: no limit. */
  readonly perAddressMax: number
  /** 0: no limit. */
  readonly perUserMax: number
}

/** A connection, as far as it is counted. */
export interface Counted {
  /** Bytes of its commands and answers that wait. */
  readonly heldBytes?: number
  /** Ends it; nothing of it is kept. */
  discard(): void
}

/** Bytes that may wait for connections that are nobody's, all together. */
const UNAUTHENTICATED_BYTES_MAX = 67_108_864

/** What is read elsewhere of the counts. */
interface Figures {
  connections: number
  connectionsOpened: number
}

/**
 * The connections of this process: how many there are, from where, whose, and which have yet to say who they are. Those
 * give way: past their own limit, and where the process is full, the oldest of them is closed for the one that comes.
 * Who means to authenticate does so within a round trip or two, so the oldest is the one that least means to; refusing
 * newcomers instead would let idle connections lock everybody out.
 */
export class Connections {
  private readonly limits: ConnectionLimits
  private readonly figures: Figures
  /** Since when each is nobody's, ms; the oldest first. */
  private readonly unauthenticated = new Map<Counted, number>()
  private readonly perAddress = new Map<string, number>()
  /** Of each that was counted by its address. */
  private readonly addresses = new Map<Counted, string>()
  private readonly perUser = new Map<string, number>()

  constructor(limits: ConnectionLimits, figures: Figures) {
    this.limits = limits
    this.figures = figures
  }

  /** Whether anybody has to say where connections come from. */
  get countsAddresses(): boolean {
    return this.limits.perAddressMax > 0
  }

  /** Makes room for one more. @throws BrokerError TOO_MANY_CONNECTIONS */
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

  /** @param moved it was another worker's: no new one */
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

  /** It has yet to say who it is, or is nobody any more. */
  waits(connection: Counted, nowMs: number): void {
    if (this.unauthenticated.has(connection)) return
    if (this.unauthenticated.size >= this.limits.unauthenticatedMax) this.closeOldest()
    this.unauthenticated.set(connection, nowMs)
  }

  /** It said who it is, or is gone. */
  waitsNoLonger(connection: Counted): void {
    this.unauthenticated.delete(connection)
  }

  /**
   * Closes the oldest that is nobody's.
   * @param among those that count; default: all.
   * @returns false where there is none
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

  /** Whether a user may have one more connection. @throws BrokerError TOO_MANY_CONNECTIONS */
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

  /** Closes those that have been nobody's for too long, or for which too much waits. Call about once a second. */
  sweep(nowMs: number): void {
    this.closeLate(nowMs)
    this.closeLargest()
  }

  private closeLate(nowMs: number): void {
    for (const [connection, sinceMs] of this.unauthenticated) {
      if (nowMs - sinceMs < this.limits.unauthenticatedTimeoutMs) return
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

/** Adds to a count; one that comes to nothing takes no room. */
function add(counts: Map<string, number>, key: string, n: number): void {
  const count = (counts.get(key) ?? 0) + n
  if (count <= 0) counts.delete(key)
  else counts.set(key, count)
}
