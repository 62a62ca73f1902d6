import type { KeyValue, KeyValueEntry } from '../../src/source/source.ts'

/** A bucket in memory that is out of reach when told so, and loses what it has. */
export class ModelBucket implements KeyValue {
  private readonly kept = new Map<string, Uint8Array>()
  private readonly reachable: () => boolean
  private revision = 0

  constructor(reachable: () => boolean) {
    this.reachable = reachable
  }

  lose(): void {
    this.kept.clear()
  }

  async get(key: string): Promise<KeyValueEntry | undefined> {
    this.mustBeUp()
    const value = this.kept.get(key)
    return value && { key, value, revision: 1, expiresMs: Number.POSITIVE_INFINITY }
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    this.mustBeUp()
    this.kept.set(key, value)
    return ++this.revision
  }

  create = this.put
  update = this.put

  async delete(key: string): Promise<boolean> {
    this.mustBeUp()
    return this.kept.delete(key)
  }

  async watch(): Promise<void> {}

  private mustBeUp(): void {
    if (!this.reachable()) throw new Error('out of reach')
  }
}
