import type { KeyValue, Source } from '../source/source.ts'

const BUCKET = 'roomcast_bans'
/** Longest ban; the store forgets after it. */
const KEPT_MS = 3_600_000

/** Users whose new connections are refused for a while, on all nodes. */
export class Bans {
  private readonly kv: KeyValue
  private readonly untilMs = new Map<string, number>()

  static async open(source: Source): Promise<Bans> {
    const bans = new Bans(await source.keyValue(BUCKET, KEPT_MS))
    await bans.kv.watch((key, value) => {
      const untilMs = Number(value && Buffer.from(value).toString())
      if (untilMs > Date.now()) bans.untilMs.set(key, untilMs)
      else bans.untilMs.delete(key)
    })
    return bans
  }

  private constructor(kv: KeyValue) {
    this.kv = kv
  }

  add(app: string, userId: string, forMs: number): void {
    const untilMs = Date.now() + forMs
    this.untilMs.set(keyOf(app, userId), untilMs)
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
}

function keyOf(app: string, userId: string): string {
  return `${app}.${Buffer.from(userId).toString('base64url')}`
}
