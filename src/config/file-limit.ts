import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Config } from './options.ts'

/** Files that a process has open besides its clients' connections: listeners, NATS, logs, requests in progress. */
const OTHER_FILES = 200

/**
 * Keeps MAX_CONNECTIONS within the number of files that a process may open. A connection above MAX_CONNECTIONS gets a
 * clear refusal; one above the system's limit would hang without an answer.
 * @returns the configuration, and a warning if it was lowered
 */
export function withinFileLimit(
  config: Config,
  filesMax: number = openFilesMax(),
): { config: Config; warning: string | undefined } {
  const fitting = Math.max(1, filesMax - OTHER_FILES)
  if (config.maxConnections <= fitting) return { config, warning: undefined }
  return {
    config: { ...config, maxConnections: fitting },
    warning: `MAX_CONNECTIONS=${config.maxConnections}, but a process may open ${filesMax} files here: each accepts ${fitting} connections. Raise the limit (ulimit -n, LimitNOFILE of systemd, ulimits of Docker), add WORKERS, or lower MAX_CONNECTIONS`,
  }
}

/** The soft limit, which Node raises to the hard limit when it starts. */
function openFilesMax(): number {
  try {
    if (process.platform === 'linux')
      return limitIn(/^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1])
    if (process.platform !== 'win32')
      return limitIn(execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim())
  } catch {
    // The limit cannot be read: assume that there is none.
  }
  return Number.POSITIVE_INFINITY
}

function limitIn(text: string | undefined): number {
  const limit = Number(text)
  return Number.isInteger(limit) && limit > 0 ? limit : Number.POSITIVE_INFINITY
}
