import { BROKER, built } from '../root.ts'
import { LIMITS, type Peer, portsOf, startNode } from './peer.ts'
import { targetOf } from './target.ts'

const ANY_PORTS = { OPS_PORT: '0', CODING_ASSISTANT_PORT: '0', GEMINI_SESSIONS_PORT: '0' }

/** The broker as users start it. */
export const roomcast: Peer = {
  name: 'roomcast',
  title: 'Roomcast',
  about: '`roomcast serve` with its defaults; JetStream, HS256 tokens checked, positions and recovery',
  async start(options) {
    const { natsUrl, jwtSecret, workload, port, env } = options
    const contract = workload.app === 'bench' ? { CONTRACTS: built('contract') } : undefined
    const limits = { MAX_CONNECTIONS: '1000000', COMMANDS_PER_MINUTE: '1000000' }
    const child = startNode(
      roomcast.title,
      [BROKER, 'serve', '--print-ports'],
      { ...LIMITS, ...limits, ...ANY_PORTS, ...contract, NATS_URL: natsUrl, JWT_SECRET: jwtSecret, HOST: '127.0.0.1', PORT: String(port), LOG_LEVEL: 'warn', ...env },
      options,
    )
    const ports = await portsOf(child)
    return { child, target: targetOf(workload, ports.port), publish: { url: natsUrl, core: false }, probed: true, opsPort: ports.ops_port }
  },
}
