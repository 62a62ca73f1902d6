import { execFileSync } from 'node:child_process'
import { BROKER } from '../root.ts'

/** @throws Error where this broker has no workers */
export function requireWorkers(): void {
  const options = execFileSync(process.execPath, [BROKER, 'default-config']).toString()
  if (!/^#WORKERS=/m.test(options)) throw new Error('this broker does not know the option WORKERS (`roomcast default-config` does not list it), so it has one worker only')
}
