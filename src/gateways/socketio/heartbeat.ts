import type { EngineSession } from './engine-session.ts'

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
 * The heartbeat of all sessions of a port, by one timer: in each part of the interval the sessions that opened in it are
 * pinged, WebSockets by one native publish. No timer per connection.
 */
export class Heartbeat {
  private readonly options: HeartbeatOptions
  private readonly publish: (topic: string) => void
  private readonly sessions: Set<EngineSession>[] = Array.from({ length: BEATS }, () => new Set())
  /** Sessions that have yet to connect to a namespace. */
  private readonly unconnected = new Set<EngineSession>()
  private readonly timer: NodeJS.Timeout
  private readonly unansweredMax: number
  private beat = 0

  constructor(options: HeartbeatOptions, publish: (topic: string) => void) {
    this.options = options
    this.publish = publish
    // A pong is late once the timeout has passed; looked at when the next ping is due.
    this.unansweredMax = Math.ceil(options.pingTimeoutMs / options.pingIntervalMs)
    this.timer = setInterval(() => this.tick(), options.pingIntervalMs / BEATS)
    this.timer.unref()
  }

  /** The part of the interval that it is now; a session that opens in it gets its first ping an interval later. */
  get now(): number {
    return this.beat
  }

  /** A session of the next part gets its first ping at once, almost. */
  get next(): number {
    return (this.beat + 1) % BEATS
  }

  topicOf({ beat }: EngineSession): string {
    return TOPICS[beat] as string
  }

  add(session: EngineSession): void {
    this.sessions[session.beat]?.add(session)
    this.unconnected.add(session)
  }

  remove(session: EngineSession): void {
    this.sessions[session.beat]?.delete(session)
    this.unconnected.delete(session)
  }

  stop(): void {
    clearInterval(this.timer)
  }

  private tick(): void {
    this.beat = (this.beat + 1) % BEATS
    const connectBeforeMs = Date.now() - this.options.connectTimeoutMs
    for (const session of this.unconnected) {
      if (!session.connection.idle) this.unconnected.delete(session)
      else if (session.openedMs < connectBeforeMs) session.discard()
    }
    for (const session of this.sessions[this.beat] as Set<EngineSession>) {
      if (session.unanswered >= this.unansweredMax) session.discard()
      else {
        session.unanswered++
        if (!session.native) session.send('2')
      }
    }
    this.publish(TOPICS[this.beat] as string)
  }
}
