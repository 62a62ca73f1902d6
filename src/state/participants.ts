import type { KeyValue, Source } from '../source/source.ts'
import { keyOf, readKey, Replica } from './replica.ts'

const BUCKET = 'roomcast_participants'
const KEPT_MS = 24 * 3_600_000
/** A participation older than this is written again, so that it lasts 24 h from the last message. */
const RENEW_MS = 600_000

interface Participation {
  readonly app: string
  readonly conversation: string
  readonly userId: string
  /** When it was last written, ms since 1970. */
  readonly timeMs: number
  /** The position after which it holds; undefined: not known. */
  readonly since: string | undefined
}

/** Hears that a user newly takes part. `since`: the position after which that holds; undefined: not known. */
export type JoinedListener = (app: string, conversation: string, userId: string, since: string | undefined) => void

/**
 * Who takes part in which conversation, for 24 h, in the key-value store: participation outlasts reconnects and holds
 * on all nodes. Every node keeps a copy, so that routing an event needs no request. The copy may lag behind the events.
 * So each participation names the position after which it holds, and events that went by before a node knew of it are
 * sent once it does (`onJoined`).
 */
export class Participants {
  private readonly participations: Replica<Participation>
  private readonly onJoined: JoinedListener
  /** Users, by application and conversation. */
  private readonly users = new Map<string, Map<string, readonly string[]>>()

  /** Resolves once the copy is complete. */
  static async open(source: Source, onJoined: JoinedListener): Promise<Participants> {
    const participants = new Participants(source, await source.keyValue(BUCKET, KEPT_MS), onJoined)
    await participants.participations.follow()
    return participants
  }

  private constructor(source: Source, kv: KeyValue, onJoined: JoinedListener) {
    this.onJoined = onJoined
    this.participations = new Replica({
      source,
      kv,
      ttlMs: KEPT_MS,
      read: readParticipation,
      write: ({ timeMs, since }) => (since === undefined ? String(timeMs) : `${timeMs} ${since}`),
      endMs: ({ timeMs }) => timeMs + KEPT_MS,
      onChange: (_key, now, before) => {
        if (before === undefined) this.joined(now as Participation)
        else if (now === undefined) this.left(before)
      },
    })
  }

  /** Users who take part; those who wrote nothing for 24 h are gone. */
  usersIn(app: string, conversation: string): readonly string[] {
    return this.users.get(app)?.get(conversation) ?? NOBODY
  }

  /**
   * Resolves once all nodes can know.
   * @param since position of the newest event when the user began to take part
   * @throws BrokerError SERVICE_UNAVAILABLE
   */
  async add(app: string, conversation: string, userId: string, since: string): Promise<void> {
    const key = keyOf(app, conversation, userId)
    const timeMs = Date.now()
    if (timeMs - (this.participations.get(key)?.timeMs ?? 0) < RENEW_MS) return
    await this.participations.put(key, { app, conversation, userId, timeMs, since })
  }

  /** Forgets users who wrote nothing for 24 h: the store forgets them silently. */
  sweep(nowMs: number): void {
    this.participations.sweep(nowMs)
  }

  private joined({ app, conversation, userId, since }: Participation): void {
    let conversations = this.users.get(app)
    if (!conversations) this.users.set(app, (conversations = new Map()))
    conversations.set(conversation, [...(conversations.get(conversation) ?? NOBODY), userId])
    this.onJoined(app, conversation, userId, since)
  }

  private left({ app, conversation, userId }: Participation): void {
    const conversations = this.users.get(app)
    const users = (conversations?.get(conversation) ?? NOBODY).filter((user) => user !== userId)
    if (users.length > 0) conversations?.set(conversation, users)
    else conversations?.delete(conversation)
  }
}

const NOBODY: readonly string[] = []

function readParticipation(key: string, text: string): Participation {
  const [app, conversation, userId] = readKey(key, 2) as [string, string, string]
  const [time, since] = text.split(' ')
  const now = Date.now()
  // An invalid time, or one in the future, would keep the user in for longer than the store does.
  return { app, conversation, userId, timeMs: Math.min(Number(time) || now, now), since }
}
