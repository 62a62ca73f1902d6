import { BrokerError } from '../errors.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import { every, runGuarded } from '../guarded.ts'
import type { KeyValue, Source } from '../source/source.ts'
import { WriteQueue } from './write-queue.ts'

const BUCKET = 'roomcast_presence'
/** A node that is gone loses its users after this. */
const LEASE_MS = 30_000
const REFRESH_MS = 10_000
/** A part of the leases is written again each time. */
const REFRESH_STEP_MS = 500
/**
 * This process stood still, or the clock was set, where its last look is longer ago: it has yet to hear of leases that
 * were renewed meanwhile.
 */
const LATE_MS = 10_000
/** Of names that others wrote. */
const NAME_LENGTH_MAX = 1_024

/** Told when a user comes to a place, or leaves it with the last of their connections on any node. */
export type PresenceListener = (
  change: 'joined' | 'left',
  app: string,
  place: string,
  userId: string,
  name: string,
) => void

interface Present {
  name: string
  /** By node: until when its lease lasts, ms. */
  readonly nodes: Map<string, number>
}

/**
 * Who is where, over all nodes: each node keeps a lease in the key-value store for each of its users in each place, and
 * a copy of everybody's leases. A killed node's leases run out.
 */
export class Presence {
  onChange: PresenceListener = () => {}
  private readonly kv: KeyValue
  private readonly writes: WriteQueue
  private readonly source: Source
  private readonly nodeId: string
  /** By place: its users. */
  private readonly places = new Map<string, Map<string, Present>>()
  /** By lease of this node: its sessions, and their user's name. */
  private readonly own = new Map<string, { readonly name: string; readonly sessions: Set<Subscriber> }>()
  private readonly leasesOf = new Map<Subscriber, Set<string>>()
  private readonly timers: NodeJS.Timeout[]
  private sweepFromMs = 0
  /** Leases of this round of renewals, how many of them were written again, and when it began. */
  private round: readonly string[] = []
  private renewed = 0
  private roundMs = 0
  private sweptMs = Date.now()
  /** Resolves once other nodes can know of the leases that were taken last. */
  written: Promise<unknown> = Promise.resolve()

  static async open(source: Source, nodeId: string): Promise<Presence> {
    const presence = new Presence(await source.keyValue(BUCKET, LEASE_MS), source, nodeId)
    await presence.kv.watch(
      (key, value) => presence.seen(key, value),
      async (write) => {
        await Promise.all([...presence.own].map(([lease, { name }]) => write(lease, Buffer.from(name))))
      },
    )
    return presence
  }

  private constructor(kv: KeyValue, source: Source, nodeId: string) {
    this.kv = kv
    this.writes = new WriteQueue(kv)
    this.source = source
    this.nodeId = nodeId
    this.timers = [
      every('presence refresh', REFRESH_STEP_MS, () => this.refresh(Date.now())),
      every('presence sweep', 1_000, () => this.sweep(Date.now())),
    ]
    for (const timer of this.timers) timer.unref()
  }

  /** A session comes to a place. Others hear of it where its user was not there yet. */
  enter(session: Subscriber, place: string, fullName: string): void {
    const name = fullName.slice(0, NAME_LENGTH_MAX)
    const { app } = session.application
    const lease = leaseKey(app, place, session.userId, this.nodeId)
    let leases = this.leasesOf.get(session)
    if (!leases) this.leasesOf.set(session, (leases = new Set()))
    if (leases.has(lease)) return
    leases.add(lease)
    const here = this.own.get(lease)
    if (here) {
      here.sessions.add(session)
      return
    }
    this.own.set(lease, { name, sessions: new Set([session]) })
    this.written = this.writes.write(lease, Buffer.from(name))
    this.note(lease, Number.POSITIVE_INFINITY, name)
  }

  leave(session: Subscriber, place: string): void {
    this.release(session, leaseKey(session.application.app, place, session.userId, this.nodeId))
  }

  /** The session is gone from everywhere. */
  drop(session: Subscriber): void {
    for (const lease of this.leasesOf.get(session) ?? []) this.release(session, lease)
    this.leasesOf.delete(session)
  }

  isIn(session: Subscriber, place: string): boolean {
    return (
      this.leasesOf.get(session)?.has(leaseKey(session.application.app, place, session.userId, this.nodeId)) ?? false
    )
  }

