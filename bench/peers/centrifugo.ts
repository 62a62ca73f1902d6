import { execFile, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { Child } from '../process/child.ts'
import { temporaryFolder } from '../process/folder.ts'
import { ROOT } from '../process/built.ts'
import { subjectOf } from '../events/workload.ts'
import { freePort, type Peer } from './peer.ts'
import type { Probe } from './programs/probe.ts'

const MODULE = 'github.com/centrifugal/centrifugo/v6@latest'
const OWN_BIN = join(ROOT, '.roomcast', 'bin')
const INSTALL_TIMEOUT_MS = 600_000
const START_TIMEOUT_MS = 20_000

/** Centrifugo with NATS as its broker, in raw mode: what is published on a subject goes to the channel of its name. */
export const centrifugo: Peer = {
  name: 'centrifugo',
  title: 'Centrifugo',
  about:
    'Version 6, NATS broker in raw mode, JSON protocol, HS256 token checked, write buffer pool. No history: the NATS broker has none',
  unavailable: async () => {
    const found = await binary()
    return 'path' in found ? undefined : found.reason
  },
  async start({ natsUrl, workload, core, jwtSecret, port }) {
    const found = await binary()
    if (!('path' in found)) throw new Error(found.reason)
    const listening = port || (await freePort())
    const file = join(temporaryFolder(), 'config.json')
    writeFileSync(file, JSON.stringify(configuration(natsUrl, jwtSecret, listening)))
    const child = new Child<Probe>({
      name: 'the server (Centrifugo)',
      command: found.path,
      args: ['--config', file],
      core,
    })
    await Promise.race([listens(listening), child.waitForOutput(/no such output/)])
    return {
      child,
      target: { dialect: 'centrifugo', port: listening, path: '/connection/websocket', subscribe: subjectOf(workload) },
      publish: { url: natsUrl, core: false },
      probed: false,
    }
  },
}

/** Option names: https://centrifugal.dev/docs/server/configuration and /docs/server/engines#nats-raw-mode */
function configuration(natsUrl: string, jwtSecret: string, port: number): object {
  return {
    http_server: { address: '127.0.0.1', port },
    log: { level: 'error' },
    client: { token: { hmac_secret_key: jwtSecret }, connection_limit: 1_000_000 },
    channel: { without_namespace: { allow_subscribe_for_client: true } },
    broker: { enabled: true, type: 'nats', nats: { url: natsUrl, raw_mode: { enabled: true } } },
    websocket: { use_write_buffer_pool: true },
    usage_stats: { disabled: true },
  }
}

/** Its log says nothing at this level, so its port is tried. */
async function listens(port: number): Promise<void> {
  const giveUpMs = Date.now() + START_TIMEOUT_MS
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: '127.0.0.1', port })
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
    if (open) return
    if (Date.now() > giveUpMs) throw new Error(`Centrifugo does not listen after ${START_TIMEOUT_MS / 1000} s`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

let known: { path: string } | { reason: string } | undefined

/** CENTRIFUGO_BIN, else PATH, else what Go builds, once. */
async function binary(): Promise<{ path: string } | { reason: string }> {
  known ??= await look()
  return known
}

async function look(): Promise<{ path: string } | { reason: string }> {
  const named = process.env.CENTRIFUGO_BIN
  if (named !== undefined)
    return existsSync(named) ? { path: named } : { reason: `CENTRIFUGO_BIN=${named} does not exist` }
  const path = [...(process.env.PATH ?? '').split(delimiter), OWN_BIN]
    .map((folder) => join(folder, 'centrifugo'))
    .find(existsSync)
  if (path !== undefined) return { path }
  if (spawnSync('go', ['version']).status !== 0)
    return {
      reason: 'centrifugo is not on PATH (CENTRIFUGO_BIN names another place), and there is no Go to build it with',
    }
  mkdirSync(OWN_BIN, { recursive: true })
  try {
    await promisify(execFile)('go', ['install', MODULE], {
      env: { ...process.env, GOBIN: OWN_BIN, GOFLAGS: '-mod=mod' },
      timeout: INSTALL_TIMEOUT_MS,
    })
    return { path: join(OWN_BIN, 'centrifugo') }
  } catch (error) {
    const said = String((error as { stderr?: string }).stderr ?? error).trim()
    return {
      reason: `centrifugo is not on PATH (CENTRIFUGO_BIN names another place), and go install ${MODULE} failed: ${said.split('\n').pop()?.trim()}`,
    }
  }
}
