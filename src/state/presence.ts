import type { Subscriber } from '../hub/subscriber.ts'
import { every, runGuarded } from '../guarded.ts'
import type { KeyValue, Source } from '../source/source.ts'
import { keyOf, readKey, Replica } from './replica.ts'
import { WriteQueue } from './write-queue.ts'

const BUCKET = 'roomcast_presence'
/** A node that is gone loses its users after this time. */
const LEASE_MS = 30_000
const REFRESH_MS = 10_000
/** How often a part of the leases is renewed. */
const REFRESH_STEP_MS = 500
const SWEEP_MS = 1_000
/** Names are cut to this length, including those that others wrote. */
const NAME_LENGTH_MAX = 1_024

/** Hears when a user joins a presence channel, or leaves it with the last of their connections on any node. */
export type PresenceListener = (
  change: 'joined' | 'left',
  app: string,
  channel: string,
  userId: string,
  name: string,
) => void

/** One node's lease: it has connections of a user in a channel. */
interface Lease {
  readonly app: string
  readonly channel: string
  readonly userId: string
  readonly name: string
}

interface Present {
  name: string
  /** Nodes on which the user is in the channel. */
  nodes: number
}

/**
 * Who is in which presence channel, across all nodes. Each node keeps a lease in the key-value store for each of its
 * users in each channel, and a copy of all nodes' leases. The leases of a killed node run out.
 */
export class Presence {
  private readonly leases: Replica<Lease>
  private readonly writes: WriteQueue
  private readonly nodeId: string
  private readonly onChange: PresenceListener
  /** Users by channel. */
  private readonly channels = new Map<string, Map<string, Present>>()
  /** This node's subscribers, by lease. */
  private readonly own = new Map<string, Set<Subscriber>>()
  private readonly leasesOf = new Map<Subscriber, Set<string>>()
  private readonly timers: NodeJS.Timeout[]
  /** The current round of renewals: its leases, how many of them are renewed, and when it began. */
  private round: readonly string[] = []
  private renewed = 0
  private roundMs = 0
  /** Resolves once other nodes can know of the leases taken last. */
  written: Promise<unknown> = Promise.resolve()

  /** @param nodeId names this node in keys; must be unique among all nodes */
  static async open(source: Source, nodeId: string, onChange: PresenceListener): Promise<Presence> {
    const presence = new Presence(source, await source.keyValue(BUCKET, LEASE_MS), nodeId, onChange)
    await presence.leases.follow()
    return presence
  }

  private constructor(source: Source, kv: KeyValue, nodeId: string, onChange: PresenceListener) {
    this.nodeId = nodeId
    this.onChange = onChange
    this.writes = new WriteQueue(kv)
    this.leases = new Replica({
      source,
      kv,
      ttlMs: LEASE_MS,
      read: readLease,
      write: ({ name }) => name,
      isOwn: (lease) => lease.endsWith(`.${nodeId}`),
      onChange: (_lease, now, before) => {
        if (now !== undefined) this.noteUser(now, before === undefined)
        else if (before !== undefined) this.forgetUser(before)
      },
    })
    this.timers = [
      every('presence refresh', REFRESH_STEP_MS, () => this.refresh(Date.now())),
      every('presence sweep', SWEEP_MS, () => this.leases.sweep(Date.now())),
    ]
    for (const timer of this.timers) timer.unref()
  }

  /** A subscriber joins a channel. Others hear of it if its user was not in the channel yet. */
  join(subscriber: Subscriber, channel: string, fullName: string): void {
    const { app } = subscriber.application
    const lease = this.leaseOf(subscriber, channel)
    let leases = this.leasesOf.get(subscriber)
    if (!leases) this.leasesOf.set(subscriber, (leases = new Set()))
    if (leases.has(lease)) return
    leases.add(lease)
    const subscribers = this.own.get(lease)
    if (subscribers) {
      subscribers.add(subscriber)
      return
    }
    this.own.set(lease, new Set([subscriber]))
    const name = fullName.slice(0, NAME_LENGTH_MAX)
    this.leases.note(lease, { app, channel, userId: subscriber.userId, name })
    this.written = this.write(lease)
  }

