import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
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
  private readonly route: (message: StoredMessage) => LogEntry | undefined
  private readonly kept: LRUCache<number, KeptChunk>
  private readonly reads = pLimit(READS_MAX)

  constructor(source: Pick<Source, 'read'>, bytesMax: number, route: (message: StoredMessage) => LogEntry | undefined) {
    this.source = source
    this.route = route
    // A chunk that is larger than all memory for chunks is kept alone: those who wait for it share it.
    this.kept = new LRUCache({
      maxSize: bytesMax,
      sizeCalculation: ({ bytes }) => Math.min(Math.max(bytes, 1), bytesMax),
    })
  }

  /**
   * The chunk with the events after `seq`. Its entries may begin before that.
   * @param storedSeq everything up to here is known to be stored; greater than `seq`
   */
  after(seq: number, storedSeq: number): Promise<Chunk> {
    const number = Math.floor(seq / CHUNK_EVENTS)
    const kept = this.kept.get(number)
    // A chunk read while it was still filling up ends early; beyond its end it is read again.
    return kept !== undefined && kept.upToSeq > seq ? kept.chunk : this.open(number, storedSeq)
  }

  clear(): void {
    this.kept.clear()
  }

  private open(number: number, storedSeq: number): Promise<Chunk> {
    const upToSeq = Math.min(storedSeq, (number + 1) * CHUNK_EVENTS)
    const chunk = this.reads(() => this.read(number * CHUNK_EVENTS, upToSeq))
    const opened: KeptChunk = { upToSeq, bytes: 0, chunk }
    this.kept.set(number, opened)
    chunk.then(
      ({ entries }) => {
        if (this.kept.peek(number) !== opened) return
        // Counted twice, to leave room for the frames that its readers will encode.
        const bytes = 2 * entries.reduce((sum, entry) => sum + entry.bytes, 0)
        this.kept.set(number, { ...opened, bytes })
      },
      () => {
        if (this.kept.peek(number) === opened) this.kept.delete(number)
      },
    )
    return chunk
  }

  private async read(afterSeq: number, upToSeq: number): Promise<Chunk> {
    const entries: LogEntry[] = []
    for (const message of await this.source.read(afterSeq, upToSeq - afterSeq)) {
      if (message.seq > upToSeq) break
      const entry = this.route(message)
      entry?.forget()
      if (entry) entries.push(entry)
    }
    return { entries, upToSeq }
  }
}

interface KeptChunk {
  readonly upToSeq: number
  /** 0 while it is read. */
  readonly bytes: number
  readonly chunk: Promise<Chunk>
}
