import { createHash } from 'node:crypto'
import { BrokerError } from '../errors.ts'
import { every, runGuarded } from '../guarded.ts'
import { isRecord } from '../log/event.ts'
import type { KeyValue, KeyValueEntry, Source } from '../source/source.ts'
import { keyOf, Replica } from './replica.ts'
import type { Lock } from '../contracts/lock.ts'

const LOCKS = 'roomcast_locks'
const LEASES = 'roomcast_lock_leases'
/** A lock is freed this long after its holder's last connection ended. */
const LEASE_MS = 10_000
const REFRESH_MS = 2_000
/** The store forgets a lock that nobody wrote for this long; locks that are held are written again in time. */
const KEPT_MS = 24 * 3_600_000
const HOLDERS_MAX = 1_000
/** How many times a write is tried while others keep writing first. */
const TRIES_MAX = 200
const RETRY_MS_MAX = 20

interface Holder {
  readonly userId: string
  readonly mode: Lock['mode']
}

/** The value stored under a resource's key. */
interface Held {
  readonly app: string
  readonly resource: Lock['resource']
  readonly holders: readonly Holder[]
}

/** Everything that one user holds. */
interface Holding {
  readonly app: string
  readonly userId: string
  readonly keys: Set<string>
}

export type Grant =
  /** `freed`: locks of holders who are gone. */
  | { readonly granted: true; readonly changed: boolean; readonly freed: readonly Lock[]; readonly lock: Lock }
  | { readonly granted: false; readonly holder: Holder }

/** The lock that was held, if any, and the other holders. */
export interface Release {
  readonly lock: Lock | undefined
  readonly others: readonly Holder[]
}

/** What the locks need to know from their node, and what they report to it. */
export interface LocksNode {
  /**
   * Whether this node has the contract of an application. Only nodes that have it free the application's locks, because
   * only they can tell its users.
   */
  readonly serves: (app: string) => boolean
  /** Whether a user has a connection to this node. */
  readonly isHere: (app: string, userId: string) => boolean
  /** Called once across all nodes for each lock whose lease ran out. */
  readonly onFreed: (app: string, lock: Lock) => void
}

/**
 * Who holds what, across all nodes. Each resource is one key with all its holders, written by compare-and-set. Each
 * user who holds anything has a lease, renewed by every node that they are connected to. When it runs out, the first
 * node to notice frees the user's locks.
 */
export class Locks {
  private readonly node: LocksNode
  private readonly locks: Replica<Held>
  private readonly leases: Replica<null>
  /** By the holder's lease. */
  private readonly holdings = new Map<string, Holding>()
  private readonly timer: NodeJS.Timeout

  static async open(source: Source, node: LocksNode): Promise<Locks> {
    const [locksKv, leasesKv] = [await source.keyValue(LOCKS, KEPT_MS), await source.keyValue(LEASES, LEASE_MS)]
    const locks = new Locks(source, locksKv, leasesKv, node)
    await locks.leases.follow()
    await locks.locks.follow()
    return locks
  }

  private constructor(source: Source, locksKv: KeyValue, leasesKv: KeyValue, node: LocksNode) {
    this.node = node
    this.leases = new Replica({ source, kv: leasesKv, ttlMs: LEASE_MS, read: () => null, write: () => '' })
    this.locks = new Replica({
      source,
      kv: locksKv,
      ttlMs: KEPT_MS,
      read: readHeld,
      write: (held) => JSON.stringify(held),
      onChange: (key, held, before) => this.index(key, held, before),
      // If the locks are lost, the leases are not trusted either.
      onLost: () => this.leases.distrust(Date.now()),
    })
    this.timer = every('lock leases', REFRESH_MS, () => this.tick(Date.now()))
    this.timer.unref()
  }

