import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { Child } from '../child.ts'
import type { Target } from '../client/dialogue.ts'
import type { Core } from '../cores.ts'
import { type Protocol, type Side, SIDE_NAMES, subjectOf } from '../protocol.ts'
import type { Probe } from './probe.ts'

/** A server under test. */
export interface Server {
  readonly child: Child<Probe>
  readonly target: Target
}

export interface ServerOptions {
  readonly natsUrl: string
  readonly protocol: Protocol
  readonly core: Core | undefined
  readonly jwtSecret: string
  /** Clients subscribe to the raw server by message too. */
  readonly rawByMessage: boolean
  /** Folder for a CPU profile, or undefined: none. */
  readonly profile: string | undefined
}

type Env = Readonly<Record<string, string>>

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Limits that all sides run with: Roomcast's defaults. */
const LIMITS = { IDLE_TIMEOUT_S: '120', MAX_BACKPRESSURE_BYTES: '262144' }
const ANY_PORTS = { PORT: '0', OPS_PORT: '0', CODING_ASSISTANT_PORT: '0', GEMINI_SESSIONS_PORT: '0' }
const SOCKETIO_PATH = '/socket.io/?EIO=4&transport=websocket'

/** Starts a server and waits until it listens. All run as plain JavaScript, without a loader in the process. */
export async function startServer(side: Side, options: ServerOptions): Promise<Server> {
  const { protocol, rawByMessage } = options
  const { namespace } = protocol
  const child = launch(side, options)
  const [line] = await child.says(/^\{"port":.*\}$/m)
  const port = JSON.parse(line).port
  if (side !== 'raw' && namespace !== undefined) return { child, target: { port, path: SOCKETIO_PATH, namespace } }
  const subscribe = JSON.stringify({ type: 'subscribe', data: { events: [protocol.type] } })
  return { child, target: { port, path: '/ws', ...(side === 'raw' && !rawByMessage ? undefined : { subscribe }) } }
}

function launch(side: Side, options: ServerOptions): Child<Probe> {
  const { natsUrl, protocol, jwtSecret, rawByMessage } = options
  const { namespace, room } = protocol
  const env = { ...LIMITS, NATS_URL: natsUrl, JWT_SECRET: jwtSecret }
  const events = { SUBJECT: subjectOf(protocol), TYPE: protocol.type, ...(namespace === undefined ? undefined : { SOCKETIO_NAMESPACE: namespace }) }
  switch (side) {
    case 'raw':
      return start(side, [compiled('raw')], { ...env, ...events, ...(rawByMessage ? { BY_MESSAGE: '' } : undefined) }, options)
    case 'roomcast':
      return start(side, [join(ROOT, 'dist', 'main.js'), 'serve', '--print-ports'], { ...env, ...ANY_PORTS, HOST: '127.0.0.1', MAX_CONNECTIONS: '1000000', LOG_LEVEL: 'warn' }, options)
    default:
      return start(side, [compiled('socketio')], { ...env, ...events, ROOM: room ?? '', ...(side === 'socketioUws' ? { ON_UWS: '' } : undefined) }, options)
  }
}

function start(side: Side, program: readonly string[], env: Env, { core, profile }: ServerOptions): Child<Probe> {
  const profiling = profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${profile}`]
  return new Child<Probe>({ name: `the server (${SIDE_NAMES[side]})`, command: process.execPath, args: ['--expose-gc', ...profiling, '--import', compiled('probe'), ...program], core, env })
}

/** Compiles a file beside this one. @returns the JavaScript's path, within the project so that it finds its packages */
function compiled(name: string): string {
  const outfile = join(ROOT, '.roomcast', 'bench', `${name}.mjs`)
  buildSync({ entryPoints: [join(ROOT, 'bench', 'servers', `${name}.ts`)], outfile, bundle: true, packages: 'external', platform: 'node', format: 'esm', target: 'node20' })
  return outfile
}
