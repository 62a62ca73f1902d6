import { parentPort, workerData } from 'node:worker_threads'
import { endCompiler, loadContract } from '../contracts/load.ts'
import { reasonOf } from '../errors.ts'
import type { Reading } from './known.ts'

/** The thread of `knownApplications`. */
parentPort?.postMessage(await read(workerData as readonly string[]))
await endCompiler()
process.exit()

async function read(paths: readonly string[]): Promise<Reading> {
  try {
    const contracts = await Promise.all(paths.map(loadContract))
    return { known: contracts.map(({ app, port }) => ({ app, port })) }
  } catch (error) {
    return { fault: reasonOf(error) }
  }
}
