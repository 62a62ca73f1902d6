import { soon } from '../guarded.ts'
import type { Group, Topic } from './room.ts'
import { LIVE, type Subscriber } from './subscriber.ts'

/** A topic with fewer subscriptions out of order is left alone: it fits into the processor's cache. */
const OUT_OF_ORDER_MIN = 512
/** Subscriptions renewed in one turn of the event loop: about half a millisecond. */
const SESSIONS_PER_TURN = 500

interface Waiting {
  readonly group: Group<Subscriber>
  /** The topic's `outOfOrder` when it was last looked at. */
  seen: number
}

/**
 * The order in which uWS visits the subscribers of large topics. uWS follows the order of subscriptions, but sockets
 * lie in memory in the order of their connections. Where the two differ, each visit waits for memory: 3 to 4 % of the
 * CPU per delivery (`npm run bench -- fanout`). So once clients stop arriving, they are subscribed again in the order
 * in which they connected.
 */
export class VisitingOrder {
  private readonly waiting = new Map<Topic, Waiting>()

  /** Counts a new subscription to a topic. */
  subscribed(group: Group<Subscriber>, topic: Topic): void {
    if (++topic.outOfOrder === OUT_OF_ORDER_MIN) this.waiting.set(topic, { group, seen: 0 })
  }

  /** Arranges topics that got no subscriptions since the last call. Call about once a second. */
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

/** Nothing is lost between two turns: each subscriber is off the topic only during its own renewal. */
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
