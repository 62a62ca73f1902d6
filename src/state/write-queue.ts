import { runGuarded, soon } from '../guarded.ts'
import type { KeyValue } from '../source/source.ts'

/** Writes begun in one turn of the event loop. */
const TURN_MAX = 32
const UNDER_WAY_MAX = 256

interface Write {
  /** Undefined: the key is deleted. */
  value: Uint8Array | undefined
  readonly done: Promise<void>
  readonly resolve: () => void
}

/**
 * Writes to a bucket that no command waits for. Only a few begin in each turn of the event loop: the thousands of
 * writes when clients leave everything at once would block it for seconds. If a key changes while it waits, only its
 * newest value is written.
 */
export class WriteQueue {
  private readonly kv: KeyValue
  private readonly waiting = new Map<string, Write>()
  private underWay = 0
  private scheduled = false

  constructor(kv: KeyValue) {
    this.kv = kv
  }

  /**
   * @param value undefined: deletes the key
   * @returns a promise that resolves once this was tried
   */
  write(key: string, value: Uint8Array | undefined): Promise<void> {
    const before = this.waiting.get(key)
    if (before) {
      before.value = value
      return before.done
    }
    let resolve = () => {}
    const done = new Promise<void>((settle) => {
      resolve = settle
    })
    this.waiting.set(key, { value, done, resolve })
    this.schedule()
    return done
  }

  private schedule(): void {
    if (this.scheduled || this.waiting.size === 0 || this.underWay >= UNDER_WAY_MAX) return
    this.scheduled = true
    soon('key-value writes', () => {
      this.scheduled = false
      this.begin()
    })
  }

  private begin(): void {
    let begun = 0
    for (const [key, write] of this.waiting) {
      if (begun++ === TURN_MAX || this.underWay >= UNDER_WAY_MAX) break
      this.waiting.delete(key)
      this.underWay++
      runGuarded('key-value writes', () => this.carryOut(key, write))
    }
    this.schedule()
  }

  private async carryOut(key: string, { value, resolve }: Write): Promise<void> {
    try {
      await (value === undefined ? this.kv.delete(key) : this.kv.put(key, value))
    } catch {
      // Out of reach: leases are written again, or run out.
    } finally {
      this.underWay--
      resolve()
      this.schedule()
    }
  }
}
