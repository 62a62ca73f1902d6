import type { Command } from 'commander'
import { startBroker } from '../broker.ts'
import { withDevelopmentKeys } from '../config/development.ts'
import { makeLogger } from '../ops/logger.ts'
import { addOptionFlags, configFrom } from './options.ts'
import { mintToken } from './token.ts'

const DEVELOPMENT_TOKEN_TTL_S = 7 * 86_400

export function addServe(program: Command): void {
  addOptionFlags(program.command('serve').description('run the broker'))
    .option('--print-ports', 'when ready, write one JSON line with the ports on stdout')
    .action(async (flags) => {
      const { config, development } = withDevelopmentKeys(configFrom(flags))
      const log = makeLogger(config.logLevel)
      const token = () => mintToken(config.jwtSecret, 'dev', DEVELOPMENT_TOKEN_TTL_S, { name: 'Developer', roles: ['admin'] })
      const broker = await startBroker(config, log, development ? { token } : undefined)
      const { PORT: port, OPS_PORT: opsPort, CODING_ASSISTANT_PORT, GEMINI_SESSIONS_PORT } = broker.ports
      const ports = { port, coding_assistant_port: CODING_ASSISTANT_PORT, gemini_sessions_port: GEMINI_SESSIONS_PORT, ops_port: opsPort }
      log.info({ ...ports, source: config.natsUrl === '' ? 'embedded' : 'nats' }, 'ready')
      if (flags.printPorts) process.stdout.write(`${JSON.stringify(ports)}\n`)
      else if (development) console.log(welcome(port, opsPort, token(), config.publishKey))

      let stopping = false
      const stop = (signal: string) => {
        if (stopping) return
        stopping = true
        log.info({ signal, drain_ms: config.drainMs }, 'draining')
        const late = setTimeout(() => process.exit(0), config.drainMs + 700)
        late.unref()
        broker.stop().then(
          () => process.exit(0),
          (error: unknown) => {
            log.error({ reason: String(error) }, 'stopping failed')
            process.exit(1)
          },
        )
      }
      process.on('SIGTERM', () => stop('SIGTERM'))
      process.on('SIGINT', () => (stopping ? process.exit(130) : stop('SIGINT')))
    })
}

function welcome(port: number, opsPort: number, token: string, publishKey: string): string {
  return `
Roomcast is running, with keys made for this folder (.roomcast/), on this machine alone.

  Page:     http://127.0.0.1:${opsPort}/
  Clients:  ws://localhost:${port}/ws?token=<token>
  Token:    ${token}

Watch events arrive, on the page or in another terminal:

  npx roomcast tail game-djinn --port ${port}

Make one arrive:

  curl -X POST http://127.0.0.1:${port}/api/v1/events/game-djinn/sync_progress \\
    -H 'Authorization: Bearer ${publishKey}' \\
    -d '{"data": {"operation_id": "op-1", "status": "in_progress", "progress_percentage": 45, "current_game": {"title": "The Witcher 3: Wild Hunt"}}}'

Ctrl-C stops it.
`
}
