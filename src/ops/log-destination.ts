import { closeSync, constants, fstatSync, openSync, writeSync } from 'node:fs'

/**
 * Writes log lines. If their reader stalls or is gone, or the disk is full, lines are dropped and counted; nothing else
 * stops or waits. Writes are synchronous, so that the last lines of a dying process are written too.
 */
export class LogDestination {
  private readonly fd: number
  /** The bytes not written yet: a line, or the rest of one. */
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
      // The reader is full, gone or broken, and there is nowhere to report that. The next line tries again.
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
 * Returns a descriptor on which writing never blocks. It opens a pipe or terminal again, for this process only, because
 * changing the mode of the given descriptor would change it for every process that shares it. A socket or another
 * user's pipe cannot be opened again, so their mode is changed, as Node does with its own `stderr`. A file does not
 * block.
 */
function unblocked(fd: number): number {
  const stat = fstatSync(fd)
  if (stat.isFile()) return fd
  try {
    const opened = openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    if (fstatSync(opened).ino === stat.ino) return opened
    closeSync(opened)
  } catch {
    // A socket or another user's pipe (see above), or there is no /proc.
  }
  if (fd === process.stderr.fd && (stat.isSocket() || stat.isFIFO())) process.stderr.on('error', () => {})
  return fd
}
