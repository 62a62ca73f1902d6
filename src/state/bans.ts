import { BrokerError } from '../errors.ts'
import type { KeyValue, Source } from '../source/source.ts'
import { keyOf, readKey, Replica } from './replica.ts'

const BUCKET = 'roomcast_bans'
/** The longest ban; after this time the store forgets it. */
const KEPT_MS = 3_600_000

/** Users whose new connections are refused for a while, on all nodes. */
export class Bans {
  /** By user: when the ban ends, ms since 1970. */
  private readonly untilMs: Replica<number>

  static async open(source: Source): Promise<Bans> {
    const bans = new Bans(source, await source.keyValue(BUCKET, KEPT_MS))
    await bans.untilMs.follow()
    return bans
  }

  private constructor(source: Source, kv: KeyValue) {
    this.untilMs = new Replica<number>({
      source,
      kv,
      ttlMs: KEPT_MS,
      read: readBan,
      write: String,
      endMs: (untilMs) => untilMs,
      onChange: (_key, _untilMs, before) => {
        if (before === undefined) this.untilMs.sweep(Date.now())
      },
    })
  }

  add(app: string, userId: string, forMs: number): void {
    const key = keyOf(app, userId)
    const untilMs = Date.now() + forMs
    this.untilMs.note(key, untilMs)
    void this.untilMs.put(key, untilMs).catch(() => {})
  }

  /** Seconds that a ban still lasts; 0: no ban. */
  secondsLeft(app: string, userId: string): number {
    return Math.ceil(this.untilMs.leftMs(keyOf(app, userId), Date.now()) / 1000)
  }
}

function readBan(key: string, text: string): number {
  readKey(key, 1)
  const untilMs = Number(text)
  if (Number.isNaN(untilMs)) throw new BrokerError('INVALID_RECORD', 'a value that is no time')
  return untilMs
}
