import { BrokerError } from '../errors.ts'
import type { KeyValue, Remade, Source } from '../source/source.ts'

const BUCKET = 'roomcast_bans'
/** Longest ban; the store forgets after it. */
const KEPT_MS = 3_600_000

/** Users whose new connections are refused for a while, on all nodes. */
export class Bans {
  private readonly kv: KeyValue
  private readonly untilMs = new Map<string, number>()

  static async open(source: Source): Promise<Bans> {
    const bans = new Bans(await source.keyValue(BUCKET, KEPT_MS))
    await bans.kv.watch(
      (key, value) => bans.seen(key, value),
      (write) => bans.writeAgain(write),
    )
    return bans
  }

  private constructor(kv: KeyValue) {
    this.kv = kv
  }

  add(app: string, userId: string, forMs: number): void {
    const untilMs = Date.now() + forMs
    this.note(keyOf(app, userId), untilMs)
    void this.kv.put(keyOf(app, userId), Buffer.from(String(untilMs))).catch(() => {})
  }

  /** Seconds that a ban still lasts; 0: there is none. */
  secondsLeft(app: string, userId: string): number {
    const key = keyOf(app, userId)
    const leftMs = (this.untilMs.get(key) ?? 0) - Date.now()
    if (leftMs > 0) return Math.ceil(leftMs / 1000)
    this.untilMs.delete(key)
    return 0
  }

  private seen(key: string, value: Uint8Array | undefined): void {
    const now = Date.now()
    const untilMs = value === undefined ? 0 : Number(Buffer.from(value).toString())
    if (untilMs > now) this.note(key, Math.min(untilMs, now + KEPT_MS))
    else this.untilMs.delete(key)
    if (Number.isNaN(untilMs)) throw new BrokerError('INVALID_RECORD', 'a value that is no time')
  }

  /** The store forgets in silence: those that are over go as others come. */
  private note(key: string, untilMs: number): void {
    const now = Date.now()
    for (const [other, overMs] of this.untilMs) if (overMs <= now) this.untilMs.delete(other)
    this.untilMs.set(key, untilMs)
  }

  /** The store lost them. */
  private async writeAgain(write: Parameters<Remade>[0]): Promise<void> {
    const now = Date.now()
    await Promise.all(
      [...this.untilMs]
        .filter(([, untilMs]) => untilMs > now)
        .map(([key, untilMs]) => write(key, Buffer.from(String(untilMs)))),
    )
  }
}

function keyOf(app: string, userId: string): string {
  return `${app}.${Buffer.from(userId).toString('base64url')}`
}
