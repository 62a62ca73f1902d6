import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'

/** The bench is a program of its own, built beside this one. */
const BENCH = fileURLToPath(new URL('../bench/main.js', import.meta.url))

export function addBench(program: Command): void {
  program
    .command('bench')
    .description(
      'measure this broker on this machine: `roomcast bench --help` lists the scenarios (Linux, nats-server on PATH)',
    )
    .argument('[arguments...]', 'a scenario and its options')
    .helpOption(false)
    .allowUnknownOption()
    .action(async (args: string[]) => {
      const bench = spawn(process.execPath, [BENCH, ...args], {
        stdio: 'inherit',
        env: { ...process.env, ROOMCAST_BENCH_CALLED: 'roomcast bench' },
      })
      // Ctrl-C reaches both; the bench cleans up and says how it ended. A signal meant for this process alone is passed
      // on.
      process.on('SIGINT', () => {})
      process.on('SIGTERM', () => bench.kill('SIGTERM'))
      process.exit(await new Promise<number>((resolve) => bench.on('exit', (code) => resolve(code ?? 1))))
    })
}