  leave(subscriber: Subscriber, channel: string): void {
    this.release(subscriber, this.leaseOf(subscriber, channel))
  }

  /** The subscriber leaves all its channels. */
  drop(subscriber: Subscriber): void {
    for (const lease of this.leasesOf.get(subscriber) ?? []) this.release(subscriber, lease)
    this.leasesOf.delete(subscriber)
  }

  isIn(subscriber: Subscriber, channel: string): boolean {
    return this.leasesOf.get(subscriber)?.has(this.leaseOf(subscriber, channel)) ?? false
  }

  channelsOf(subscriber: Subscriber): string[] {
    return [...(this.leasesOf.get(subscriber) ?? [])].map((lease) => (this.leases.get(lease) as Lease).channel)
  }

  /** Distinct users in a channel, on all nodes. */
  count(app: string, channel: string): number {
    return this.channels.get(keyOf(app, channel))?.size ?? 0
  }

  /** The number of channels of an application that anybody is in. */
  channelCount(app: string): number {
    let count = 0
    for (const key of this.channels.keys()) if (key.startsWith(`${app}.`)) count++
    return count
  }

  /** Gives up this node's leases, so that others need not wait for them to run out. */
  async close(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer)
    await Promise.all([...this.own.keys()].map((lease) => this.writes.write(lease, undefined)))
  }

  private release(subscriber: Subscriber, lease: string): void {
    if (!this.leasesOf.get(subscriber)?.delete(lease)) return
    const subscribers = this.own.get(lease)
    subscribers?.delete(subscriber)
    if (subscribers === undefined || subscribers.size > 0) return
    this.own.delete(lease)
    this.leases.note(lease, undefined)
    runGuarded('presence', () => this.write(lease))
  }

  /** Writes a lease of this node to the store, or deletes it there. */
  private write(lease: string): Promise<void> {
    const value = this.leases.get(lease)
    return this.writes.write(lease, value && this.leases.encode(value))
  }

  private noteUser({ app, channel, userId, name }: Lease, isNew: boolean): void {
    const key = keyOf(app, channel)
    let users = this.channels.get(key)
    if (!users) this.channels.set(key, (users = new Map()))
    const present = users.get(userId)
    if (present) {
      present.name = name
      if (isNew) present.nodes++
      return
    }
    users.set(userId, { name, nodes: 1 })
    this.onChange('joined', app, channel, userId, name)
  }

  private forgetUser({ app, channel, userId }: Lease): void {
    const key = keyOf(app, channel)
    const users = this.channels.get(key)
    const present = users?.get(userId)
    if (!users || !present || --present.nodes > 0) return
    users.delete(userId)
    if (users.size === 0) this.channels.delete(key)
    this.onChange('left', app, channel, userId, present.name)
  }

  /**
   * Renews leases, spread over a whole round: renewed all at once, the leases of a few clients in many channels blocked
   * the event loop for seconds.
   */
  private refresh(nowMs: number): void {
    // The clock may have been set back.
    if (nowMs < this.roundMs || (this.renewed === this.round.length && nowMs - this.roundMs >= REFRESH_MS)) {
      this.round = [...this.own.keys()]
      this.renewed = 0
      this.roundMs = nowMs
    }
    const due = Math.ceil(this.round.length * Math.min(1, (nowMs - this.roundMs + REFRESH_STEP_MS) / REFRESH_MS))
    for (; this.renewed < due; this.renewed++) {
      const lease = this.round[this.renewed] as string
      if (this.own.has(lease)) runGuarded('presence', () => this.write(lease))
    }
  }

  private leaseOf({ application, userId }: Subscriber, channel: string): string {
    return `${keyOf(application.app, channel, userId)}.${this.nodeId}`
  }
}

/** @throws BrokerError INVALID_RECORD */
function readLease(lease: string, name: string): Lease {
  const [app, channel, userId] = readKey(lease.slice(0, lease.lastIndexOf('.')), 2) as [string, string, string]
  return { app, channel, userId, name: name.slice(0, NAME_LENGTH_MAX) }
}
