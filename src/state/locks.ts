import { createHash } from 'node:crypto'
import { BrokerError } from '../errors.ts'
import { every, runGuarded } from '../guarded.ts'
import { isRecord } from '../log/event.ts'
import type { KeyValue, KeyValueEntry, Remade, Source } from '../source/source.ts'
import type { Lock } from '../contracts/lock.ts'

const LOCKS = 'roomcast_locks'
const LEASES = 'roomcast_lock_leases'
/** A lock goes this long after its holder's last connection. */
const LEASE_MS = 10_000
const REFRESH_MS = 2_000
/** The store forgets a lock that nobody wrote for this long; those that are held are written again before. */
const KEPT_MS = 24 * 3_600_000
const HOLDERS_MAX = 1_000
/** Attempts to write before others keep being first. */
const TRIES_MAX = 200
const RETRY_MS_MAX = 20

interface Holder {
  readonly userId: string
  readonly mode: Lock['mode']
}

/** What is stored under a resource's key. */
interface Held {
  readonly app: string
  readonly resource: Lock['resource']
  readonly holders: readonly Holder[]
}

export type Grant =
  /** `freed`: locks of holders who are gone. */
  | { readonly granted: true; readonly changed: boolean; readonly freed: readonly Lock[]; readonly lock: Lock }
  | { readonly granted: false; readonly holder: Holder }

/** What was held, or who else holds it. */
export interface Release {
  readonly lock: Lock | undefined
  readonly others: readonly Holder[]
}

/** Told of locks whose leases ran out, once over all nodes. */
export type FreedListener = (app: string, lock: Lock) => void

/**
 * Who holds what, over all nodes. Each resource is one key, written by compare-and-set, with all its holders. Each user
 * who holds anything has a lease, kept up by every node that they are connected to; when it runs out, whichever node
 * notices first takes the user's locks away.
 */
export class Locks {
  /**
   * Whether this node has the contract of an application. The locks of others are for those to take away who can say so
   * to its users.
   */
  serves: (app: string) => boolean = () => false
  /** Whether a user has a connection to this node. */
  isHere: (app: string, userId: string) => boolean = () => false
  onFreed: FreedListener = () => {}
  private readonly source: Source
  private readonly locks: KeyValue
  private readonly leases: KeyValue
  /** A copy of what is stored, and when it was written as far as this node knows, ms. */
  private readonly held = new Map<string, { readonly held: Held; readonly writtenMs: number }>()
  /** Keys by holder. */
  private readonly byHolder = new Map<string, Set<string>>()
  private readonly leaseUntilMs = new Map<string, number>()
  private readonly timer: NodeJS.Timeout
  /** After an outage no lease counts as run out until all nodes have had time to write theirs. */
  private trustFromMs = 0

  static async open(source: Source): Promise<Locks> {
    const locks = new Locks(source, await source.keyValue(LOCKS, KEPT_MS), await source.keyValue(LEASES, LEASE_MS))
    await locks.leases.watch((lease, value) => {
      if (value) locks.leaseUntilMs.set(lease, Date.now() + LEASE_MS)
    })
    await locks.locks.watch(
      (key, value) => locks.seen(key, value),
      (write) => locks.writeAgain(write),
    )
    return locks
  }

  private constructor(source: Source, locks: KeyValue, leases: KeyValue) {
    this.source = source
    this.locks = locks
    this.leases = leases
    this.timer = every('lock leases', REFRESH_MS, () => this.tick(Date.now()))
    this.timer.unref()
  }

