import type { KeyValue, Source } from '../source/source.ts'

const BUCKET = 'roomcast_participants'
const KEPT_MS = 24 * 3_600_000
/** A participation is written again when it is older than this, so that it lasts 24 h from the last message. */
const RENEW_MS = 600_000

/**
 * Who takes part in which conversation, for 24 h, in the key-value store: it holds over reconnects and on all nodes.
 * Every node keeps a copy, so that routing an event needs no question.
 */
export class Participants {
  private readonly kv: KeyValue
  /** By application and conversation: users, and when they were last written, ms. */
  private readonly known = new Map<string, Map<string, number>>()
  private readonly lists = new Map<string, readonly string[]>()

  /** Resolves once the copy is complete. */
  static async open(source: Source): Promise<Participants> {
    const participants = new Participants(await source.keyValue(BUCKET, KEPT_MS))
    await participants.kv.watch((key, value) => participants.seen(key, value))
    return participants
  }

  private constructor(kv: KeyValue) {
    this.kv = kv
  }

  /** Users that take part; those who did not write for 24 h are gone. */
  readonly of = (app: string, conversation: string): readonly string[] => this.lists.get(conversationKey(app, conversation)) ?? NOBODY

  /** Resolves once all nodes can know. @throws BrokerError SERVICE_UNAVAILABLE */
  async add(app: string, conversation: string, userId: string): Promise<void> {
    const key = conversationKey(app, conversation)
    const now = Date.now()
    if (now - (this.known.get(key)?.get(userId) ?? 0) < RENEW_MS) return
    await this.kv.put(`${key}.${encode(userId)}`, Buffer.from(String(now)))
    this.note(key, userId, now)
  }

  /** Forgets who did not write for 24 h: the store does so without a word. */
  sweep(nowMs: number): void {
    for (const [key, users] of this.known) {
      for (const [user, timeMs] of users) if (nowMs - timeMs > KEPT_MS) users.delete(user)
      this.relist(key, users)
    }
  }

  private seen(key: string, value: Uint8Array | undefined): void {
    const end = key.lastIndexOf('.')
    const conversation = key.slice(0, end)
    const userId = Buffer.from(key.slice(end + 1), 'base64url').toString()
    if (value !== undefined) this.note(conversation, userId, Number(Buffer.from(value).toString()) || Date.now())
    else {
      const users = this.known.get(conversation)
      users?.delete(userId)
      if (users) this.relist(conversation, users)
    }
  }

  private note(key: string, userId: string, timeMs: number): void {
    let users = this.known.get(key)
    if (!users) this.known.set(key, (users = new Map()))
    const anew = !users.has(userId)
    users.set(userId, timeMs)
    if (anew) this.relist(key, users)
  }

  private relist(key: string, users: ReadonlyMap<string, number>): void {
    if (users.size > 0) this.lists.set(key, [...users.keys()])
    else {
      this.known.delete(key)
      this.lists.delete(key)
    }
  }
}

const NOBODY: readonly string[] = []

function conversationKey(app: string, conversation: string): string {
  return `${app}.${encode(conversation)}`
}

function encode(text: string): string {
  return Buffer.from(text).toString('base64url')
}
