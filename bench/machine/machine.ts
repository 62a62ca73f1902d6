import { execFileSync } from 'node:child_process'
import { arch, cpus, loadavg, release, totalmem, type } from 'node:os'

/** The machine and versions that a result was measured with. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memory_gb: number
  readonly kernel: string
  readonly node: string
  readonly nats_server: string
  /** Load of the last minute before the run: above 0, others used the machine too. */
  readonly load: number
  /** Commit of the code under test; `+` behind it: with changes that are not committed. */
  readonly commit: string
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memory_gb: Math.round(totalmem() / 2 ** 30),
    kernel: `${type()} ${release()} ${arch()}`,
    node: process.version,
    nats_server: /[\d.]+/.exec(outputOf('nats-server', '--version'))?.[0] ?? 'unknown',
    load: Math.round((loadavg()[0] ?? 0) * 100) / 100,
    commit:
      outputOf('git', 'rev-parse', '--short', 'HEAD') +
      (outputOf('git', 'status', '--porcelain', 'src') === '' ? '' : '+'),
  }
}

function outputOf(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim()
  } catch {
    return ''
  }
}
