import { BrokerError } from '../errors.ts'
import type { Changed, KeyValue, Remade, Source } from '../source/source.ts'

/**
 * If the last sweep is longer ago than this, the process stood still or the clock was set: it has not heard yet of what
 * was renewed meanwhile.
 */
const LATE_MS = 10_000
/** Entries of a lost bucket that are written again at the same time. */
const BATCH_MAX = 256

export interface ReplicaOptions<V> {
  readonly source: Source
  readonly kv: KeyValue
  /** How long an entry lasts after its last write, ms, in the store and so here. */
  readonly ttlMs: number
  /** @throws BrokerError INVALID_RECORD if the text is not of this bucket's shape: then it counts as deleted */
  readonly read: (key: string, text: string) => V
  readonly write: (value: V) => string
  /**
   * For values that state their own end: when that is, ms since 1970. Default: the entry is a lease, and lasts for
   * `ttlMs` after this node last heard of it.
   */
  readonly endMs?: (value: V) => number
  /**
   * Keys that only this node writes. It ignores what the store says of them, they last until it deletes them, and after
   * a loss it writes no others again. Default: none; every node writes every key.
   */
  readonly isOwn?: (key: string) => boolean
  /** Hears of each change. `before` undefined: the key is new; `value` undefined: it is gone. */
  readonly onChange?: (key: string, value: V | undefined, before: V | undefined) => void
  /** The bucket was lost; this node is about to write its copy again. */
  readonly onLost?: () => void
}

interface Entry<V> {
  value: V
  untilMs: number
}

/**
 * This node's copy of a key-value bucket. It follows every node's writes, forgets what ran out in the store (which does
 * not report it), and writes again what the store lost.
 */
export class Replica<V> {
  readonly kv: KeyValue
  private readonly options: ReplicaOptions<V>
  private readonly entries = new Map<string, Entry<V>>()
  /** Before this time, no lease counts as run out. */
  private trustFromMs = 0
  private sweptMs = Date.now()

  constructor(options: ReplicaOptions<V>) {
    this.options = options
    this.kv = options.kv
  }

  /** Starts to follow the bucket. Resolves once the copy is complete. */
  async follow(): Promise<void> {
    const seen: Changed = (key, bytes) => this.seen(key, bytes)
    await this.kv.watch(seen, (write) => this.writeAgain(write))
  }

  get(key: string): V | undefined {
    return this.entries.get(key)?.value
  }

  /** How long an entry still lasts unless it is written again, ms; 0: no entry. */
  leftMs(key: string, nowMs: number): number {
    return Math.max(0, (this.entries.get(key)?.untilMs ?? nowMs) - nowMs)
  }

  /** Writes to the store, then here. @throws BrokerError SERVICE_UNAVAILABLE */
  async put(key: string, value: V): Promise<void> {
    await this.kv.put(key, this.encode(value))
    this.note(key, value)
  }

  encode(value: V): Uint8Array {
    return Buffer.from(this.options.write(value))
  }

  /**
   * Changes only the copy, for what this node writes to the store in another way.
   * @param given undefined: deleted
   */
  note(key: string, given: V | undefined): void {
    const entry = this.entries.get(key)
    const nowMs = Date.now()
    const untilMs = given === undefined ? 0 : this.untilMs(key, given, nowMs)
    const value = untilMs > nowMs ? given : undefined
    const before = entry?.value
    if (value === undefined) this.entries.delete(key)
    else if (entry === undefined) this.entries.set(key, { value, untilMs })
    else {
      entry.value = value
      entry.untilMs = untilMs
    }
    if (value !== undefined || before !== undefined) this.options.onChange?.(key, value, before)
  }

  /** Forgets what ran out. Call every second or two; otherwise leases are not trusted. */
  sweep(nowMs: number): void {
    if (!this.options.source.connected || Math.abs(nowMs - this.sweptMs) > LATE_MS) this.distrust(nowMs)
    this.sweptMs = nowMs
    if (this.options.endMs === undefined && !this.isTrusted(nowMs)) return
    for (const [key, { untilMs }] of this.entries) if (untilMs < nowMs) this.note(key, undefined)
  }

  /**
   * Whether a missing lease means that its holder is gone. It does not while the store is out of reach, nor until all
   * nodes have had time to renew their leases.
   */
  isTrusted(nowMs: number): boolean {
    return nowMs >= this.trustFromMs
  }

  distrust(nowMs: number): void {
    this.trustFromMs = nowMs + this.options.ttlMs
  }

  private seen(key: string, bytes: Uint8Array | undefined): void {
    if (this.options.isOwn?.(key)) return
    let value: V | undefined
    try {
      if (bytes !== undefined) value = this.options.read(key, Buffer.from(bytes).toString())
    } finally {
      this.note(key, value)
    }
  }

  private untilMs(key: string, value: V, nowMs: number): number {
    const { isOwn, endMs, ttlMs } = this.options
    if (isOwn?.(key)) return Number.POSITIVE_INFINITY
    // A time in the future would keep it for longer than the store does.
    return Math.min(endMs?.(value) ?? Number.POSITIVE_INFINITY, nowMs + ttlMs)
  }

  private async writeAgain(write: Parameters<Remade>[0]): Promise<void> {
    const { isOwn, onLost } = this.options
    this.distrust(Date.now())
    onLost?.()
    this.sweep(Date.now())
    let batch: Promise<void>[] = []
    for (const [key, { value }] of this.entries) {
      if (isOwn?.(key) === false) continue
      batch.push(write(key, this.encode(value)))
      if (batch.length < BATCH_MAX) continue
      await Promise.all(batch)
      batch = []
    }
    await Promise.all(batch)
  }
}

/** A key of an application: names of any characters, each as base64url, joined by dots. */
export function keyOf(app: string, ...names: readonly string[]): string {
  return [app, ...names.map((name) => Buffer.from(name).toString('base64url'))].join('.')
}

/**
 * The application and the names in a key that `keyOf` made of `count` names.
 * @throws BrokerError INVALID_RECORD for any other key
 */
export function readKey(key: string, count: number): [app: string, ...names: string[]] {
  const [app = '', ...encoded] = key.split('.')
  const names = encoded.map((name) => Buffer.from(name, 'base64url').toString())
  if (app === '' || names.length !== count || keyOf(app, ...names) !== key)
    throw new BrokerError('INVALID_RECORD', 'a key that is not of this bucket')
  return [app, ...names]
}
