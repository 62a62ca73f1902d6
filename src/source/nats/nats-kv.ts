import {
  type JetStreamClient,
  type JetStreamManager,
  type KV,
  type KvEntry,
  type KvWatchInclude,
  NatsError,
  type QueuedIterator,
} from 'nats'
import type { Logger } from 'pino'
import { BrokerError, reasonOf } from '../../errors.ts'
import { every, guarded, runGuarded } from '../../guarded.ts'
import { type Changed, checkKey, type KeyValue, type KeyValueEntry, type Remade } from '../source.ts'
import { STREAM_NOT_FOUND } from './held-subjects.ts'

/** JetStream's answer if a key has another revision than expected. */
const WRONG_LAST_SEQUENCE = 10071
const RETRY_MS = 500
/**
 * A watch reports when it has given all there was. If keys expire meanwhile, it waits for more than there is; after
 * this long without an entry, it counts as complete.
 */
const QUIET_MS = 5_000
/** A bucket that ends before the last entry read counts as an older copy only once it has done so for this long. */
const CUT_SHORT_MS = 2_000

export interface NatsKeyValueOptions {
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly bucket: string
  /** 0: keys never expire. Applies to a bucket that we make; somebody else's may have another time. */
  readonly ttlMs: number
  readonly replicas: number
  readonly log: Logger
  readonly mustBeUp: () => void
  /** If one bucket looks lost, others may be lost too. Resolves once all are in order again. */
  readonly suspect: () => Promise<void>
}

/**
 * A NATS KV bucket. After a loss (its store was wiped, or an older copy was put back) it is restored, and its watches
 * start anew.
 */
export class NatsKeyValue implements KeyValue {
  /** Why it cannot be used at the moment; undefined: it can. */
  trouble: string | undefined
  private readonly options: NatsKeyValueOptions
  private kv: KV
  private ttlMs = Number.POSITIVE_INFINITY
  /** When the bucket was made; one that was made again has another time. */
  private created = ''
  private newestRevision = 0
  private endsEarlierSinceMs: number | undefined
  private looking: Promise<void> | undefined
  /** Settles once the bucket's owners have written again what they know. */
  private restoring: Promise<unknown> | undefined
  private readonly remade: Remade[] = []
  private readonly watches = new Set<QueuedIterator<unknown>>()
  private closed = false

  static async open(options: NatsKeyValueOptions): Promise<NatsKeyValue> {
    const opened = new NatsKeyValue(options, await make(options))
    await opened.takeIn()
    return opened
  }

  private constructor(options: NatsKeyValueOptions, kv: KV) {
    this.options = options
    this.kv = kv
  }

  async get(key: string): Promise<KeyValueEntry | undefined> {
    checkKey(key)
    const entry = await this.ask(() => this.kv.get(key))
    return entry && isPut(entry)
      ? { key, value: entry.value, revision: entry.revision, expiresMs: entry.created.getTime() + this.ttlMs }
      : undefined
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    checkKey(key)
    return this.noticed(await this.ask(() => this.kv.put(key, value)))
  }

  async create(key: string, value: Uint8Array): Promise<number | undefined> {
    checkKey(key)
    return this.noticed(await this.ask(() => unlessOther(this.kv.create(key, value))))
  }

  async update(key: string, value: Uint8Array, revision: number): Promise<number | undefined> {
    checkKey(key)
    return this.noticed(await this.ask(() => unlessOther(this.kv.update(key, value, revision))))
  }

  async delete(key: string, revision?: number): Promise<boolean> {
    checkKey(key)
    if (revision === undefined) {
      await this.ask(() => this.kv.delete(key))
      return true
    }
    // `get` does not see a deleted key, so nobody was given the revision of its marker.
    return (
      (await this.ask(() => unlessOther(this.kv.delete(key, { previousSeq: revision }).then(() => revision)))) !==
      undefined
    )
  }

  async watch(changed: Changed, remade?: Remade): Promise<void> {
    if (remade) this.remade.push(remade)
    await new Promise<void>((resolve) =>
      runGuarded(this.place, () =>
        this.watchForEver(
          guarded(this.place, (entry: KvEntry) => this.pass(entry, changed)),
          resolve,
        ),
      ),
    )
  }

  /** The connection is back: watches start anew at once, without waiting for missed heartbeats. */
  rewatch(): void {
    for (const watch of this.watches) watch.stop()
  }

  /** Makes the bucket again if it is gone. Never fails: `trouble` says what is wrong. */
  look(): Promise<void> {
    this.looking ??= this.lookOnce().finally(() => {
      this.looking = undefined
    })
    return this.looking
  }

  /** Resolves once the owners have written again what a lost bucket held. */
  async restored(): Promise<void> {
    await this.restoring
  }

  close(): void {
    this.closed = true
    this.rewatch()
  }

  private get place(): string {
    return `kv watch ${this.options.bucket}`
  }

  private async lookOnce(): Promise<void> {
    const { jsm, bucket, log } = this.options
    const { newestRevision, created } = this
    let lastSeq = 0
    try {
      const info = await jsm.streams.info(`KV_${bucket}`).catch((error: unknown) => {
        if (error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND) return undefined
        throw error
      })
      if (info?.created !== created) {
        this.kv = await make(this.options)
        await this.takeIn()
      }
      this.trouble = undefined
      lastSeq = info?.state.last_seq ?? 0
    } catch (error) {
      if (this.closed) return
      const trouble = `the key-value bucket ${bucket} cannot be used: ${reasonOf(error)}`
      if (this.trouble !== trouble)
        log.warn({ bucket, reason: reasonOf(error) }, 'a key-value bucket cannot be used, trying again')
      this.trouble = trouble
      return
    }
    if (this.created !== created) {
      log.warn({ bucket }, 'the key-value bucket was lost and made again; what is known of it is written again')
      this.writeAgain((key, value) => this.kv.create(key, value))
    } else if (this.endsEarlier(lastSeq, newestRevision)) {
      log.warn({ bucket }, 'the key-value bucket was put back from an older copy; what is known of it is written again')
      this.writeAgain((key, value) => this.writeOver(key, value, lastSeq))
    }
  }