  /**
   * Takes a resource for a user who is connected here. If the user already holds it, its mode changes.
   * @param checkHolder throws if the user may no longer have it: asking the store takes time
   * @throws BrokerError SERVICE_UNAVAILABLE while the store is out of reach: nothing is granted; TOO_MANY_LOCKS
   */
  async acquire(
    app: string,
    resource: Lock['resource'],
    userId: string,
    mode: Lock['mode'],
    locksMax: number,
    checkHolder: () => void = () => {},
  ): Promise<Grant> {
    const key = lockKey(app, resource)
    const keys = this.holdings.get(keyOf(app, userId))?.keys
    if (keys !== undefined && keys.size >= locksMax && !keys.has(key))
      throw new BrokerError('TOO_MANY_LOCKS', `A user may hold ${locksMax} locks (MAX_LOCKS_PER_USER)`)
    // The lease comes first: anybody may take a lock whose holder has none.
    await this.leases.put(keyOf(app, userId), null)
    return this.change<Grant>(key, async (before) => {
      const holders = before?.holders ?? []
      const gone = await this.goneAmong(app, holders)
      checkHolder()
      const others = holders.filter((holder) => holder.userId !== userId && !gone.includes(holder))
      const other = others.find((holder) => mode === 'exclusive' || holder.mode === 'exclusive')
      if (other) return { result: { granted: false, holder: other } }
      if (others.length >= HOLDERS_MAX)
        throw new BrokerError('TOO_MANY_LOCKS', `${HOLDERS_MAX} users hold this already`)
      const changed = holders.every((holder) => holder.userId !== userId || holder.mode !== mode)
      const result: Grant = {
        granted: true,
        changed,
        freed: gone.map((holder) => ({ resource, ...holder })),
        lock: { resource, userId, mode },
      }
      return changed || gone.length > 0
        ? { result, held: { app, resource, holders: [...others, { userId, mode }] } }
        : { result }
    })
  }

  /** Gives a resource back. */
  async release(app: string, resource: Lock['resource'], userId: string): Promise<Release> {
    return this.change<Release>(lockKey(app, resource), async (before) => {
      const others = before?.holders.filter((holder) => holder.userId !== userId) ?? []
      const mine = before?.holders.find((holder) => holder.userId === userId)
      if (!mine) return { result: { lock: undefined, others } }
      return { result: { lock: { resource, ...mine }, others }, held: { app, resource, holders: others } }
    })
  }

  /**
   * A connection of a user ended. If it was the user's last one here, the lease is written for the last time; `tick`
   * frees the locks when it runs out.
   */
  left(app: string, userId: string): void {
    const lease = keyOf(app, userId)
    if (this.holdings.has(lease) && !this.node.isHere(app, userId)) this.renew(lease)
  }

  close(): void {
    clearInterval(this.timer)
  }

