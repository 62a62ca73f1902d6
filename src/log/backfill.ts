import type { Source } from '../source/source.ts'
import type { LogEntry } from './entry.ts'
import type { StoredMessage } from './event.ts'

/** Events in a chunk. Chunks begin at multiples of this number, so that clients at nearby positions share them. */
const CHUNK_EVENTS = 512
/** Reads from the source that may be under way at once. */
const READS_MAX = 8

export interface Chunk {
  readonly entries: readonly LogEntry[]
  /** `entries` has everything stored from the requested position up to here. */
  readonly upToSeq: number
}

/**
 * Reads events older than the ring from the source, for clients that are far behind. Chunks are shared and kept in
 * bounded memory, the least recently used evicted first: a thousand clients that come back at one position cost one
 * read.
 */
export class Backfill {
  private readonly source: Pick<Source, 'read'>
  private readonly bytesMax: number
  private readonly route: (message: StoredMessage) => LogEntry | undefined
  private readonly slots = new Map<number, Slot>()
  private bytes = 0
  private reading = 0
  private readonly queue: (() => void)[] = []

  constructor(source: Pick<Source, 'read'>, bytesMax: number, route: (message: StoredMessage) => LogEntry | undefined) {
    this.source = source
    this.bytesMax = bytesMax
    this.route = route
  }

  /**
   * The chunk with the events after `seq`. Its entries may begin before that.
   * @param storedSeq everything up to here is known to be stored; greater than `seq`
   */
  after(seq: number, storedSeq: number): Promise<Chunk> {
    const number = Math.floor(seq / CHUNK_EVENTS)
    const before = this.slots.get(number)
    if (before) this.remove(number, before)
    // A chunk read while it was still filling up ends early; beyond its end it is read again.
    const slot = before && before.upToSeq > seq ? before : this.open(number, storedSeq)
    this.slots.set(number, slot)
    this.bytes += slot.bytes
    return slot.chunk
  }

  clear(): void {
    this.slots.clear()
    this.bytes = 0
  }

  private open(number: number, storedSeq: number): Slot {
    const upToSeq = Math.min(storedSeq, (number + 1) * CHUNK_EVENTS)
    const slot: Slot = { upToSeq, bytes: 0, chunk: this.read(number * CHUNK_EVENTS, upToSeq) }
    slot.chunk.then(
      ({ entries }) => {
        if (this.slots.get(number) !== slot) return
        // Counted twice, to leave room for the frames that its readers will encode.
        slot.bytes = 2 * entries.reduce((sum, entry) => sum + entry.bytes, 0)
        this.bytes += slot.bytes
        for (const [oldest, { bytes }] of this.slots) {
          if (this.bytes <= this.bytesMax || oldest === number) break
          this.slots.delete(oldest)
          this.bytes -= bytes
        }
      },
      () => {
        if (this.slots.get(number) === slot) this.remove(number, slot)
      },
    )
    return slot
  }

  private remove(number: number, slot: Slot): void {
    this.slots.delete(number)
    this.bytes -= slot.bytes
  }

  private async read(afterSeq: number, upToSeq: number): Promise<Chunk> {
    if (this.reading >= READS_MAX) await new Promise<void>((resolve) => this.queue.push(resolve))
    this.reading++
    try {
      const entries: LogEntry[] = []
      for (const message of await this.source.read(afterSeq, upToSeq - afterSeq)) {
        if (message.seq > upToSeq) break
        const entry = this.route(message)
        entry?.forget()
        if (entry) entries.push(entry)
      }
      return { entries, upToSeq }
    } finally {
      this.reading--
      this.queue.shift()?.()
    }
  }
}

interface Slot {
  readonly upToSeq: number
  readonly chunk: Promise<Chunk>
  bytes: number
}
