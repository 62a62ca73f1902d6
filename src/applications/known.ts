import { Worker } from 'node:worker_threads'
import type { Contract } from '../contracts/contract.ts'
import { BrokerError } from '../errors.ts'
import { after } from '../guarded.ts'
import { BUILT_IN_CONTRACTS } from './built-in.ts'

/** What the program needs to know of an application before it can read its options. */
export type KnownApplication = Pick<Contract, 'app' | 'port'>

/** What the thread answers. */
export type Reading = { readonly known: readonly KnownApplication[] } | { readonly fault: string }

const THREAD = new URL(`./known-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url)
const READ_MS = 30_000
const END_MS = 1_000

/**
 * The five applications and those of further contracts. A contract is code of others, which may print, hang or exit, so
 * it is read in a thread that then ends: a supervisor goes on without any of it.
 * @throws BrokerError CONTRACT_INVALID
 */
export async function knownApplications(paths: readonly string[]): Promise<readonly KnownApplication[]> {
  return [...BUILT_IN_CONTRACTS, ...(paths.length === 0 ? [] : await readInThread(paths))]
}

async function readInThread(paths: readonly string[]): Promise<readonly KnownApplication[]> {
  const thread = new Worker(THREAD, { workerData: paths, stdout: true })
  const named = `CONTRACTS=${paths.join(',')}`
  // stdout is for --print-ports.
  thread.stdout.pipe(process.stderr, { end: false })
  const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()))
  let late: NodeJS.Timeout | undefined
  try {
    const reading = await new Promise<Reading>((resolve) => {
      late = after('reading of contracts', READ_MS, () =>
        resolve({ fault: `${named}: did not load within ${READ_MS / 1000} s` }),
      )
      // A contract may send messages of its own.
      thread.on('message', (message: unknown) => {
        if (isReading(message)) resolve(message)
      })
      thread.once('error', (error) => resolve({ fault: error.message }))
      thread.once('exit', () => resolve({ fault: `${named}: ended the program while it was loaded` }))
    })
    if ('known' in reading) return reading.known
    throw new BrokerError('CONTRACT_INVALID', reading.fault)
  } finally {
    clearTimeout(late)
    // It first ends its compiler.
    const overdue = new Promise<void>((resolve) => {
      late = after('end of the thread for contracts', END_MS, resolve)
    })
    await Promise.race([ended, overdue])
    clearTimeout(late)
    await thread.terminate()
  }
}

function isReading(message: unknown): message is Reading {
  if (typeof message !== 'object' || message === null) return false
  const { known, fault } = message as { readonly known?: unknown; readonly fault?: unknown }
  return Array.isArray(known) || typeof fault === 'string'
}
