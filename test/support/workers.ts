import { execFileSync } from 'node:child_process'
import type { Test } from 'tap'
import { TestBroker } from './broker.ts'
import { eventually } from './client.ts'
import { TestNats } from './nats.ts'

export const WORKERS = 2

/** Processes that a broker's supervisor runs. */
export function workersOf({ pid }: TestBroker): number[] {
  return execFileSync('ps', ['-A', '-o', 'pid=,ppid=,stat='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, state]) => Number(parent) === pid && !state?.startsWith('Z'))
    .map(([worker]) => Number(worker))
}

export function runs(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** A broker with workers, on a NATS of its own; none of its processes is left behind. */
export async function startWorkers(
  t: Test,
  env: Record<string, string | number> = {},
): Promise<{ nats: TestNats; broker: TestBroker }> {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const broker = await TestBroker.start({ NATS_URL: nats.url, WORKERS, ...env })
  t.teardown(async () => {
    const workers = workersOf(broker)
    // A test that failed may have left one stopped.
    for (const pid of workers) process.kill(pid, 'SIGCONT')
    await broker.stop()
    await eventually(() => !workers.some(runs))
  })
  return { nats, broker }
}

export const readyz = async (broker: TestBroker) => {
  const answer = await broker.ops('/readyz')
  return { status: answer.status, reasons: ((await answer.json()) as { reasons: string[] }).reasons }
}
