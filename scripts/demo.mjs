// npm run demo: a nats-server, the broker, and a made-up backend for each of the five applications. Ctrl-C ends all of
// it.
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build, ensureNatsServer, ensurePackages, root } from './setup.mjs'

ensurePackages()
ensureNatsServer("The demo's backends speak to the broker over NATS, so it")
if (!process.argv.includes('--no-build')) build()
const { connectBackend } = await import('./demo/backend.mjs')
const { startGameDjinn } = await import('./demo/game-djinn.mjs')
const { startSweAgent } = await import('./demo/swe-agent.mjs')
const { startOrchestratorPortal } = await import('./demo/orchestrator-portal.mjs')
const { startCodingAssistant } = await import('./demo/coding-assistant.mjs')
const { startGeminiSessions } = await import('./demo/gemini-sessions.mjs')

const ENTRY = join(root, 'dist', 'main.js')
const CLIENTS_IN_DEVELOPMENT = { HOST: '127.0.0.1', LOG_LEVEL: 'warn', DRAIN_MS: '500', ...process.env }
const folder = mkdtempSync(join(tmpdir(), 'roomcast-demo-'))
const children = []
const ends = []
let stopping = false

process.on('SIGINT', () => stop(0))
process.on('SIGTERM', () => stop(0))
process.on('SIGHUP', () => stop(0))
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})

try {
  const natsUrl = await startNats()
  const env = { ...CLIENTS_IN_DEVELOPMENT, NATS_URL: natsUrl }
  const ports = await startBroker(env)
  const coding = `http://127.0.0.1:${ports.coding_assistant_port}`
  await startBackend(natsUrl, 'game-djinn', startGameDjinn)
  await startBackend(natsUrl, 'swe-agent', startSweAgent)
  await startBackend(natsUrl, 'orchestrator-portal', startOrchestratorPortal)
  await startBackend(natsUrl, 'coding-assistant', (backend) => startCodingAssistant(backend, coding))
  await startBackend(natsUrl, 'gemini-sessions', startGeminiSessions)
  const token =
    env.JWT_PUBLIC_KEY || env.JWKS_URL
      ? undefined
      : execFileSync(process.execPath, [ENTRY, 'token', 'dev', '--roles', 'admin', '--name', 'Developer'], {
          cwd: root,
          env,
        })
          .toString()
          .trim()
  if (!stopping)
    console.log(
      process.argv.includes('--print-ports')
        ? JSON.stringify({ ...ports, nats_url: natsUrl, token })
        : welcome(ports, natsUrl, token),
    )
} catch (error) {
  if (!stopping) {
    console.error(`roomcast demo: ${error.message}`)
    await stop(1)
  }
}

async function startBackend(natsUrl, app, start) {
  const backend = await connectBackend(natsUrl, app)
  ends.push(() => backend.stop())
  const end = await start(backend)
  if (end) ends.push(end)
  await backend.flush()
}

/** On a port that is free, with its data in a temporary folder. */
async function startNats() {
  const said = start('nats-server', 'nats-server', ['-a', '127.0.0.1', '-p', '-1', '-js', '-sd', folder], {
    stdio: ['ignore', 'ignore', 'pipe'],
  }).stderr
  let log = ''
  return new Promise((resolve) => {
    said.on('data', (chunk) => {
      log += chunk
      const port = /Listening for client connections on \S+:(\d+)/.exec(log)?.[1]
      if (port && log.includes('Server is ready')) resolve(`nats://127.0.0.1:${port}`)
    })
  })
}

async function startBroker(env) {
  const { stdout } = start('The broker', process.execPath, [ENTRY, 'serve', '--print-ports'], {
    cwd: root,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let line = ''
  return new Promise((resolve) => {
    stdout.on('data', (chunk) => {
      line += chunk
      if (line.includes('\n')) resolve(JSON.parse(line))
    })
  })
}

/**
 * In a process group of its own, so that Ctrl-C reaches it through this process alone, in order. One that ends by
 * itself ends the demo.
 */
function start(name, command, args, options) {
  const child = spawn(command, args, { ...options, detached: true })
  children.push(child)
  child.on('error', (error) => lost(name, error.message))
  child.on('exit', (code, signal) => lost(name, `ended (${code ?? signal})`))
  return child
}

function lost(name, why) {
  if (stopping) return
  console.error(`roomcast demo: ${name}: ${why}`)
  stop(1)
}

/** The backends, then the broker, then NATS. Asked again, at once. */
async function stop(code) {
  if (stopping) process.exit(130)
  stopping = true
  for (const end of ends) await Promise.resolve(end()).catch(() => {})
  for (const child of [...children].reverse()) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    await gone
  }
  process.exit(code)
}

function welcome({ port, coding_assistant_port, gemini_sessions_port, ops_port }, natsUrl, token) {
  return `
The demo of Roomcast is running: everything that you see is made up, by small backends that speak to the broker over NATS.

  Page:                 http://127.0.0.1:${ops_port}/
  NATS:                 ${natsUrl}
  Game Djinn:           ws://127.0.0.1:${port}/ws                 subscribe to sync_progress, ai_chat, notifications
  SWE Agent:            http://127.0.0.1:${port}/ws               (Socket.IO) room project:demo
  Orchestrator Portal:  http://127.0.0.1:${port}/project/demo     (Socket.IO) and /portal /chat/demo /monitoring /admin
  Coding Assistant:     http://127.0.0.1:${coding_assistant_port}                  (Socket.IO) auth:session {sessionId: "demo-ann"}, project demo
  Gemini Sessions:      http://127.0.0.1:${gemini_sessions_port}                  (Socket.IO) session demo

  Token (an admin's, for a day): ${token ?? 'from whoever has the private key'}

Watch it:

  npx roomcast tail game-djinn --port ${port}

Ctrl-C stops all of it.
`
}