  /**
   * Takes a resource for a user who is connected here. What the user holds already takes the new mode.
   * @param checkHolder throws where the user may not have it any more: the store takes its time
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
    const key = keyOf(app, resource)
    const keys = this.byHolder.get(leaseOf(app, userId))
    if (keys !== undefined && keys.size >= locksMax && !keys.has(key))
      throw new BrokerError('TOO_MANY_LOCKS', `A user may hold ${locksMax} locks (MAX_LOCKS_PER_USER)`)
    // The lease comes first: a lock whose holder has none is anybody's.
    await this.renew(leaseOf(app, userId))
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
    return this.change<Release>(keyOf(app, resource), async (before) => {
      const others = before?.holders.filter((holder) => holder.userId !== userId) ?? []
      const mine = before?.holders.find((holder) => holder.userId === userId)
      if (!mine) return { result: { lock: undefined, others } }
      return { result: { lock: { resource, ...mine }, others }, held: { app, resource, holders: others } }
    })
  }

  /** A connection of a user ended. Where it was the last one here, the lease runs from now on. */
  left(app: string, userId: string): void {
    const lease = leaseOf(app, userId)
    if (this.byHolder.has(lease) && !this.isHere(app, userId)) void this.renew(lease).catch(() => {})
  }

  close(): void {
    clearInterval(this.timer)
  }

  /**
   * Reads, decides and writes, again and again until nobody else wrote in between.
   * @param decide gives the outcome, and what is to be stored where anything is
   */
  private async change<R>(
    key: string,
    decide: (before: Held | undefined) => Promise<{ readonly result: R; readonly held?: Held }>,
  ): Promise<R> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const entry = await this.locks.get(key)
      const { result, held } = await decide(entry && read(key, entry.value))
      if (held === undefined || (await this.write(key, held, entry))) return result
      await new Promise((resolve) => setTimeout(resolve, Math.random() * RETRY_MS_MAX))
    }
    throw new BrokerError('TIMEOUT', 'Too many others want this at the same time; try again')
  }

  /** @returns false where another was first */
  private async write(key: string, held: Held, before: KeyValueEntry | undefined): Promise<boolean> {
    const value = Buffer.from(JSON.stringify(held))
    let written: boolean
    if (before === undefined) written = (await this.locks.create(key, value)) !== undefined
    else if (held.holders.length === 0) written = await this.locks.delete(key, before.revision)
    else written = (await this.locks.update(key, value, before.revision)) !== undefined
    // Known here at once, not when the watch tells: the holder may leave before.
    if (written) this.note(key, held)
    return written
  }

  private seen(key: string, value: Uint8Array | undefined): void {
    const held = value && read(key, value)
    this.note(key, held)
    if (value !== undefined && held === undefined) throw new BrokerError('INVALID_RECORD', 'a value that is no lock')
  }

  /**
   * The store lost them, and the leases with them: nobody counts as gone before all nodes have had time to write
   * theirs.
   */
  private async writeAgain(write: Parameters<Remade>[0]): Promise<void> {
    this.trustFromMs = Date.now() + LEASE_MS
    await Promise.all([...this.held].map(([key, { held }]) => write(key, Buffer.from(JSON.stringify(held)))))
    this.tick(Date.now())
  }

  private note(key: string, held: Held | undefined): void {
    const before = this.held.get(key)?.held
    for (const { userId } of before?.holders ?? []) {
      const lease = leaseOf((before as Held).app, userId)
      const keys = this.byHolder.get(lease)
      keys?.delete(key)
      if (keys?.size === 0) this.byHolder.delete(lease)
    }
    this.held.delete(key)
    if (held === undefined || held.holders.length === 0) return
    this.held.set(key, { held, writtenMs: Date.now() })
    for (const { userId } of held.holders) {
      const lease = leaseOf(held.app, userId)
      const keys = this.byHolder.get(lease)
      if (keys) keys.add(key)
      else this.byHolder.set(lease, new Set([key]))
    }
  }

  private async renew(lease: string): Promise<void> {
    await this.leases.put(lease, NOTHING)
    this.leaseUntilMs.set(lease, Date.now() + LEASE_MS)
  }

  /** Keeps up the leases of who is here, and takes locks away from who is nowhere. */
  private tick(nowMs: number): void {
    if (!this.source.connected) this.trustFromMs = nowMs + LEASE_MS
    for (const lease of this.leaseUntilMs.keys())
      if (!this.byHolder.has(lease) && (this.leaseUntilMs.get(lease) ?? 0) < nowMs) this.leaseUntilMs.delete(lease)
    const lost = new Set<string>()
    for (const [lease, keys] of this.byHolder) {
      const { app, userId } = partsOf(lease)
      if (!this.serves(app)) {
        for (const key of keys)
          if (nowMs - (this.held.get(key)?.writtenMs ?? nowMs) > KEPT_MS) this.note(key, undefined)
        continue
      }
      if (this.isHere(app, userId)) {
        void this.renew(lease).catch(() => {})
        for (const key of keys)
          if (nowMs - (this.held.get(key)?.writtenMs ?? nowMs) > KEPT_MS / 2)
            runGuarded('lock sweep', () => this.sweep(key, true))
      } else if (nowMs >= this.trustFromMs && (this.leaseUntilMs.get(lease) ?? 0) <= nowMs)
        for (const key of keys) lost.add(key)
    }
    for (const key of lost) runGuarded('lock sweep', () => this.sweep(key, false))
  }

  /** Takes a resource away from holders who are gone. @param rewrite writes it anew in any case */
  private async sweep(key: string, rewrite: boolean): Promise<void> {
    try {
      const known = this.held.get(key)
      const freed = await this.change(key, async (before) => {
        if (!before) {
          // The store forgot it without a word. Unless somebody took it meanwhile.
          if (known === this.held.get(key)) this.note(key, undefined)
          return { result: [] }
        }
        const gone = await this.goneAmong(before.app, before.holders)
        const { app, resource } = before
        const result = gone.map((holder) => ({ app, lock: { resource, ...holder } }))
        return gone.length === 0 && !rewrite
          ? { result }
          : { result, held: { app, resource, holders: before.holders.filter((holder) => !gone.includes(holder)) } }
      })
      for (const { app, lock } of freed) this.onFreed(app, lock)
    } catch {
      // Out of reach: the next round tries again.
    }
  }

  /** The store itself says whose lease ran out; this node's own view may be late. */
  private async goneAmong(app: string, holders: readonly Holder[]): Promise<readonly Holder[]> {
    if (Date.now() < this.trustFromMs) return []
    const away = holders.filter(({ userId }) => !this.isHere(app, userId))
    const leases = await Promise.all(away.map(({ userId }) => this.leases.get(leaseOf(app, userId))))
    return away.filter((_, index) => leases[index] === undefined)
  }
}

