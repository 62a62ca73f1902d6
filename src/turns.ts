import { runGuarded, soon } from './guarded.ts'

/** In one turn of the event loop, tasks take about this long together. */
const TURN_MS = 10

/**
 * Shares the event loop: of the tasks that wait, each turn does what fits into `TURN_MS`, in the order in which they
 * came. Thousands that become ready at once would otherwise be done in one turn, and nobody else be served until then.
 * A task is never cut, so each must be short.
 */
export class Turns {
  private readonly waiting: (() => void)[] = []

  /** Does a task when its turn comes. @throws what the task throws */
  run<T>(task: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.waiting.push(() => {
        try {
          resolve(task())
        } catch (error) {
          reject(error)
        }
      })
      if (this.waiting.length === 1) this.takeTurn()
    })
  }

  /** Does something with each item, with as many in a turn as fit. What throws is reported, and costs only its item. */
  async each<T>(where: string, items: Iterable<T>, act: (item: T) => void): Promise<void> {
    const iterator = items[Symbol.iterator]()
    // One closure for all items: sweeps look at every client each second.
    let item: T
    const actOnItem = () => act(item)
    const some = () => {
      const endMs = performance.now() + TURN_MS
      for (;;) {
        const next = iterator.next()
        if (next.done) return true
        item = next.value
        runGuarded(where, actOnItem)
        if (performance.now() >= endMs) return false
      }
    }
    while (!(await this.run(some)));
  }

  private takeTurn(): void {
    soon('turns', () => {
      const endMs = performance.now() + TURN_MS
      let done = 0
      while (done < this.waiting.length && (done === 0 || performance.now() < endMs)) this.waiting[done++]?.()
      this.waiting.splice(0, done)
      if (this.waiting.length > 0) this.takeTurn()
    })
  }
}

/** All sweeps of this process. */
const turns = new Turns()

/**
 * Looks at all of something every second or so, in as many turns as that takes: thousands of clients whose tokens
 * expired in the same second were all sent away in one.
 */
export class Sweep<T> {
  private readonly items: () => Iterable<T>
  private readonly look: (item: T, nowMs: number) => void
  private underWay = false

  constructor(items: () => Iterable<T>, look: (item: T, nowMs: number) => void) {
    this.items = items
    this.look = look
  }

  /** Begins, unless the last one still goes on. */
  begin(nowMs: number): void {
    if (this.underWay) return
    this.underWay = true
    runGuarded('sweep', async () => {
      try {
        await turns.each('sweep', this.items(), (item) => this.look(item, nowMs))
      } finally {
        this.underWay = false
      }
    })
  }
}
