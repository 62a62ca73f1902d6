import { createServer } from 'node:net'
import { Child } from '../process/child.ts'
import type { Core } from '../machine/cores.ts'
import type { Target } from '../load/dialects/target.ts'
import { built } from '../process/built.ts'
import type { Workload } from '../events/workload.ts'
import type { Probe } from './programs/probe.ts'

export type PeerName = 'roomcast' | 'raw' | 'socketio-uws' | 'socketio-ws' | 'nats' | 'centrifugo'

/** A side of a comparison: a server, or another build of Roomcast. */
export type Side = PeerName | 'before'

/** A server under test: Roomcast, or one that it is set beside. */
export interface Peer {
  readonly name: Side
  readonly title: string
  /** Its settings, and what Roomcast does that it does not. */
  readonly about: string
  /** @returns why it cannot run here */
  unavailable?(): Promise<string | undefined>
  start(options: ServerOptions): Promise<Server>
}

/** A server that runs. */
export interface Server {
  readonly child: Child<Probe>
  readonly target: Target
  /** Where its events are published. */
  readonly publish: { readonly url: string; readonly core: boolean }
  /** Whether its heap can be looked at (Node alone). */
  readonly probed: boolean
  /** Where `/metrics` is, if it has any. */
  readonly opsPort?: number
}

export interface ServerOptions {
  readonly natsUrl: string
  readonly workload: Workload
  readonly core: Core | undefined
  readonly jwtSecret: string
  /** Clients subscribe to the raw server by message too. */
  readonly rawByMessage: boolean
  /** Folder for a CPU profile, or undefined: none. */
  readonly profile: string | undefined
  /** 0: any free port. A server that was killed restarts on its port. */
  readonly port: number
  /** Further environment of Roomcast. */
  readonly env: Env
}

export type Env = Readonly<Record<string, string>>

/** Limits that all sides run with: Roomcast's defaults. */
export const LIMITS = { IDLE_TIMEOUT_S: '120', MAX_BACKPRESSURE_BYTES: '262144' }

/** Starts a server of Node's, as plain JavaScript, with the probe in it. */
export function startNode(
  title: string,
  program: readonly string[],
  env: Env,
  { core, profile }: ServerOptions,
): Child<Probe> {
  const profiling = profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${profile}`]
  const args = ['--expose-gc', ...profiling, '--import', built('peers/programs/probe'), ...program]
  return new Child<Probe>({
    name: `the server (${title})`,
    command: process.execPath,
    args,
    core,
    env: { ...env, BENCH_PID: String(process.pid) },
  })
}

/** Reads the line with its ports. */
export async function portsOf(child: Child<Probe>): Promise<{ port: number; ops_port?: number }> {
  const [line] = await child.waitForOutput(/^\{"port":.*\}$/m)
  return JSON.parse(line)
}

/**
 * A port that was free a moment ago. A server that listens on port 0 could not restart on the port it got:
 * uWebSockets.js sets no SO_REUSEADDR then.
 */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
