import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { BrokerError } from '../errors.ts'

/** The bench is a separate program, built beside this one; the package goes without it. */
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
      if (!existsSync(BENCH))
        throw new BrokerError(
          'CONFIG_INVALID',
          'the bench is not in the package: run `npm run bench` in a clone of the repository',
        )
      const bench = spawn(process.execPath, [BENCH, ...args], {
        stdio: 'inherit',
        env: { ...process.env, ROOMCAST_BENCH_CALLED: 'roomcast bench' },
      })
      // Ctrl-C reaches both processes; the bench cleans up and sets the exit code. SIGTERM reaches only this process,
      // so pass it on.
      process.on('SIGINT', () => {})
      process.on('SIGTERM', () => bench.kill('SIGTERM'))
      process.exit(await new Promise<number>((resolve) => bench.on('exit', (code) => resolve(code ?? 1))))
    })
}
