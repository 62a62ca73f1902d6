/** Numbers from a seed: the same seed gives the same ones, on every machine. */
export class Random {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** From 0 up to 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }

  /** A whole number from 0 up to a bound. */
  below(bound: number): number {
    return Math.floor(this.next() * bound)
  }

  chance(part: number): boolean {
    return this.next() < part
  }

  of<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)]
  }

  /** Each with that chance. */
  some<T>(list: readonly T[], part: number): T[] {
    return list.filter(() => this.chance(part))
  }
}

interface Timer {
  readonly dueMs: number
  readonly act: () => void
}

const real = {
  setImmediate: globalThis.setImmediate,
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  now: Date.now,
}

/**
 * The event loop and the clock of a simulation, in place of Node's: what is to run later runs when the simulation says
 * so.
 */
export class Schedule {
  nowMs = 1_000_000_000_000
  private immediates: (() => void)[] = []
  private readonly timers = new Set<Timer>()

  install(): void {
    const later = (act: (...args: unknown[]) => void, ...args: unknown[]) =>
      void this.immediates.push(() => act(...args))
    const timed = (act: () => void, ms = 0) => {
      const timer = { dueMs: this.nowMs + ms, act, unref: () => timer }
      this.timers.add(timer)
      return timer
    }
    Object.assign(globalThis, {
      setImmediate: later,
      setTimeout: timed,
      clearTimeout: (timer: Timer) => this.timers.delete(timer),
    })
    Date.now = () => this.nowMs
  }

  uninstall(): void {
    const { setImmediate, setTimeout, clearTimeout, now } = real
    Object.assign(globalThis, { setImmediate, setTimeout, clearTimeout })
    Date.now = now
  }

  get idle(): boolean {
    return this.immediates.length === 0
  }

  /** What was to run in this turn of the event loop; what that puts off comes in the next. */
  runImmediates(): void {
    for (const act of this.immediates.splice(0)) act()
  }

  pass(ms: number): void {
    this.nowMs += ms
    for (const timer of this.timers) {
      if (timer.dueMs > this.nowMs) continue
      this.timers.delete(timer)
      timer.act()
    }
  }

  /** Everything that waits for a promise which is fulfilled goes on. */
  async settle(): Promise<void> {
    await new Promise<void>((resolve) => real.setImmediate(resolve))
  }
}
