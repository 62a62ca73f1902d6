import { spawn } from 'node:child_process'
import t from 'tap'
import { SECRET } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'

const ENTRY = new URL('../../dist/main.js', import.meta.url).pathname
const FILES = 300
const FITTING = 100

t.test(
  'past the files that it may open, a broker refuses clients with a clear answer, and said so at its start',
  async (t) => {
    const env = {
      PATH: process.env.PATH,
      JWT_SECRET: SECRET,
      HOST: '127.0.0.1',
      PORT: '0',
      CODING_ASSISTANT_PORT: '0',
      GEMINI_SESSIONS_PORT: '0',
      OPS_PORT: '0',
      MAX_CONNECTIONS: '5000',
    }
    const broker = spawn(
      'sh',
      ['-c', `ulimit -n ${FILES} && exec "$0" "$1" serve --print-ports`, process.execPath, ENTRY],
      { env, stdio: ['ignore', 'pipe', 'pipe'] },
    )
    t.teardown(async () => {
      const gone = new Promise((resolve) => broker.once('exit', resolve))
      broker.kill('SIGKILL')
      await gone
    })
    const said = { out: '', err: '' }
    broker.stdout.on('data', (chunk: Buffer) => {
      said.out += chunk
    })
    broker.stderr.on('data', (chunk: Buffer) => {
      said.err += chunk
    })
    await eventually(() => said.out.includes('\n'))
    t.match(
      said.err,
      `MAX_CONNECTIONS=5000, but a process may open ${FILES} files here: each accepts ${FITTING} connections`,
    )
    const { port } = JSON.parse(said.out)
    const clients = await Promise.all(
      Array.from({ length: FITTING + 5 }, () => TestClient.connect(`ws://127.0.0.1:${port}/ws`)),
    )
    t.teardown(async () => {
      for (const client of clients) await client.close()
    })
    await eventually(() => clients.every(({ frames }) => frames.length > 0))
    t.equal(clients.filter(({ frames }) => frames[0]?.type === 'connection_established').length, FITTING)
    for (const client of clients.filter(({ frames }) => frames[0]?.type !== 'connection_established'))
      t.equal(client.frames[0]?.data.error_code, 'TOO_MANY_CONNECTIONS')
  },
)
