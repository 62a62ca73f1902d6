import { execFile, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { StringCodec } from 'nats'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'

/** The programs of docs/clients.md, run as they are there, and what Python's own handlers need. */

const ROOT = new URL('../..', import.meta.url).pathname
const VENV = join(ROOT, 'node_modules', '.cache', 'python')
const PACKAGES = ['python-socketio[client,asyncio_client]', 'requests', 'websocket-client', 'aiohttp', 'websockets']
const codec = StringCodec()
const run = promisify(execFile)

/** Handlers of one argument, as Python's documentation shows them. */
const ONE_ARGUMENT = `
import os, socketio
sio = socketio.Client(reconnection=False)
@sio.on("pr.updated", namespace="/ws")
def updated(data):
    print("event", data["data"]["n"], flush=True)
    if data["data"]["n"] == 9:
        sio.disconnect()
@sio.on("subscribed", namespace="/ws")
def subscribed(data):
    print("subscribed", data["rooms"], flush=True)
auth = {"token": os.environ["ROOMCAST_TOKEN"], "rooms": ["project:p"], "positions": False}
sio.connect(os.environ["ROOMCAST_URL"], auth=auth, namespaces=["/", "/ws"])
sio.wait()
`

const PULL_REQUEST = { pr_id: 'x', project_id: 'p' }
const python = await findPython()

t.test('JavaScript: the program of docs/clients.md misses nothing when the broker is killed', (t) =>
  comesBack(
    t,
    [process.execPath, '--input-type=module', '-e', programOf('JavaScript', 'js')],
    'swe-agent.pr.updated',
    PULL_REQUEST,
    true,
  ),
)

if (python === undefined)
  t.comment('No Python tests: there is no python3 with python-socketio and websockets, and none could be made')
else {
  t.test('python-socketio: handlers of one argument get events of auth.positions false, / is opened first', (t) =>
    comesBack(t, [python, '-c', ONE_ARGUMENT], 'swe-agent.pr.updated', PULL_REQUEST, false),
  )
  t.test('python-socketio: the program of docs/clients.md misses nothing when the broker is killed', (t) =>
    comesBack(t, [python, '-c', programOf('`python-socketio`', 'python')], 'swe-agent.pr.updated', PULL_REQUEST, true),
  )
  t.test('websockets: the program of docs/clients.md misses nothing when the broker is killed', (t) =>
    comesBack(t, [python, '-c', programOf('`websockets`', 'python')], 'game-djinn.game_added', {}, true),
  )
}

/** @param killed the broker is killed after the third event, and others are stored before it is back */
async function comesBack(
  t: Test,
  [command, ...args]: readonly string[],
  subject: string,
  data: object,
  killed: boolean,
): Promise<void> {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const broker = await TestBroker.start({ NATS_URL: nats.url })
  t.teardown(() => broker.stop())
  const stream = await nats.jetstream()
  const publish = (n: number) =>
    stream.publish(`events.${subject}`, codec.encode(JSON.stringify({ data: { ...data, n } })))
  const child = spawn(command as string, args, {
    cwd: ROOT,
    env: {
      PATH: process.env.PATH,
      ROOMCAST_URL: `http://127.0.0.1:${broker.port}`,
      ROOMCAST_TOKEN: token('u', { project_access: ['p'] }),
    },
  })
  t.teardown(() => child.kill('SIGKILL'))
  let out = ''
  let faults = ''
  child.stdout.on('data', (chunk) => {
    out += chunk
  })
  child.stderr.on('data', (chunk) => {
    faults += chunk
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const numbers = () => [...out.matchAll(/^event (\d+)$/gm)].map(([, n]) => Number(n))
  await eventually(() => out.includes('subscribed')).catch(() => t.fail(faults))
  for (const n of [0, 1, 2]) await publish(n)
  await eventually(() => numbers().length === 3).catch(() => t.fail(faults))
  if (killed) await broker.kill('SIGKILL')
  for (const n of [3, 4, 5]) await publish(n)
  if (killed) await broker.run()
  for (const n of [6, 7, 8, 9]) await publish(n)
  t.equal(await ended, 0, faults)
  t.same(numbers(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 'every event once, in order')
  t.notMatch(out, 'events_missed')
  t.equal(faults, '')
}

/** The program below a heading. */
function programOf(heading: string, language: string): string {
  const page = readFileSync(join(ROOT, 'docs', 'clients.md'), 'utf8')
  const section = page.slice(page.indexOf(heading, page.indexOf('## ')))
  return section.split(`\`\`\`${language}\n`)[1]?.split('```')[0] ?? ''
}

/** One that has the packages, or a venv of the tests' own. */
async function findPython(): Promise<string | undefined> {
  const own = join(VENV, 'bin', 'python')
  for (const command of ['python3', own]) if (await hasPackages(command)) return command
  try {
    if (!existsSync(own)) await run('python3', ['-m', 'venv', VENV], { timeout: 60_000 })
    await run(own, ['-m', 'pip', 'install', '-q', ...PACKAGES], { timeout: 120_000 })
    return (await hasPackages(own)) ? own : undefined
  } catch {
    return undefined
  }
}

async function hasPackages(command: string): Promise<boolean> {
  const probe = 'import socketio, websockets.asyncio.client, aiohttp, requests, websocket'
  return run(command, ['-c', probe], { timeout: 30_000 }).then(
    () => true,
    () => false,
  )
}
