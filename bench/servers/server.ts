import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { Child } from '../child.ts'
import type { Target } from '../client/connection.ts'
import type { Core } from '../cores.ts'
import type { Probe } from './probe.ts'

/** A server under test. */
export interface Server {
  readonly child: Child<Probe>
  readonly target: Target
}

export type Side = 'raw' | 'roomcast'

export interface ServerOptions {
  readonly natsUrl: string
  readonly app: string
  readonly type: string
  readonly core: Core | undefined
  readonly jwtSecret: string
  /** Clients subscribe to the raw server by message too. */
  readonly rawByMessage: boolean
  /** Folder for a CPU profile, or undefined: none. */
  readonly profile: string | undefined
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Limits that both sides run with: Roomcast's defaults. */
const LIMITS = { IDLE_TIMEOUT_S: '120', MAX_BACKPRESSURE_BYTES: '262144' }

/** Starts a server and waits until it listens. Both run as plain JavaScript, without a loader in the process. */
export async function startServer(side: Side, options: ServerOptions): Promise<Server> {
  const { natsUrl, app, type, jwtSecret, rawByMessage } = options
  const subscribe = JSON.stringify({ type: 'subscribe', data: { events: [type] } })
  const env = { ...LIMITS, NATS_URL: natsUrl }
  if (side === 'raw') {
    const child = launch('the raw server', [compiled('raw')], { ...env, SUBJECT: subjectOf(app, type), ...(rawByMessage ? { BY_MESSAGE: '' } : undefined) }, options)
    return { child, target: { port: await portOf(child), path: '/ws', ...(rawByMessage ? { subscribe } : undefined) } }
  }
  const child = launch(
    'the broker',
    [join(ROOT, 'dist', 'main.js'), 'serve', '--print-ports'],
    { ...env, JWT_SECRET: jwtSecret, HOST: '127.0.0.1', PORT: '0', OPS_PORT: '0', MAX_CONNECTIONS: '1000000', LOG_LEVEL: 'warn' },
    options,
  )
  return { child, target: { port: await portOf(child), path: '/ws', subscribe } }
}

export function subjectOf(app: string, type: string): string {
  return `events.${app}.${type}`
}

function launch(name: string, program: readonly string[], env: Readonly<Record<string, string>>, { core, profile }: ServerOptions): Child<Probe> {
  const profiling = profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${profile}`]
  return new Child<Probe>({ name, command: process.execPath, args: ['--expose-gc', ...profiling, '--import', compiled('probe'), ...program], core, env })
}

async function portOf(child: Child<Probe>): Promise<number> {
  const [line] = await child.says(/^\{"port":.*\}$/m)
  return JSON.parse(line).port
}

/** Compiles a file beside this one. @returns the JavaScript's path, within the project so that it finds its packages */
function compiled(name: string): string {
  const outfile = join(ROOT, '.roomcast', 'bench', `${name}.mjs`)
  buildSync({ entryPoints: [join(ROOT, 'bench', 'servers', `${name}.ts`)], outfile, bundle: true, packages: 'external', platform: 'node', format: 'esm', target: 'node20' })
  return outfile
}
