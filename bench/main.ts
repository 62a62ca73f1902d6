import { Command } from 'commander'
import { addFanout } from './scenarios/fanout.ts'

/** Faults of the command line end with this code, failed checks and failed runs with 1. */
const USAGE = 2

const program = new Command(process.env.BENCH_CALLED ?? 'npm run bench --').description('measures Roomcast: each scenario beside other servers, in the same run').showHelpAfterError('--help lists the scenarios and their options')
program.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE))
addFanout(program)

process.on('uncaughtException', (error) => {
  console.error(`\nbench: ${process.env.DEBUG ? error.stack : error.message}`)
  process.exit(1)
})
await program.parseAsync()
process.exit()
