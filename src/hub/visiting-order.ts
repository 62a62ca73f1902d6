import { soon } from '../guarded.ts'
import type { Group, Topic } from './room.ts'
import { LIVE, type Subscriber } from './subscriber.ts'

/** A topic with fewer subscriptions out of order is left as it is: it all fits into the processor's cache. */
const OUT_OF_ORDER_MIN = 512
/** Subscriptions renewed in one turn of the event loop: about half a millisecond. */
const SESSIONS_PER_TURN = 500

interface Waiting {
  readonly group: Group<Subscriber>
  /** Subscriptions that it had when last looked at. */
  seen: number
}

/**
 * The order in which uWS visits the subscribers of large topics. That is the order of their subscriptions, while in
 * memory sockets lie in the order of their connections. Where the two differ, each visit waits for memory: 3 to 4 % of
 * the CPU per delivery (`npm run bench -- fanout`). So when clients have come, and no more come, they are subscribed
 * once more, in the order in which they connected.
 */
export class VisitingOrder {
  private readonly waiting = new Map<Topic, Waiting>()

  /** Somebody was subscribed to a topic. */
  subscribed(group: Group<Subscriber>, topic: Topic): void {
    if (++topic.outOfOrder === OUT_OF_ORDER_MIN) this.waiting.set(topic, { group, seen: 0 })
  }

  /** Arranges topics that nobody came to since the last call. Call every second or so. */
  sweep(): void {
    for (const [topic, waiting] of this.waiting) {
      if (waiting.seen !== topic.outOfOrder) waiting.seen = topic.outOfOrder
      else {
        this.waiting.delete(topic)
        topic.outOfOrder = 0
        arrange(
          topic,
          [...waiting.group.members].filter(({ wire }) => wire.id === topic.wire.id).sort((a, b) => a.order - b.order),
        )
      }
    }
  }
}

/** Between two turns nothing is lost: each subscriber is off the topic for no longer than its own renewal. */
function arrange(topic: Topic, subscribers: readonly Subscriber[], from = 0): void {
  const end = Math.min(from + SESSIONS_PER_TURN, subscribers.length)
  for (let index = from; index < end; index++) {
    const { state, peer, groups } = subscribers[index] as Subscriber
    if (state !== LIVE || !groups.some(({ topics }) => topics.includes(topic))) continue
    peer.unsubscribe(topic.name)
    peer.subscribe(topic.name)
  }
  if (end < subscribers.length) soon('order of subscribers', () => arrange(topic, subscribers, end))
}