  /** Places that a session is in. */
  placesOf(session: Subscriber): string[] {
    return [...(this.leasesOf.get(session) ?? [])].map((lease) => partsOf(lease).place)
  }

  /** Distinct users in a place, on all nodes. */
  count(app: string, place: string): number {
    return this.places.get(placeKey(app, place))?.size ?? 0
  }

  /** Places of an application with anybody in them. */
  placeCount(app: string): number {
    let count = 0
    for (const key of this.places.keys()) if (key.startsWith(`${app}.`)) count++
    return count
  }

  /** Gives this node's leases back, so that others need not wait for them to run out. */
  async close(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer)
    await Promise.all([...this.own.keys()].map((lease) => this.writes.write(lease, undefined)))
  }

  private release(session: Subscriber, lease: string): void {
    if (!this.leasesOf.get(session)?.delete(lease)) return
    const sessions = this.own.get(lease)?.sessions
    sessions?.delete(session)
    if (sessions === undefined || sessions.size > 0) return
    this.own.delete(lease)
    runGuarded('presence', () => this.writes.write(lease, undefined))
    this.forget(lease)
  }

  private seen(lease: string, value: Uint8Array | undefined): void {
    if (!isLease(lease)) throw new BrokerError('INVALID_RECORD', 'a key that is no lease')
    if (partsOf(lease).node === this.nodeId) return
    if (value) this.note(lease, Date.now() + LEASE_MS, Buffer.from(value).toString().slice(0, NAME_LENGTH_MAX))
    else this.forget(lease)
  }

  private note(lease: string, untilMs: number, name: string): void {
    const { app, place, user, node } = partsOf(lease)
    const key = placeKey(app, place)
    let users = this.places.get(key)
    if (!users) this.places.set(key, (users = new Map()))
    const present = users.get(user)
    if (present) {
      present.name = name
      present.nodes.set(node, untilMs)
      return
    }
    users.set(user, { name, nodes: new Map([[node, untilMs]]) })
    this.onChange('joined', app, place, user, name)
  }

  private forget(lease: string): void {
    const { app, place, user, node } = partsOf(lease)
    const key = placeKey(app, place)
    const users = this.places.get(key)
    const present = users?.get(user)
    if (!users || !present?.nodes.delete(node) || present.nodes.size > 0) return
    users.delete(user)
    if (users.size === 0) this.places.delete(key)
    this.onChange('left', app, place, user, present.name)
  }

  /**
   * Writes leases again, spread over the time of a round: all at once, those of a few clients in many places held the
   * event loop for seconds.
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
      const own = this.own.get(lease)
      if (own) runGuarded('presence', () => this.writes.write(lease, Buffer.from(own.name)))
    }
  }

  /**
   * Forgets leases that ran out. While the store is out of reach, and until it has had time to be refreshed, nothing
   * has.
   */
  private sweep(nowMs: number): void {
    if (!this.source.connected || Math.abs(nowMs - this.sweptMs) > LATE_MS) this.sweepFromMs = nowMs + LEASE_MS
    this.sweptMs = nowMs
    if (nowMs < this.sweepFromMs) return
    for (const [key, users] of this.places) {
      for (const [user, { nodes }] of users) {
        for (const [node, untilMs] of nodes) if (untilMs < nowMs) this.forget(`${key}.${encode(user)}.${node}`)
      }
    }
  }
}

function leaseKey(app: string, place: string, user: string, node: string): string {
  return `${placeKey(app, place)}.${encode(user)}.${node}`
}

/** Whether somebody wrote it by `leaseKey`. */
function isLease(key: string): boolean {
  const [app, place = '', user = '', node, ...more] = key.split('.')
  return (
    app !== '' &&
    node !== undefined &&
    node !== '' &&
    more.length === 0 &&
    [place, user].every((part) => encode(decode(part)) === part)
  )
}

function placeKey(app: string, place: string): string {
  return `${app}.${encode(place)}`
}

function partsOf(lease: string): { app: string; place: string; user: string; node: string } {
  const [app, place, user, node] = lease.split('.') as [string, string, string, string]
  return { app, place: decode(place), user: decode(user), node }
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64url')
}

function decode(text: string): string {
  return Buffer.from(text, 'base64url').toString()
}
