import { monotonicUs } from '../machine/clock.ts'
import type { Vitals } from '../report/result.ts'
import { filesOf } from '../machine/usage.ts'
import type { Stage } from './stage.ts'

/** Looks at a server's vitals now and then. */
export class VitalsRecorder {
  readonly samples: Vitals[] = []
  private readonly startUs = monotonicUs()
  private readonly everyMs: number
  private looking = false
  private dueUs = 0

  constructor(everyMs: number) {
    this.everyMs = everyMs
  }

  /** To be called more often than it looks. */
  async look(stage: Stage): Promise<void> {
    if (this.looking || monotonicUs() < this.dueUs) return
    this.looking = true
    this.dueUs = monotonicUs() + this.everyMs * 1000
    try {
      // Before the collection, whose pause is no delay that clients cause.
      const delayS = (await stage.metric('nodejs_eventloop_lag_p99_seconds')) ?? Number.NaN
      const { heap, residentBytes } = await stage.weigh()
      this.samples.push({
        second: (monotonicUs() - this.startUs) / 1e6,
        residentBytes,
        heapBytes: heap?.usedBytes ?? Number.NaN,
        files: filesOf(stage.pid),
        delayMs: delayS * 1000,
      })
    } finally {
      this.looking = false
    }
  }
}
