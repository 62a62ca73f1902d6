import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { BrokerError } from '../errors.ts'
import { BUILT_IN_CONTRACTS } from '../applications/built-in.ts'
import { addBench } from './bench.ts'
import { addCheckConfig, addDefaultConfig } from './config.ts'
import { optionsOf, type ProgramOptions, programOptions } from './options.ts'
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
  try {
    const options = await optionsFor(argv.slice(2))
    addServe(program, options)
    addToken(program)
    addPublish(program)
    addTail(program)
    addCheckConfig(program, options)
    addDefaultConfig(program, options)
    addBench(program)
    addWorker(program)
    await program.parseAsync(argv)
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    console.error(`roomcast: ${error.message}`)
    // Setting `exitCode` is not enough: a start that failed half-way may have open connections.
    process.exit(1)
  }
}

/** Verbs that have the options of contracts. */
const WITH_OPTIONS = ['serve', 'check-config', 'default-config', 'help']

async function optionsFor([verb = '', ...args]: readonly string[]): Promise<ProgramOptions> {
  const builtIn = optionsOf(BUILT_IN_CONTRACTS)
  if (!WITH_OPTIONS.includes(verb)) return builtIn
  try {
    return await programOptions(args)
  } catch (error) {
    // Who asks for help may have a contract that is wrong.
    if (verb === 'help' || args.includes('--help') || args.includes('-h')) return builtIn
    throw error
  }
}
