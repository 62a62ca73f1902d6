import type { LogEntry } from './log/entry.ts'

/** Upper bounds of the latency histogram's buckets, ms. */
export const LATENCY_BUCKETS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000]

/**
 * The figures of one process, as plain numbers: the data path adds to them; `/metrics` and the statistics read them.
 */
export class Meters {
  connections = 0
  connectionsOpened = 0
  events = 0
  eventBytes = 0
  badEvents = 0
  unknownEvents = 0
  /** Events that were left out, by application, pattern of subjects, known type and error code. */
  readonly leftOutEvents = new Map<string, number>()
  lostEvents = 0
  drops = 0
  overflowed = 0
  readonly deliveries = new Map<string, number>()
  readonly deliveredBytes = new Map<string, number>()
  readonly catchUpDeliveries = new Map<string, number>()
  bytesReceived = 0
  readonly commands = new Map<string, number>()
  readonly errors = new Map<string, number>()
  /** Records and messages of other programs, found where brokers write for each other. */
  badRecords = 0
  /** Faults that the guard caught, by place. */
  readonly faults = new Map<string, number>()
  /** Time from storage to the socket's queue, by bucket; the last bucket counts anything slower. */
  readonly latency: number[] = new Array(LATENCY_BUCKETS_MS.length + 1).fill(0)
  latencySumMs = 0
  private readonly onUnencodable: (entry: LogEntry, error: unknown) => void

  /** @param onUnencodable hears of events that no codec can write */
  constructor(onUnencodable: (entry: LogEntry, error: unknown) => void = () => {}) {
    this.onUnencodable = onUnencodable
  }

  /** An event went to all live subscribers that want it. */
  published(storedMs: number): void {
    const ms = Math.max(0, Date.now() - storedMs)
    let bucket = 0
    while (bucket < LATENCY_BUCKETS_MS.length && ms > (LATENCY_BUCKETS_MS[bucket] as number)) bucket++
    this.latency[bucket] = (this.latency[bucket] as number) + 1
    this.latencySumMs += ms
  }

  delivered(format: string, sockets: number, bytes: number): void {
    add(this.deliveries, format, sockets)
    add(this.deliveredBytes, format, sockets * bytes)
  }

  caughtUp(format: string, bytes: number): void {
    add(this.catchUpDeliveries, format, 1)
    add(this.deliveredBytes, format, bytes)
  }

  command(app: string, type: string): void {
    add(this.commands, `${app} ${type}`, 1)
  }

  leftOut(app: string, subjects: string, type: string, code: string): void {
    add(this.leftOutEvents, `${app} ${subjects} ${type} ${code}`, 1)
  }

  error(code: string): void {
    add(this.errors, code, 1)
  }

  fault(where: string): void {
    add(this.faults, where, 1)
  }

  unencodable(entry: LogEntry, error: unknown): void {
    this.badEvents++
    this.onUnencodable(entry, error)
  }
}

function add(map: Map<string, number>, key: string, n: number): void {
  map.set(key, (map.get(key) ?? 0) + n)
}
