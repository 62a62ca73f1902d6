import { readFileSync } from 'node:fs'
import type { World } from './world.ts'

const LOOK_MS = 250
/** No answer for this long: it hangs. */
export const HANG_MS = 20_000

/** Looks at the broker from outside, all the time: whether it lives, answers, and how large it is. */
export class Watch {
  memoryStartMb: number
  memoryMaxMb: number
  /** Longest time without an answer on `/healthz`. */
  silenceMs = 0
  private readonly world: World
  private stopped = false
  private readonly looking: Promise<void>

  constructor(world: World) {
    this.world = world
    this.memoryStartMb = this.memoryMaxMb = this.memoryMb()
    this.looking = this.look()
  }

  get hangs(): boolean {
    return this.silenceMs >= HANG_MS
  }

  /** The resident memory of the broker, workers included. */
  memoryMb(): number {
    return memoryOf(this.world.broker.pid)
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.looking
  }

  private async look(): Promise<void> {
    while (!this.stopped && !this.world.broker.gone) {
      this.memoryMaxMb = Math.max(this.memoryMaxMb, this.memoryMb())
      const askedMs = Date.now()
      const answered = await fetch(`http://127.0.0.1:${this.world.ports.OPS_PORT}/healthz`, {
        signal: AbortSignal.timeout(HANG_MS),
      }).then(
        (answer) => answer.ok,
        () => false,
      )
      if (!this.stopped && !this.world.broker.gone && answered)
        this.silenceMs = Math.max(this.silenceMs, Date.now() - askedMs)
      else if (Date.now() - askedMs >= HANG_MS) this.silenceMs = HANG_MS
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    }
  }
}

function memoryOf(pid: number): number {
  try {
    const resident = Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .trim()
      .split(' ')
      .filter((child) => child !== '')
    return Math.round(resident) + children.reduce((sum, child) => sum + memoryOf(Number(child)), 0)
  } catch {
    // It ended just now, or this is no Linux.
    return 0
  }
}

/** What its guard caught so far, by place. */
export async function faultsOf(world: World): Promise<Map<string, number>> {
  const text = await world.broker.ops('/metrics').then(
    (answer) => answer.text(),
    () => '',
  )
  return new Map(
    [...text.matchAll(/^roomcast_faults_total\{where="([^"]*)"[^}]*\} (\d+)/gm)].map(([, where = '', count]) => [
      where,
      Number(count),
    ]),
  )
}
