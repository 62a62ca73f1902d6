import { BrokerError } from '../errors.ts'
import type { KeyValue, Remade, Source } from '../source/source.ts'

const BUCKET = 'roomcast_participants'
const KEPT_MS = 24 * 3_600_000
/** A participation is written again when it is older than this, so that it lasts 24 h from the last message. */
const RENEW_MS = 600_000

interface Conversation {
  /** Users, and when they were last written, ms. */
  readonly writtenMs: Map<string, number>
  users: readonly string[]
}

/**
 * Who takes part in which conversation, for 24 h, in the key-value store: it holds over reconnects and on all nodes.
 * Every node keeps a copy, so that routing an event needs no question. The copy may trail behind the events; so each
 * participation says from which position on it holds, and what went by before a node knew of it is sent then
 * (`onJoined`).
 */
export class Participants {
  /** Somebody takes part who was not known to, from behind a position on; undefined: not known from where. */
  onJoined: (app: string, conversation: string, userId: string, since: string | undefined) => void = () => {}
  private readonly kv: KeyValue
  /** By application and conversation. */
  private readonly known = new Map<string, Map<string, Conversation>>()

  /** Resolves once the copy is complete. */
  static async open(source: Source): Promise<Participants> {
    const participants = new Participants(await source.keyValue(BUCKET, KEPT_MS))
    await participants.kv.watch(
      (key, value) => participants.seen(key, value),
      (write) => participants.writeAgain(write),
    )
    return participants
  }

  private constructor(kv: KeyValue) {
    this.kv = kv
  }

  /** Users that take part; those who did not write for 24 h are gone. */
  readonly of = (app: string, conversation: string): readonly string[] =>
    this.known.get(app)?.get(conversation)?.users ?? NOBODY

  /**
   * Resolves once all nodes can know.
   * @param since position of the newest event at the time at which they came to take part
   * @throws BrokerError SERVICE_UNAVAILABLE
   */
  async add(app: string, conversation: string, userId: string, since: string): Promise<void> {
    const now = Date.now()
    if (now - (this.known.get(app)?.get(conversation)?.writtenMs.get(userId) ?? 0) < RENEW_MS) return
    await this.kv.put(`${app}.${encode(conversation)}.${encode(userId)}`, Buffer.from(`${now} ${since}`))
    this.note(app, conversation, userId, now, since)
  }

  /** Forgets who did not write for 24 h: the store does so without a word. */
  sweep(nowMs: number): void {
    for (const [app, conversations] of this.known) {
      for (const [name, { writtenMs }] of conversations)
        for (const [user, timeMs] of writtenMs) if (nowMs - timeMs > KEPT_MS) this.remove(app, name, user)
    }
  }

  private seen(key: string, value: Uint8Array | undefined): void {
    const parts = key.split('.')
    const [conversation, userId] = parts.splice(-2).map(decode)
    const app = parts.join('.')
    if (app === '' || conversation === undefined || userId === undefined)
      throw new BrokerError('INVALID_RECORD', 'a key that names no participant')
    if (value === undefined) return this.remove(app, conversation, userId)
    const [timeMs, since] = Buffer.from(value).toString().split(' ')
    const now = Date.now()
    // A time that is none, or is yet to come, would keep somebody in for longer than the store does.
    this.note(app, conversation, userId, Math.min(Number(timeMs) || now, now), since)
  }

  /** The store lost them. */
  private async writeAgain(write: Parameters<Remade>[0]): Promise<void> {
    for (const [app, conversations] of this.known) {
      for (const [name, { writtenMs }] of conversations)
        await Promise.all(
          [...writtenMs].map(([user, timeMs]) =>
            write(`${app}.${encode(name)}.${encode(user)}`, Buffer.from(String(timeMs))),
          ),
        )
    }
  }

  private note(app: string, name: string, userId: string, timeMs: number, since: string | undefined): void {
    let conversations = this.known.get(app)
    if (!conversations) this.known.set(app, (conversations = new Map()))
    let conversation = conversations.get(name)
    if (!conversation) conversations.set(name, (conversation = { writtenMs: new Map(), users: NOBODY }))
    const anew = !conversation.writtenMs.has(userId)
    conversation.writtenMs.set(userId, timeMs)
    if (!anew) return
    conversation.users = [...conversation.writtenMs.keys()]
    this.onJoined(app, name, userId, since)
  }

  private remove(app: string, name: string, userId: string): void {
    const conversation = this.known.get(app)?.get(name)
    if (!conversation?.writtenMs.delete(userId)) return
    conversation.users = [...conversation.writtenMs.keys()]
    if (conversation.users.length === 0) this.known.get(app)?.delete(name)
  }
}

const NOBODY: readonly string[] = []

function encode(text: string): string {
  return Buffer.from(text).toString('base64url')
}

/** @returns undefined where it is not what `encode` gives */
function decode(text: string): string | undefined {
  const decoded = Buffer.from(text, 'base64url').toString()
  return encode(decoded) === text ? decoded : undefined
}
