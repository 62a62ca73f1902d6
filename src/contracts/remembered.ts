import type { Facts } from './contract.ts'

/** Keys kept for each event type; beyond, the one that changed longest ago goes. */
const KEYS_MAX = 10_000

/** Stands for all types. */
export const SUBJECTS = ''

interface Kept {
  readonly data: unknown
  readonly timestamp: string
  readonly seq: number
}

/**
 * The latest event of each key that an application's events `remember`: what its snapshots are made of. Follows the log,
 * and knows what the log's newest part knows.
 */
export class Remembered implements Facts {
  private readonly kept = new Map<string, Map<string, Kept>>()

  /** An event came by; older ones are read again for clients that catch up, and change nothing. */
  note(type: string, key: string, data: unknown, timestamp: string, seq: number): void {
    let keys = this.kept.get(type)
    if (!keys) this.kept.set(type, (keys = new Map()))
    if ((keys.get(key)?.seq ?? -1) >= seq) return
    // Deleted first, so that the map stays in order of change.
    keys.delete(key)
    keys.set(key, { data, timestamp, seq })
    if (keys.size > KEYS_MAX) keys.delete(keys.keys().next().value as string)
  }

  /** The stream no longer has what came after this sequence: it is another one (0), or was cut short. */
  forget(afterSeq: number): void {
    for (const keys of this.kept.values()) for (const [key, { seq }] of keys) if (seq > afterSeq) keys.delete(key)
  }

  latestTime(subject: string): string | undefined {
    return this.of(SUBJECTS, subject)?.timestamp
  }

  of(type: string, key: string): Kept | undefined {
    return this.kept.get(type)?.get(key)
  }

  *all(type: string): IterableIterator<Kept> {
    yield* this.kept.get(type)?.values() ?? []
  }
}
