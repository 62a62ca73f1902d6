import { getHeapSpaceStatistics } from 'node:v8'
import { answerCalls } from '../../process/calls.ts'

/** Loaded into the servers under test before their own code (`--import`): lets the bench settle and see their heap. */

export interface Heap {
  /** Live objects. */
  readonly usedBytes: number
  /** What V8 has for new objects: up to 32 MB, whatever the number of connections, and not given back. */
  readonly youngBytes: number
}

export interface Probe {
  /** Collects garbage, so that what is left is in use. */
  settle(): Promise<Heap>
}

/** Called without options: with options, Node 20 collects the space for new objects only. */
const collect = (globalThis as { gc?: () => void }).gc

/**
 * Of a server with workers only the bench's own child answers calls; a worker's IPC channel belongs to the server.
 * Workers collect garbage on a signal.
 */
if (process.env.BENCH_PID !== String(process.ppid)) process.on('SIGUSR2', () => void settle())
else answerCalls<Probe>({ settle })

async function settle(): Promise<Heap> {
  // The second round collects what finalizers of the first released.
  for (let round = 0; round < 2; round++) {
    collect?.()
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')
  const { heapUsed, external } = process.memoryUsage()
  return { usedBytes: heapUsed + external, youngBytes: young?.physical_space_size ?? 0 }
}
