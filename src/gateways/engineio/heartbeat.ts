import { every } from '../../guarded.ts'
import type { EngineIoSession } from './session.ts'

export interface HeartbeatOptions {
  readonly pingIntervalMs: number
  readonly pingTimeoutMs: number
  readonly connectTimeoutMs: number
}

/** Parts of a ping interval; the sessions of one part are pinged together. */
const BEATS = 20
/** The native topic of each part. */
const TOPICS = Array.from({ length: BEATS }, (_, beat) => `beat/${beat}`)

/**
 * The heartbeat of all sessions of a port, by one timer instead of one per connection: each part of the interval pings
 * the sessions that opened in it, all WebSockets by one native publish.
 */
export class Heartbeat {
  private readonly publish: (topic: string) => void
  private readonly sessions: Set<EngineIoSession>[] = Array.from({ length: BEATS }, () => new Set())
  private readonly timer: NodeJS.Timeout
  private readonly unansweredMax: number
  /** Turns after which a session must be in a namespace. */
  private readonly connectTurns: number
  /** Parts of the interval that have passed. A session that opens now gets its first ping an interval later. */
  turn = 0

  constructor(options: HeartbeatOptions, publish: (topic: string) => void) {
    this.publish = publish
    // Whether a pong is late is checked when the next ping is due.
    this.unansweredMax = Math.ceil(options.pingTimeoutMs / options.pingIntervalMs)
    // One more, because it came some time between two turns.
    this.connectTurns = Math.ceil((options.connectTimeoutMs / options.pingIntervalMs) * BEATS) + 1
    this.timer = every('heartbeat', options.pingIntervalMs / BEATS, () => this.tick())
    this.timer.unref()
  }

  topicOf({ turn }: EngineIoSession): string {
    return TOPICS[turn % BEATS] as string
  }

  add(session: EngineIoSession): void {
    this.sessions[session.turn % BEATS]?.add(session)
  }

  remove(session: EngineIoSession): void {
    this.sessions[session.turn % BEATS]?.delete(session)
  }

  stop(): void {
    clearInterval(this.timer)
  }

  private tick(): void {
    this.turn++
    const late = this.turn - this.connectTurns
    for (const session of this.sessions[late % BEATS] ?? []) {
      if (session.turn <= late && session.handler.unused) session.discard()
    }
    for (const session of this.sessions[this.turn % BEATS] ?? []) {
      if (session.unanswered >= this.unansweredMax) session.discard()
      else {
        session.unanswered++
        if (!session.native) session.send('2')
      }
    }
    this.publish(TOPICS[this.turn % BEATS] as string)
  }
}
