import { rmdirSync } from 'node:fs'
import type { Command } from 'commander'
import { type Broker, startBroker } from '../broker.ts'
import type { WorkerStart } from '../supervisor.ts'
import { BrokerError } from '../errors.ts'
import { Link } from '../ops/link.ts'
import { type Logger, makeLogger } from '../ops/logger.ts'
import { leaveOnEscape, serves } from './escape.ts'
import { leave } from './leave.ts'
import { developmentToken } from './token.ts'

/** How long to wait for the supervisor's statistics. It asks its workers for theirs, for at most a second each. */
const STATS_MS = 2_000

/** The verb with which a supervisor starts its workers. It is not for users. */
export function addWorker(program: Command): void {
  program
    .command('worker <number>', { hidden: true })
    .description('one of the processes that `roomcast serve` runs with WORKERS')
    .action(() => {
      if (!process.connected)
        throw new BrokerError('CONFIG_INVALID', 'a worker is started by `roomcast serve` with WORKERS, not by itself')
      work()
    })
}

function work(): void {
  let running: { broker: Broker; log: Logger; drainMs: number } | undefined
  const begin = async ({ number, folder, config, development }: WorkerStart): Promise<void> => {
    const log = makeLogger(config.logLevel, number)
    leaveOnEscape(log, () => config.drainMs)
    const token = () => developmentToken(config.jwtSecret)
    const broker = await startBroker(config, log, development ? { token } : undefined, {
      number,
      folder,
      stats: () => supervisor.ask('stats', undefined, STATS_MS),
    })
    running = { broker, log, drainMs: config.drainMs }
    serves(broker)
    process.once('exit', () => {
      if (!process.connected) removeIfEmpty(folder)
    })
  }
  const drain = (reason: string): void => {
    if (running) leave(running.broker, running.log, running.drainMs, reason)
    else process.exit(0)
  }
  const supervisor = new Link(process, (question, detail) => {
    if (question === 'start') return begin(detail as WorkerStart)
    if (question === 'drain') return drain('supervisor')
    const view = running?.broker.view
    switch (question) {
      case 'unready':
        return view?.unready() ?? ['warming up']
      case 'stats':
        return view?.stats()
      case 'figures':
        return view?.figures()
      case 'metrics':
        return view?.metricValues()
      case 'pageSettings':
        return view?.pageSettings()
      case 'access':
        return view?.access(detail as string) ?? 'nobody'
      default:
        throw new Error(`no such question: ${question}`)
    }
  })
  // Without its supervisor, nothing would replace or end this worker.
  process.on('disconnect', () => drain('the supervisor is gone'))
  process.on('SIGTERM', () => drain('SIGTERM'))
  // A terminal sends these signals to the whole process group; the supervisor decides what its workers do.
  process.on('SIGINT', () => {})
  process.on('SIGHUP', () => {})
}

/** Removes the folder if this worker is the last to leave it, after the supervisor was killed. */
function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Other workers still use it.
  }
}
