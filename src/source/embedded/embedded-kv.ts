import { every, guarded } from '../../guarded.ts'
import { type Changed, checkKey, type KeyValue, type KeyValueEntry } from '../source.ts'

const SWEEP_MS = 1_000

export class EmbeddedKeyValue implements KeyValue {
  private readonly ttlMs: number
  private readonly kept = new Map<string, KeyValueEntry>()
  private readonly watchers: Changed[] = []
  private revision = 0
  private readonly sweeper: NodeJS.Timeout

  /** @param ttlMs 0: keys never expire */
  constructor(ttlMs: number) {
    this.ttlMs = ttlMs || Number.POSITIVE_INFINITY
    this.sweeper = every('kv sweep', SWEEP_MS, () => this.sweep())
    this.sweeper.unref()
  }

  async get(key: string): Promise<KeyValueEntry | undefined> {
    checkKey(key)
    return this.current(key)
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    checkKey(key)
    const revision = ++this.revision
    // Deleted first, so that the map stays in the order of writes and the sweep can stop early.
    this.kept.delete(key)
    this.kept.set(key, { key, value, revision, expiresMs: Date.now() + this.ttlMs })
    for (const watcher of this.watchers) watcher(key, value)
    return revision
  }

  async create(key: string, value: Uint8Array): Promise<number | undefined> {
    checkKey(key)
    // Looked up and written in one go, so that nobody can write in between.
    return this.current(key) ? undefined : this.put(key, value)
  }

  async update(key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    checkKey(key)
    return this.current(key)?.revision === revision ? this.put(key, value) : undefined
  }

  async delete(key: string, revision?: number): Promise<boolean> {
    checkKey(key)
    if (revision !== undefined && this.current(key)?.revision !== revision) return false
    if (this.kept.delete(key)) for (const watcher of this.watchers) watcher(key, undefined)
    return true
  }

  async watch(changed: Changed): Promise<void> {
    const watcher = guarded('kv watch', changed)
    for (const entry of this.kept.values()) watcher(entry.key, entry.value)
    this.watchers.push(watcher)
  }

  close(): void {
    clearInterval(this.sweeper)
  }

  private current(key: string): KeyValueEntry | undefined {
    const entry = this.kept.get(key)
    return entry && entry.expiresMs > Date.now() ? entry : undefined
  }

  private sweep(): void {
    const now = Date.now()
    for (const [key, entry] of this.kept) {
      if (entry.expiresMs > now) return
      this.kept.delete(key)
      for (const watcher of this.watchers) watcher(key, undefined)
    }
  }
}
