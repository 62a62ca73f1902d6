import { execFileSync } from 'node:child_process'
import type { Env } from '../peers/peer.ts'
import { BROKER } from '../process/built.ts'

/** Environment of a broker with so many workers. */
export function workersEnv(workers: number): Env {
  return workers === 1 ? {} : { WORKERS: String(workers) }
}

/** @throws Error where this broker cannot have so many */
export function requireWorkers(workers: number): void {
  if (workers === 1) return
  const options = execFileSync(process.execPath, [BROKER, 'default-config']).toString()
  if (!/^#WORKERS=/m.test(options))
    throw new Error(
      'this broker does not know the option WORKERS (`roomcast default-config` does not list it), so it has one worker only',
    )
}