  /**
   * Reads, decides and writes, again and again until nobody else wrote in between.
   * @param decide returns the outcome, and what to store, if anything
   */
  private async change<R>(
    key: string,
    decide: (before: Held | undefined) => Promise<{ readonly result: R; readonly held?: Held }>,
  ): Promise<R> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const entry = await this.locks.kv.get(key)
      const { result, held } = await decide(entry && heldIn(key, Buffer.from(entry.value).toString()))
      if (held === undefined || (await this.write(key, held, entry))) return result
      await new Promise((resolve) => setTimeout(resolve, Math.random() * RETRY_MS_MAX))
    }
    throw new BrokerError('TIMEOUT', 'Too many others want this at the same time; try again')
  }

  /** @returns false if somebody else wrote first */
  private async write(key: string, held: Held, before: KeyValueEntry | undefined): Promise<boolean> {
    const { kv } = this.locks
    const value = this.locks.encode(held)
    const isFree = held.holders.length === 0
    let written: boolean
    if (before === undefined) written = (await kv.create(key, value)) !== undefined
    else if (isFree) written = await kv.delete(key, before.revision)
    else written = (await kv.update(key, value, before.revision)) !== undefined
    // Noted here at once, not when the watch reports it: the holder may leave before that.
    if (written) this.locks.note(key, isFree ? undefined : held)
    return written
  }

  private index(key: string, held: Held | undefined, before: Held | undefined): void {
    for (const { userId } of before?.holders ?? []) {
      const lease = keyOf((before as Held).app, userId)
      const keys = this.holdings.get(lease)?.keys
      keys?.delete(key)
      if (keys?.size === 0) this.holdings.delete(lease)
    }
    for (const { userId } of held?.holders ?? []) {
      const { app } = held as Held
      const lease = keyOf(app, userId)
      const holding = this.holdings.get(lease)
      if (holding) holding.keys.add(key)
      else this.holdings.set(lease, { app, userId, keys: new Set([key]) })
    }
  }

  private renew(lease: string): void {
    void this.leases.put(lease, null).catch(() => {})
  }

  /** Renews the leases of users who are here, and frees the locks of users who are nowhere. */
  private tick(nowMs: number): void {
    this.leases.sweep(nowMs)
    this.locks.sweep(nowMs)
    const lost = new Set<string>()
    for (const [lease, { app, userId, keys }] of this.holdings) {
      const here = this.node.isHere(app, userId)
      if (here) this.renew(lease)
      if (!this.node.serves(app)) continue
      if (here) {
        for (const key of keys)
          if (this.locks.leftMs(key, nowMs) < KEPT_MS / 2) runGuarded('lock sweep', () => this.sweep(key, true))
      } else if (this.leases.isTrusted(nowMs) && this.leases.leftMs(lease, nowMs) === 0)
        for (const key of keys) lost.add(key)
    }
    for (const key of lost) runGuarded('lock sweep', () => this.sweep(key, false))
  }

  /** Takes a resource away from holders who are gone. @param rewrite writes it again even if none is gone */
  private async sweep(key: string, rewrite: boolean): Promise<void> {
    try {
      const known = this.locks.get(key)
      const freed = await this.change(key, async (before) => {
        if (!before) {
          // The store dropped the key silently. Forget it here too, unless somebody took the lock meanwhile.
          if (known === this.locks.get(key)) this.locks.note(key, undefined)
          return { result: [] }
        }
        const gone = await this.goneAmong(before.app, before.holders)
        const { app, resource } = before
        const result = gone.map((holder) => ({ app, lock: { resource, ...holder } }))
        return gone.length === 0 && !rewrite
          ? { result }
          : { result, held: { app, resource, holders: before.holders.filter((holder) => !gone.includes(holder)) } }
      })
      for (const { app, lock } of freed) this.node.onFreed(app, lock)
    } catch {
      // Out of reach: the next round tries again.
    }
  }

  /** Asks the store itself whose lease ran out; this node's own view may be late. */
  private async goneAmong(app: string, holders: readonly Holder[]): Promise<readonly Holder[]> {
    const away = holders.filter(({ userId }) => !this.node.isHere(app, userId))
    const leases = await Promise.all(away.map(({ userId }) => this.leases.kv.get(keyOf(app, userId))))
    // Checked last: the requests may have shown that the store was lost.
    return this.leases.isTrusted(Date.now()) ? away.filter((_, index) => leases[index] === undefined) : []
  }
}

/** @throws BrokerError INVALID_RECORD */
function readHeld(key: string, text: string): Held {
  const held = heldIn(key, text)
  if (held === undefined) throw new BrokerError('INVALID_RECORD', 'a value that is no lock')
  return held
}

/** @returns undefined if it is not a lock of that key: then nobody holds it, and the next holder overwrites it */
function heldIn(key: string, text: string): Held | undefined {
  let held: unknown
  try {
    held = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isRecord(held)) return undefined
  const { app, resource, holders } = held
  if (typeof app !== 'string' || !isRecord(resource) || lockKey(app, resource) !== key || !Array.isArray(holders))
    return undefined
  return holders.every(isHolder) ? (held as unknown as Held) : undefined
}

function isHolder(value: unknown): value is Holder {
  return isRecord(value) && typeof value.userId === 'string' && (value.mode === 'exclusive' || value.mode === 'shared')
}

/** A hash, because the name of a resource may be of any length. */
function lockKey(app: string, resource: Lock['resource']): string {
  return `${app}.${createHash('sha256').update(JSON.stringify(resource)).digest('base64url')}`
}