const NOTHING = new Uint8Array()

/** @returns undefined where it is no record of that key's: then nobody holds it, and the next one writes over it */
function read(key: string, value: Uint8Array): Held | undefined {
  let held: unknown
  try {
    held = JSON.parse(Buffer.from(value).toString())
  } catch {
    return undefined
  }
  if (!isRecord(held)) return undefined
  const { app, resource, holders } = held
  if (typeof app !== 'string' || !isRecord(resource) || keyOf(app, resource) !== key || !Array.isArray(holders))
    return undefined
  return holders.every(
    (holder) =>
      isRecord(holder) &&
      typeof holder.userId === 'string' &&
      (holder.mode === 'exclusive' || holder.mode === 'shared'),
  )
    ? (held as unknown as Held)
    : undefined
}

/** Of any length: a resource may have a long name. */
function keyOf(app: string, resource: Lock['resource']): string {
  return `${app}.${createHash('sha256').update(JSON.stringify(resource)).digest('base64url')}`
}

function leaseOf(app: string, userId: string): string {
  return `${app}.${Buffer.from(userId).toString('base64url')}`
}

function partsOf(lease: string): { app: string; userId: string } {
  const dot = lease.indexOf('.')
  return { app: lease.slice(0, dot), userId: Buffer.from(lease.slice(dot + 1), 'base64url').toString() }
}
