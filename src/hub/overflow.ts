import { soon } from '../guarded.ts'
import type { LogEntry } from '../log/entry.ts'
import type { EventLog } from '../log/event-log.ts'
import { seqInTail } from '../log/position.ts'
import type { Meters } from '../meters.ts'
import type { CatchUp } from './catch-up.ts'
import { lowerDelivered } from './delivered.ts'
import type { Delivery } from './delivery.ts'
import type { Membership } from './membership.ts'
import type { Replay } from './replay.ts'
import { CATCHING_UP, LIVE, OVERFLOWED, type Subscriber } from './subscriber.ts'

/**
 * Events kept beyond the ring: all whose frames uWS may still hold. A power of two, and larger than two turns' worth.
 */
const RECENT_EVENTS = 64

export interface OverflowOptions {
  readonly log: EventLog
  readonly meters: Meters
  readonly delivery: Delivery
  readonly membership: Membership
  readonly catchUp: CatchUp
  readonly replay: Replay
}

/**
 * Takes subscribers whose socket is full off live delivery, from the first event on that uWS dropped. `CatchUp` feeds
 * them until they turn live again.
 */
export class Overflow {
  private readonly options: OverflowOptions
  private readonly overflowed: Subscriber[] = []
  private readonly recent: (LogEntry | undefined)[] = new Array(RECENT_EVENTS).fill(undefined)
  private recentAt = 0

  constructor(options: OverflowOptions) {
    this.options = options
  }

  /** An event is about to be published to native topics. */
  published(entry: LogEntry): void {
    this.recent[this.recentAt++ & (RECENT_EVENTS - 1)] = entry
  }

  /** The stream was replaced or cut short. */
  reset(): void {
    this.recent.fill(undefined)
  }

  /**
   * uWS dropped a frame because this subscriber's socket is over its limit. From the first lost event on, the
   * subscriber is fed from the log. Must not subscribe, publish or close anything.
   * @param siblings the subscribers that share the socket, if it has several: they also lose everything that follows
   */
  dropped(subscriber: Subscriber, frame: Uint8Array, siblings?: Iterable<Subscriber>): void {
    const seq = seqInTail(frame, this.options.log.epochBytes)
    if (seq === undefined) return
    this.options.meters.drops++
    this.lose(subscriber, seq - 1)
    if (siblings === undefined) return
    for (const sibling of siblings)
      if (sibling !== subscriber) this.lose(sibling, this.cameBefore(sibling, subscriber, seq) ? seq : seq - 1)
  }

  /**
   * A frame that is not an event was dropped from a native topic, and with it everything published later to the socket
   * of these subscribers.
   * @param deliveredSeq the newest event published before it
   */
  droppedAfter(subscribers: Iterable<Subscriber>, deliveredSeq: number): void {
    for (const subscriber of subscribers) this.lose(subscriber, deliveredSeq)
  }

  private lose(subscriber: Subscriber, deliveredSeq: number): void {
    if (subscriber.refiltered !== undefined && (subscriber.state !== CATCHING_UP || subscriber.leaving))
      this.options.replay.lowerFilters(subscriber, deliveredSeq)
    if (subscriber.state === LIVE) {
      subscriber.state = OVERFLOWED
      subscriber.cursor = deliveredSeq
      this.overflowed.push(subscriber)
      if (this.overflowed.length === 1) soon('full sockets', () => this.detach())
    } else if (subscriber.state === OVERFLOWED || subscriber.leaving) {
      subscriber.cursor = Math.min(subscriber.cursor, deliveredSeq)
      lowerDelivered(subscriber.delivered, deliveredSeq)
    }
    // Otherwise none of its published frames are on their way. Either the dropped frame was another subscriber's, or
    // `CatchUp` sent it and will send it again.
  }

  /** Whether an event was published to `one` before it was published to `other`, which shares the socket. */
  private cameBefore(one: Subscriber, other: Subscriber, seq: number): boolean {
    const entry = this.recent.find((each) => each?.seq === seq)
    if (entry === undefined || !one.wants(entry)) return true
    return this.options.delivery.reachesFirst(entry, one, other) === one
  }

  /** Takes overflowed subscribers off their topics before anything else can be published to them. */
  detach(): void {
    if (this.overflowed.length === 0) return
    for (let subscriber = this.overflowed.pop(); subscriber !== undefined; subscriber = this.overflowed.pop()) {
      if (subscriber.state !== OVERFLOWED) continue
      this.options.membership.takeOffTopics(subscriber)
      this.options.meters.overflowed++
      this.options.catchUp.add(subscriber)
    }
  }
}
