import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { BrokerError } from '../errors.ts'
import { addBench } from './bench.ts'
import { addCheckConfig, addDefaultConfig } from './config.ts'
import { addPublish } from './publish.ts'
import { addServe } from './serve.ts'
import { addTail } from './tail.ts'
import { addToken } from './token.ts'
import { addWorker } from './worker.ts'

/** Runs the command line. Exits with 1 after a failure, with 2 for wrong usage. */
export async function run(argv: readonly string[]): Promise<void> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
  const program = new Command('roomcast')
    .description(
      'Real-time event broker: takes events from NATS and fans them out to rooms of WebSocket clients, in order, nothing lost.',
    )
    .version(version)
    .showHelpAfterError('(add --help to see what there is)')
    .exitOverride((stop) => process.exit(stop.exitCode === 0 ? 0 : 2))
  addServe(program)
  addToken(program)
  addPublish(program)
  addTail(program)
  addCheckConfig(program)
  addDefaultConfig(program)
  addBench(program)
  addWorker(program)
  try {
    await program.parseAsync(argv)
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    console.error(`roomcast: ${error.message}`)
    // Setting `exitCode` is not enough: a start that failed half-way may have open connections.
    process.exit(1)
  }
}
