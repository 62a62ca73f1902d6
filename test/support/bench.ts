import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Result } from '../../bench/report/result.ts'

/**
 * Runs of the built bench, as users call it, for tests that count what came. A file has one or two runs, and time
 * enough for a machine that does much else: only what hangs is ended.
 */

const BENCH = new URL('../../dist/bench/main.js', import.meta.url).pathname
const HANGS_MS = 600_000

/** For tests that measure something. */
export const onLinux = process.platform === 'linux' ? {} : { skip: 'the bench reads /proc' }

/** Results go below it. */
export const folder = mkdtempSync(join(tmpdir(), 'roomcast-bench-test-'))

const running = new Set<ChildProcess>()

t.setTimeout(HANGS_MS)
t.teardown(() => {
  for (const child of running) child.kill()
  rmSync(folder, { recursive: true, force: true })
})

export interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the bench with arguments that are parted by spaces, and paths. */
export function bench(args: string, ...paths: readonly string[]): Promise<Ended> {
  return node(BENCH, ...args.split(' '), ...paths)
}

/** Runs a program of Node's in the folder. */
export function node(program: string, ...args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  return new Promise((resolve) =>
    child.on('close', (status) => {
      running.delete(child)
      resolve({ status, stdout, stderr })
    }),
  )
}

/** What the last run of a scenario wrote down. */
export function newest(scenario: string): Result {
  const results = join(folder, 'bench', 'results')
  const file = readdirSync(results)
    .filter((name) => name.startsWith(`${scenario}-`))
    .sort()
    .at(-1) as string
  return JSON.parse(readFileSync(join(results, file), 'utf8'))
}
