import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'

/**
 * Where log lines go. Whoever reads them may stand still, or be gone, and the disk that they go to may be full: then
 * lines are left out, and counted, and nothing else is held up or ends. Written at once, so that the last words of a
 * process are there as well.
 */
export class LogDestination {
  private readonly fd: number
  /** What nobody took so far: a line, or the rest of one. */
  private waiting: Uint8Array = new Uint8Array()
  private leftOut = 0

  constructor(fd: number) {
    this.fd = unblocked(fd)
  }

  write(line: string): void {
    this.flush()
    if (this.waiting.length > 0) return void this.leftOut++
    this.waiting = Buffer.from(this.leftOut === 0 ? line : `${missing(this.leftOut)}\n${line}`)
    this.leftOut = 0
    this.flush()
  }

  private flush(): void {
    try {
      while (this.waiting.length > 0) this.waiting = this.waiting.subarray(writeSync(this.fd, this.waiting))
    } catch {
      // Full, gone, or broken: there is nobody to tell. The next line tries again.
    }
  }
}

function missing(lines: number): string {
  return JSON.stringify({
    level: 40,
    time: new Date().toISOString(),
    pid: process.pid,
    lines,
    msg: 'log lines are missing here: nobody took them',
  })
}

/**
 * Where writing never waits: a pipe or a terminal opened once more, for this process alone, since the mode of the one
 * that there is would change for all who have it. A socket cannot be opened again, nor another user's pipe: their mode
 * is changed, as Node does with its own `stderr`. A file makes nobody wait.
 */
function unblocked(fd: number): number {
  const stat = fstatSync(fd)
  if (stat.isFile()) return fd
  try {
    const opened = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    if (fstatSync(opened).ino === stat.ino) return opened
    closeSync(opened)
  } catch {
    // Told above. Or there is no /proc.
  }
  if (fd === process.stderr.fd && (stat.isSocket() || stat.isFIFO())) process.stderr.on('error', () => {})
  return fd
}
