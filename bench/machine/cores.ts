import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

export type Core = number

/** One core for the server under test, one for everything else. */
export interface Pinning {
  readonly server: Core
  readonly rest: Core
}

/** Two cores that this process may use. @returns undefined where there are not two, or no `taskset` */
export function pinning(): Pinning | undefined {
  if (process.platform !== 'linux' || spawnSync('taskset', ['--version']).status !== 0) return undefined
  const [server, rest] = allowedCores()
  return server === undefined || rest === undefined ? undefined : { server, rest }
}

function allowedCores(): Core[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? ''
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number)
    return Array.from({ length: (last as number) - (first as number) + 1 }, (_, i) => (first as number) + i)
  })
}
