import { monotonicUs } from '../machine/clock.ts'
import type { Vitals } from '../report/result.ts'
import { filesOf } from '../machine/usage.ts'
import type { Stage } from './stage.ts'

/** Samples what must not grow in a server. */
export class VitalsRecorder {
  readonly samples: Vitals[] = []
  private readonly startUs = monotonicUs()
  private readonly everyMs: number
  private looking = false
  private dueUs = 0

  constructor(everyMs: number) {
    this.everyMs = everyMs
  }

  /** Takes a sample if one is due; called more often than that. */
  async look(stage: Stage): Promise<void> {
    if (this.looking || monotonicUs() < this.dueUs) return
    this.looking = true
    this.dueUs = monotonicUs() + this.everyMs * 1000
    try {
      // Read before garbage is collected: that pause is not caused by clients.
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