  /** Whether the bucket has ended, for a while, before the last entry read: in a cluster, a new leader may be late. */
  private endsEarlier(lastSeq: number, readSeq: number): boolean {
    if (lastSeq >= readSeq) this.endsEarlierSinceMs = undefined
    else this.endsEarlierSinceMs ??= performance.now()
    return this.endsEarlierSinceMs !== undefined && performance.now() - this.endsEarlierSinceMs >= CUT_SHORT_MS
  }

  /** Starts watches anew, and lets the bucket's owners write what they know. */
  private writeAgain(writeOne: (key: string, value: Uint8Array) => Promise<unknown>): void {
    this.newestRevision = 0
    this.endsEarlierSinceMs = undefined
    this.rewatch()
    const write = async (key: string, value: Uint8Array) => {
      await writeOne(key, value).catch(() => {})
    }
    this.restoring = Promise.allSettled(this.remade.map((remade) => remade(write))).finally(() => {
      this.restoring = undefined
    })
  }

  /** Writes a key that is missing, or that still is as the older copy has it. */
  private async writeOver(key: string, value: Uint8Array, copyLastSeq: number): Promise<void> {
    const before = await this.kv.get(key)
    if (before === null || !isPut(before)) await this.kv.create(key, value)
    else if (before.revision <= copyLastSeq && !Buffer.from(before.value).equals(value))
      await this.kv.update(key, value, before.revision)
  }

  private async takeIn(): Promise<void> {
    const { ttl, streamInfo } = await this.kv.status()
    const { bucket, replicas, log } = this.options
    this.ttlMs = ttl || Number.POSITIVE_INFINITY
    this.created = streamInfo.created
    const { num_replicas } = streamInfo.config
    if (num_replicas < replicas)
      log.warn(
        { bucket, replicas: num_replicas, wanted: replicas },
        `the key-value bucket has fewer replicas than wanted, so that one node's death can take it away: nats stream edit KV_${bucket} --replicas=${replicas}`,
      )
  }

  private pass(entry: KvEntry, changed: Changed): void {
    if (entry.revision > this.newestRevision) this.newestRevision = entry.revision
    changed(entry.key, isPut(entry) ? entry.value : undefined)
  }

  /** Revisions grow as long as a bucket lives: one far below the newest seen comes from another bucket. */
  private async noticed<R extends number | undefined>(revision: R): Promise<R> {
    if (revision !== undefined) {
      const another = revision * 2 < this.newestRevision
      if (revision > this.newestRevision) this.newestRevision = revision
      if (another) await this.options.suspect()
    }
    return revision
  }

  private async watchForEver(pass: (entry: KvEntry) => void, seen: () => void): Promise<void> {
    let told = ''
    while (!this.closed) {
      let givenMs = Date.now()
      let watch: QueuedIterator<KvEntry> | undefined
      const quiet = every(this.place, QUIET_MS, () => {
        if (watch !== undefined && Date.now() - givenMs >= QUIET_MS) seen()
      })
      try {
        watch = await this.kv.watch({ include: '' as KvWatchInclude, initializedFn: seen })
        this.watches.add(watch)
        told = ''
        for await (const entry of watch) {
          givenMs = Date.now()
          pass(entry)
        }
      } catch (error) {
        if (this.closed) return
        const reason = reasonOf(error)
        if (reason !== told)
          this.options.log.warn({ bucket: this.options.bucket, reason }, 'watching a bucket failed, trying again')
        told = reason
      } finally {
        clearInterval(quiet)
        if (watch) this.watches.delete(watch)
      }
      if (this.closed) return
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
      await this.look()
    }
  }

  private async ask<T>(question: () => Promise<T>): Promise<T> {
    this.options.mustBeUp()
    if (this.restoring) await this.restoring
    const { created } = this
    try {
      return await question().catch(async (error: unknown) => {
        if (!isMissing(error)) throw error
        await this.look()
        if (this.created === created) throw error
        await this.restoring
        return question()
      })
    } catch (error) {
      throw new BrokerError('SERVICE_UNAVAILABLE', `NATS key-value store: ${reasonOf(error)}`)
    }
  }
}

/** @throws BrokerError INVALID_RECORD if nats.js cannot read its headers: then nobody knows what it is */
function isPut(entry: KvEntry): boolean {
  try {
    return entry.operation === 'PUT'
  } catch {
    throw new BrokerError('INVALID_RECORD', 'headers that cannot be read')
  }
}

function make({ js, bucket, ttlMs, replicas }: NatsKeyValueOptions): Promise<KV> {
  return js.views.kv(bucket, { history: 1, ttl: ttlMs, replicas })
}

/** Nobody answers for a bucket that is gone. */
function isMissing(error: unknown): boolean {
  return error instanceof NatsError && (error.code === '503' || error.api_error?.err_code === STREAM_NOT_FOUND)
}

async function unlessOther(write: Promise<number>): Promise<number | undefined> {
  try {
    return await write
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.err_code === WRONG_LAST_SEQUENCE) return undefined
    throw error
  }
}
