import { readdirSync, readFileSync } from 'node:fs'

/** CPU, memory and files of a process, read from Linux' /proc. */

/** User and system time are counted in these. The kernel shows all programs 100 a second (USER_HZ). */
const TICK_US = 10_000

export interface Cpu {
  readonly userUs: number
  readonly systemUs: number
}

/** CPU time of all threads since the process began, to 10 ms. */
export function cpuOf(pid: number): Cpu {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // proc(5): utime and stime are fields 14 and 15. Field 2 is the name in parentheses, which may hold spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return { userUs: Number(fields[11]) * TICK_US, systemUs: Number(fields[12]) * TICK_US }
}

/** The same for a process and its running descendants, such as workers. */
export function cpuOfTree(pid: number): Cpu {
  return treeOf(pid).map(cpuOf).reduce(cpuSum)
}

export function totalOf({ userUs, systemUs }: Cpu): number {
  return userUs + systemUs
}

export function cpuSum(a: Cpu, b: Cpu): Cpu {
  return { userUs: a.userUs + b.userUs, systemUs: a.systemUs + b.systemUs }
}

export function cpuSince(start: Cpu, end: Cpu): Cpu {
  return { userUs: end.userUs - start.userUs, systemUs: end.systemUs - start.systemUs }
}

/** CPU time of all processes of the machine since it began, µs. */
export function machineCpuUs(): number {
  // proc(5): user, nice, system, idle, iowait, irq, softirq, steal.
  const [user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)
    .join()
    .split(/\s+/)
    .slice(1)
    .map(Number)
  return (
    ((user as number) +
      (nice as number) +
      (system as number) +
      (irq as number) +
      (softirq as number) +
      (steal as number)) *
    TICK_US
  )
}

/** Resident memory, bytes. */
export function residentBytes(pid: number): number {
  return field(`/proc/${pid}/status`, /^VmRSS:\s+(\d+) kB$/m) * 1024
}

/** Peak resident memory, bytes. */
export function residentBytesMax(pid: number): number {
  return field(`/proc/${pid}/status`, /^VmHWM:\s+(\d+) kB$/m) * 1024
}

/**
 * The same for a process and its running descendants. Shared pages count once for each process, but their number does
 * not grow with connections.
 */
export function residentBytesOfTree(pid: number): number {
  return treeOf(pid).reduce((sum, each) => sum + residentBytes(each), 0)
}

/** A process and its running descendants. */
export function treeOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return [pid, ...(children === '' ? [] : children.split(' ').flatMap((child) => treeOf(Number(child))))]
}

/** Number of open files, sockets included. */
export function filesOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

export function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
}

/** How many files a process started here may open. */
export function filesMax(): number {
  // Node raises its soft limit to the hard one.
  return field('/proc/self/limits', /^Max open files\s+\S+\s+(\d+)/m)
}

function field(path: string, pattern: RegExp): number {
  const text = pattern.exec(readFileSync(path, 'utf8'))?.[1]
  if (text === undefined) throw new Error(`${path} does not say ${pattern.source}`)
  return Number(text)
}
