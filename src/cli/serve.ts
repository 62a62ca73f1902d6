import type { Command } from 'commander'
import { type Broker, type Ports, startBroker } from '../broker.ts'
import { Supervisor } from '../supervisor.ts'
import { withDevelopmentKeys } from '../config/development.ts'
import { withinFileLimit } from '../config/file-limit.ts'
import { warningsOf, workersOf } from '../config/load.ts'
import { checkFiles } from '../config/files.ts'
import { checkTlsFiles } from '../config/tls-files.ts'
import { guarded } from '../guarded.ts'
import { reasonOf } from '../errors.ts'
import type { Config } from '../config/options.ts'
import { type Logger, makeLogger } from '../ops/logger.ts'
import { leaveOnEscape, serves } from './escape.ts'
import { leave, SUPERVISOR_GRACE_MS } from './leave.ts'
import { addOptionFlags, configFrom, type ProgramOptions, withServedPorts } from './options.ts'
import { developmentToken } from './token.ts'

export function addServe(program: Command, options: ProgramOptions): void {
  addOptionFlags(program.command('serve').description('run the broker'), options.ports)
    .option('--print-ports', 'when ready, write one JSON line with the ports on stdout')
    .action(async (flags) => {
      const { config: wanted, development } = withDevelopmentKeys(
        withServedPorts(configFrom(flags, options.ports), options),
      )
      const { config, warning } = withinFileLimit(wanted)
      const log = makeLogger(config.logLevel)
      for (const said of [...warningsOf(config), ...(warning === undefined ? [] : [warning])]) log.warn(said)
      checkFiles(config)
      const workers = workersOf(config)
      leaveOnEscape(log, () => config.drainMs, workers > 1 ? SUPERVISOR_GRACE_MS : undefined)
      // A reload keeps the development keys of the start.
      const keys = development
        ? { jwtSecret: config.jwtSecret, publishKey: config.publishKey, host: config.host }
        : undefined
      const readConfig = () => {
        const read = withinFileLimit({ ...configFrom(flags, options.ports), ...keys }).config
        checkFiles(read)
        return read
      }
      // Without workers or TLS there is nothing to reload, so SIGHUP means that the terminal was closed.
      const reloads = workers > 1 || config.tlsCertFile !== ''
      let reloadWanted = false
      const waitToReload = () => {
        reloadWanted = true
      }
      if (reloads) process.on('SIGHUP', waitToReload)
      const supervisor = workers > 1 ? await Supervisor.start({ config, readConfig, development, log }) : undefined
      const running: Broker | Supervisor =
        supervisor ??
        (await startBroker(config, log, development ? { token: () => developmentToken(config.jwtSecret) } : undefined))
      serves(running)

      const ports = Object.fromEntries(
        Object.entries(running.ports).map(([option, port]) => [option.toLowerCase(), port]),
      )
      const stop = (reason: string) => leave(running, log, config.drainMs, reason, supervisor && SUPERVISOR_GRACE_MS)
      let interrupted = false
      process.on('SIGTERM', () => stop('SIGTERM'))
      process.on('SIGINT', () => {
        if (interrupted) {
          supervisor?.kill()
          process.exit(130)
        }
        interrupted = true
        stop('SIGINT')
      })
      const renew = 'renewTls' in running ? renewal(running, config, log) : undefined
      const reload = guarded('SIGHUP', () => (supervisor ? supervisor.reload() : renew?.()))
      process.on('SIGHUP', reloads ? reload : () => stop('SIGHUP'))
      process.off('SIGHUP', waitToReload)

      // Whoever reads that it is ready may send a signal at once.
      log.info({ ...ports, source: config.natsUrl === '' ? 'embedded' : 'nats', workers }, 'ready')
      // The reader of stdout may be gone by now.
      process.stdout.on('error', () => {})
      if (flags.printPorts) process.stdout.write(`${JSON.stringify(ports)}\n`)
      else if (development) console.log(welcome(running.ports, config))
      if (reloadWanted) reload()
    })
}

/** Returns a function that reloads the certificate; calls run one after another. */
function renewal(broker: Broker, config: Config, log: Logger): () => Promise<void> {
  let last = Promise.resolve()
  const renew = async () => {
    try {
      checkTlsFiles(config)
      await broker.renewTls()
      log.info('certificates reloaded; open connections keep theirs')
    } catch (error) {
      log.error({ reason: reasonOf(error) }, 'certificates could not be read again; those of before stay')
    }
  }
  return () => (last = last.then(renew))
}

/** What somebody can do with a broker that has just started for the first time. */
function welcome({ PORT, OPS_PORT }: Ports, { applications, jwtSecret, publishKey }: Config): string {
  const token = developmentToken(jwtSecret)
  const start = `
Roomcast is running, with keys made for this folder (.roomcast/), on this machine alone.

  Page:     http://127.0.0.1:${OPS_PORT}/`
  const end = '\n\nCtrl-C stops it.\n'
  // The example is one of game-djinn.
  if (applications.length > 0 && !applications.includes('game-djinn')) return `${start}\n  Token:    ${token}${end}`
  return `${start}
  Clients:  ws://localhost:${PORT}/ws?token=<token>
  Token:    ${token}

Watch events arrive, on the page or in another terminal:

  npx roomcast tail game-djinn --port ${PORT}

Make one arrive:

  curl -X POST http://127.0.0.1:${PORT}/api/v1/events/game-djinn/sync_progress \\
    -H 'Authorization: Bearer ${publishKey}' \\
    -d '{"data": {"operation_id": "op-1", "status": "in_progress", "progress_percentage": 45, "current_game": {"title": "The Witcher 3: Wild Hunt"}}}'${end}`
}
