import { Command } from 'commander'
import { addCompare, addReport } from './commands.ts'
import { addCrowd } from './scenarios/crowd.ts'
import { addFanout } from './scenarios/fanout.ts'
import { addFilters } from './scenarios/filters.ts'
import { addFormats } from './scenarios/formats.ts'
import { addIdle } from './scenarios/idle.ts'
import { addIngest } from './scenarios/ingest.ts'
import { addLatency } from './scenarios/latency.ts'
import { addRooms } from './scenarios/rooms.ts'
import { addScale } from './scenarios/scale.ts'
import { addSlow } from './scenarios/slow.ts'
import { addSoak } from './scenarios/soak.ts'
import { addStorm } from './scenarios/storm.ts'
import { addSuite } from './scenarios/suite.ts'

/** Faults of the command line end with this code, failed checks and failed runs with 1. */
const USAGE = 2

const called = process.env.ROOMCAST_BENCH_CALLED ?? 'npm run bench --'
const program = new Command(called)
  .description('measures Roomcast: each scenario beside other servers, in the same run')
  .showHelpAfterError('--help lists the scenarios and their options')
program.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : USAGE))
for (const add of [
  addFanout,
  addLatency,
  addStorm,
  addSlow,
  addRooms,
  addFilters,
  addFormats,
  addIngest,
  addIdle,
  addScale,
  addSoak,
  addCrowd,
  addSuite,
  addReport,
  addCompare,
])
  add(program)

process.on('uncaughtException', (error) => {
  console.error(`\nbench: ${process.env.DEBUG ? error.stack : error.message}`)
  process.exit(1)
})
await program.parseAsync()
process.exit()
