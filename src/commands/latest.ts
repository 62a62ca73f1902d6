/** Keys kept for each event type; beyond, the one that changed longest ago goes. */
const KEYS_MAX = 10_000

interface Kept {
  readonly data: unknown
  readonly timestamp: string
}

/**
 * The latest event of each key, for the event types whose contracts ask for it (`remember`): what an application's
 * snapshots are made of. Follows the log; knows what the log's newest part knows.
 */
export class Latest {
  private readonly kept = new Map<string, Map<string, Kept>>()

  /** An event came by. */
  note(app: string, kind: string, key: string, data: unknown, timestamp: string): void {
    const name = `${app} ${kind}`
    let keys = this.kept.get(name)
    if (!keys) this.kept.set(name, (keys = new Map()))
    // Deleted first, so that the map stays in order of change.
    keys.delete(key)
    keys.set(key, { data, timestamp })
    if (keys.size > KEYS_MAX) keys.delete(keys.keys().next().value as string)
  }

  of(app: string, kind: string, key: string): Kept | undefined {
    return this.kept.get(`${app} ${kind}`)?.get(key)
  }

  /** The latest of every key. */
  *all(app: string, kind: string): IterableIterator<Kept> {
    yield* this.kept.get(`${app} ${kind}`)?.values() ?? []
  }
}
