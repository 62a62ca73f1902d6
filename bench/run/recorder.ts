import { monotonicUs } from '../machine/clock.ts'
import type { Timeline } from '../report/result.ts'
import { cpuOfTree, residentBytesOfTree, totalOf } from '../machine/usage.ts'
import type { Stage } from './stage.ts'

interface Sample {
  readonly second: number
  readonly memoryMb: number
  readonly cpuUs: number
  readonly arrived: number
  readonly backlog: number
  readonly ready: number
}

/** Samples a stage at intervals. */
export class Recorder {
  private readonly samples: Sample[] = []
  private readonly marks: { second: number; text: string }[] = []
  /** Recorded time up to the last pause, and when it resumed. */
  private passedUs = 0
  private sinceUs: number | undefined = monotonicUs()
  private readonly stage: Stage
  private readonly done: Promise<void>
  private stopping = false

  constructor(stage: Stage, everyMs: number) {
    this.stage = stage
    this.done = this.run(everyMs)
  }

  /** Marks an event on the timeline, now. */
  mark(text: string): void {
    this.marks.push({ second: this.second, text })
  }

  /** Stops its clock while another server has its turn. */
  pause(): void {
    this.passedUs = this.nowUs
    this.sinceUs = undefined
  }

  resume(): void {
    this.sinceUs = monotonicUs()
  }

  async stop(): Promise<Timeline> {
    this.stopping = true
    await this.done
    const { samples } = this
    const rate = (value: (sample: Sample) => number, unit: number, isOfServer: boolean) =>
      samples.map((sample, i) => {
        const before = samples[i - 1]
        // A restarted server counts from 0, and has already used some CPU when it is first sampled.
        return before === undefined || (isOfServer && before.memoryMb === 0)
          ? 0
          : Math.max(0, (value(sample) - value(before)) / ((sample.second - before.second) * unit))
      })
    return {
      seconds: samples.map(({ second }) => round(second)),
      memoryMb: samples.map(({ memoryMb }) => round(memoryMb)),
      cpu: rate(({ cpuUs }) => cpuUs, 1e6, true).map(round),
      deliveriesPerSecond: rate(({ arrived }) => arrived, 1, false).map(Math.round),
      backlog: samples.map(({ backlog }) => backlog),
      ready: samples.map(({ ready }) => ready),
      marks: this.marks.map(({ second, text }) => ({ second: round(second), text })),
    }
  }

  private get second(): number {
    return this.nowUs / 1e6
  }

  private get nowUs(): number {
    return this.passedUs + (this.sinceUs === undefined ? 0 : monotonicUs() - this.sinceUs)
  }

  private async run(everyMs: number): Promise<void> {
    while (!this.stopping) {
      const { ready, arrived } = await this.stage.crowd.state()
      try {
        this.samples.push({
          second: this.second,
          memoryMb: residentBytesOfTree(this.stage.pid) / 2 ** 20,
          cpuUs: totalOf(cpuOfTree(this.stage.pid)),
          arrived,
          backlog: Math.max(0, Math.round(this.stage.dueNow() - arrived)),
          ready,
        })
      } catch {
        // The server is down at the moment.
        this.samples.push({
          second: this.second,
          memoryMb: 0,
          cpuUs: 0,
          arrived,
          backlog: Math.max(0, Math.round(this.stage.dueNow() - arrived)),
          ready,
        })
      }
      const dueUs = this.nowUs + everyMs * 1000
      while (!this.stopping && this.nowUs < dueUs)
        await new Promise((resolve) => setTimeout(resolve, (dueUs - this.nowUs) / 1000))
    }
  }
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
