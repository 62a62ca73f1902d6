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

/** Called with options, Node 20 empties the space for new objects and no more. */
const collect = (globalThis as { gc?: () => void }).gc

/**
 * Where a server has workers, the bench's child alone answers: theirs are calls of the server's own. They collect on a
 * signal.
 */
if (process.env.BENCH_PID !== String(process.ppid)) process.on('SIGUSR2', () => void settle())
else answerCalls<Probe>({ settle })

async function settle(): Promise<Heap> {
  // The second time takes what finalizers of the first let go.
  for (let round = 0; round < 2; round++) {
    collect?.()
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')
  const { heapUsed, external } = process.memoryUsage()
  return { usedBytes: heapUsed + external, youngBytes: young?.physical_space_size ?? 0 }
}
