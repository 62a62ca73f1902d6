import { BROKER, built } from '../process/built.ts'
import { LIMITS, type Peer, portsOf, startNode } from './peer.ts'
import { targetOf } from './target.ts'

const ANY_PORTS = { OPS_PORT: '0', CODING_ASSISTANT_PORT: '0', GEMINI_SESSIONS_PORT: '0' }

export const BEFORE_TITLE = 'Roomcast before'

/** The broker as users start it. */
export const roomcast: Peer = {
  name: 'roomcast',
  title: 'Roomcast',
  about: '`roomcast serve` with its defaults; JetStream, HS256 tokens checked, positions and recovery',
  start: starting(BROKER),
}

/** Another build of the broker, to be set beside this one. @param program its `dist/main.js` */
export function roomcastBefore(program: string): Peer {
  return { name: 'before', title: BEFORE_TITLE, about: `the build of ${program}`, start: starting(program) }
}

function starting(program: string): Peer['start'] {
  return async (options) => {
    const { natsUrl, jwtSecret, workload, port, env } = options
    const contract = workload.app === 'bench' ? { CONTRACTS: built('contract') } : undefined
    const limits = { MAX_CONNECTIONS: '1000000', COMMANDS_PER_MINUTE: '1000000' }
    const child = startNode(
      roomcast.title,
      [program, 'serve', '--print-ports'],
      {
        ...LIMITS,
        ...limits,
        ...ANY_PORTS,
        ...contract,
        NATS_URL: natsUrl,
        JWT_SECRET: jwtSecret,
        HOST: '127.0.0.1',
        PORT: String(port),
        LOG_LEVEL: 'warn',
        ...env,
      },
      options,
    )
    const ports = await portsOf(child)
    return {
      child,
      target: targetOf(workload, ports.port),
      publish: { url: natsUrl, core: false },
      probed: true,
      opsPort: ports.ops_port,
    }
  }
}
