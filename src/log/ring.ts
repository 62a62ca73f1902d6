import type { LogEntry } from './entry.ts'

/**
 * The newest part of the log, in memory, bounded in events and in bytes. Sequences grow but may have gaps (other
 * subjects of the stream, bodies that are not events).
 */
export class Ring {
  /** Sum of the entries' bytes. */
  bytes = 0
  /** Events evicted so far. */
  evicted = 0
  /** Grows by doubling; an entry's place is its number modulo the length. */
  private slots: (LogEntry | undefined)[] = new Array(1024)
  private readonly eventsMax: number
  private readonly bytesMax: number
  /** Absolute numbers of the oldest entry and of the one after the newest. */
  private start = 0
  private end = 0
  /** Sequence of the newest evicted entry; all later entries are here. */
  private floorSeq = 0
  /** Number of the first entry that live delivery has not seen yet: nothing from here on is evicted. */
  private undelivered = 0
  private readonly latest = new Map<string, number>()

  constructor(eventsMax: number, bytesMax: number) {
    this.eventsMax = eventsMax
    this.bytesMax = bytesMax
  }

  get size(): number {
    return this.end - this.start
  }

  /** Entries that live delivery has not seen yet. */
  get backlog(): number {
    return this.end - this.undelivered
  }

  /** The next entry for live delivery, if any. It is safe from eviction until `delivered()`. */
  next(): LogEntry | undefined {
    return this.at(this.undelivered)
  }

  delivered(): void {
    this.undelivered++
  }

  /** Everything stored after this sequence is in the ring. */
  get completeAfter(): number {
    return this.floorSeq
  }

  /** Empties the ring. It is then complete after `floorSeq`. */
  reset(floorSeq: number): void {
    this.slots.fill(undefined)
    this.start = this.end = this.undelivered = 0
    this.bytes = 0
    this.latest.clear()
    this.floorSeq = floorSeq
  }

  append(entry: LogEntry): void {
    if (this.size === this.slots.length) this.grow()
    this.slots[this.end++ & (this.slots.length - 1)] = entry
    this.bytes += entry.bytes
    const { latestKey } = entry.route
    if (latestKey !== undefined) this.latest.set(latestKey, entry.seq)
    this.shrink()
  }

  /** An entry of the ring encoded another frame. */
  grew(bytes: number): void {
    this.bytes += bytes
  }

  /** Drops old entries until the bounds hold. The newest entry and those not delivered yet stay. */
  shrink(): void {
    while (this.size > 1 && this.start < this.undelivered && (this.size > this.eventsMax || this.bytes > this.bytesMax))
      this.evict()
  }

  /** Drops what the stream itself no longer keeps. */
  dropBefore(seq: number): void {
    while (this.start < this.undelivered && (this.slots[this.start & (this.slots.length - 1)] as LogEntry).seq < seq)
      this.evict()
    if (this.floorSeq < seq - 1) this.floorSeq = seq - 1
  }

  /** Number of the first entry after `seq`, for walking with `at`. */
  indexAfter(seq: number): number {
    let low = this.start
    let high = this.end
    while (low < high) {
      const middle = low + Math.floor((high - low) / 2)
      if ((this.slots[middle & (this.slots.length - 1)] as LogEntry).seq <= seq) low = middle + 1
      else high = middle
    }
    return low
  }

  /** @returns undefined past the newest entry, or if the entry was evicted */
  at(index: number): LogEntry | undefined {
    return index >= this.start && index < this.end ? this.slots[index & (this.slots.length - 1)] : undefined
  }

  /** Whether a newer event of the same key makes this one skippable. */
  superseded(entry: LogEntry): boolean {
    const { latestKey } = entry.route
    if (latestKey === undefined) return false
    const newest = this.latest.get(latestKey)
    return newest !== undefined && newest > entry.seq
  }

  private grow(): void {
    const { slots } = this
    const grown: (LogEntry | undefined)[] = new Array(slots.length * 2)
    for (let i = this.start; i < this.end; i++) grown[i & (grown.length - 1)] = slots[i & (slots.length - 1)]
    this.slots = grown
  }

  private evict(): void {
    const entry = this.slots[this.start & (this.slots.length - 1)] as LogEntry
    this.slots[this.start++ & (this.slots.length - 1)] = undefined
    this.bytes -= entry.bytes
    this.floorSeq = entry.seq
    this.evicted++
    const { latestKey } = entry.route
    if (latestKey !== undefined && this.latest.get(latestKey) === entry.seq) this.latest.delete(latestKey)
  }
}
