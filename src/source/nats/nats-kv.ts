import { type KV, type KvWatchInclude, NatsError, type QueuedIterator } from 'nats'
import type { Logger } from 'pino'
import { BrokerError, reasonOf } from '../../errors.ts'
import type { KeyValue, KeyValueEntry } from '../source.ts'

/** JetStream's answer where a key has another revision than expected. */
const WRONG_LAST_SEQUENCE = 10071
const RETRY_MS = 500

/** A NATS KV bucket. */
export class NatsKeyValue implements KeyValue {
  private readonly kv: KV
  /** How long the bucket keeps its keys; it may be another's, with a time of its own. */
  private readonly ttlMs: number
  private readonly log: Logger
  private readonly mustBeUp: () => void
  private readonly watches = new Set<QueuedIterator<unknown>>()
  private closed = false

  constructor(kv: KV, ttlMs: number, log: Logger, mustBeUp: () => void) {
    this.kv = kv
    this.ttlMs = ttlMs || Number.POSITIVE_INFINITY
    this.log = log
    this.mustBeUp = mustBeUp
  }

  async get(key: string): Promise<KeyValueEntry | undefined> {
    const entry = await this.ask(() => this.kv.get(key))
    return entry && entry.operation === 'PUT' ? { key, value: entry.value, revision: entry.revision, expiresMs: entry.created.getTime() + this.ttlMs } : undefined
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    return this.ask(() => this.kv.put(key, value))
  }

  async create(key: string, value: Uint8Array): Promise<number | undefined> {
    return this.ask(() => unlessOther(this.kv.create(key, value)))
  }

  async update(key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    return this.ask(() => unlessOther(this.kv.update(key, value, revision)))
  }

  async delete(key: string, revision?: number): Promise<boolean> {
    if (revision === undefined) {
      await this.ask(() => this.kv.delete(key))
      return true
    }
    // What was deleted is gone for `get`: its marker has a revision that nobody was given.
    return (await this.ask(() => unlessOther(this.kv.delete(key, { previousSeq: revision }).then(() => revision)))) !== undefined
  }

  async watch(changed: (key: string, value: Uint8Array | undefined) => void): Promise<void> {
    await new Promise<void>((resolve) => void this.watchForEver(changed, resolve))
  }

  /** The connection is back: watches start anew at once, instead of when their heartbeats have been missed. */
  rewatch(): void {
    for (const watch of this.watches) watch.stop()
  }

  close(): void {
    this.closed = true
    this.rewatch()
  }

  private async watchForEver(changed: (key: string, value: Uint8Array | undefined) => void, seen: () => void): Promise<void> {
    while (!this.closed) {
      try {
        const watch = await this.kv.watch({ include: '' as KvWatchInclude, initializedFn: seen })
        this.watches.add(watch)
        for await (const entry of watch) changed(entry.key, entry.operation === 'PUT' ? entry.value : undefined)
        this.watches.delete(watch)
      } catch (error) {
        if (this.closed) return
        this.log.warn({ reason: reasonOf(error) }, 'watching a bucket failed, trying again')
      }
      if (!this.closed) await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
  }

  private async ask<T>(question: () => Promise<T>): Promise<T> {
    this.mustBeUp()
    try {
      return await question()
    } catch (error) {
      throw new BrokerError('SERVICE_UNAVAILABLE', `NATS key-value store: ${reasonOf(error)}`)
    }
  }
}

async function unlessOther(write: Promise<number>): Promise<number | undefined> {
  try {
    return await write
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.err_code === WRONG_LAST_SEQUENCE) return undefined
    throw error
  }
}
