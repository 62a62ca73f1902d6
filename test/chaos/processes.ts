import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'

/** What runs for us now, and what it left on disk: nothing of it outlives this process. */
const running = new Set<number>()
const folders = new Set<string>()
let watching = false

/** From now on `pid` and what it started end with us. */
export function watchOver(pid: number): void {
  running.add(pid)
  watch()
}

/** It has ended. */
export function forget(pid: number): void {
  running.delete(pid)
}

export function removeAtExit(folder: string): void {
  folders.add(folder)
  watch()
}

/** Processes that `pid` started. */
export function childrenOf(pid: number): number[] {
  return execFileSync('ps', ['-A', '-o', 'pid=,ppid=,stat='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, state]) => Number(parent) === pid && !state?.startsWith('Z'))
    .map(([child]) => Number(child))
}

/** Sends a signal, where there still is somebody to get it. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended meanwhile.
  }
}

/** At the end nothing may keep the others from being ended. */
function childrenNow(pid: number): number[] {
  try {
    return childrenOf(pid)
  } catch {
    return []
  }
}

function watch(): void {
  if (watching) return
  watching = true
  process.on('exit', () => {
    for (const pid of running) for (const each of [...childrenNow(pid), pid]) signal(each, 'SIGKILL')
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  })
  process.on('SIGINT', () => process.exit(130))
  process.on('SIGTERM', () => process.exit(143))
  process.on('SIGHUP', () => process.exit(129))
}
