import { soon } from '../guarded.ts'

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
