import { execFileSync, spawn } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { LogDestination } from '../../src/ops/log-destination.ts'
import { SECRET } from '../support/broker.ts'

const ENTRY = new URL('../../dist/main.js', import.meta.url).pathname

t.test(
  'who reads the log stands still: lines are left out instead of holding everything up, and are told of once somebody reads on',
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'roomcast-log-'))
    t.teardown(() => rmSync(folder, { recursive: true, force: true }))
    const path = join(folder, 'pipe')
    execFileSync('mkfifo', [path])
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = openSync(path, constants.O_WRONLY)
    t.teardown(() => [reader, writer].forEach(closeSync))
    const log = new LogDestination(writer)
    const lines = Array.from({ length: 3_000 }, (_, n) => `{"n":${n},"msg":"${'x'.repeat(100)}"}\n`)
    for (const line of lines) log.write(line)
    const read = () => {
      const bytes = Buffer.alloc(1 << 20)
      return bytes.toString('utf8', 0, readSync(reader, bytes))
    }
    const before = read()
    log.write('{"msg":"the next"}\n')
    log.write('{"msg":"the last"}\n')
    const all = (before + read()).split('\n')
    const whole = all.map(
      (line) => (line === '' ? {} : JSON.parse(line)) as { n?: number; msg?: string; lines?: number },
    )
    const written = whole.filter(({ n }) => n !== undefined).map(({ n }) => n)
    t.same(
      written,
      written.map((_, n) => n),
      'from the first on, whole, none twice',
    )
    t.same(
      whole.slice(-4).map(({ msg, lines: missing }) => msg ?? missing),
      ['log lines are missing here: nobody took them', 'the next', 'the last', undefined],
    )
    t.equal(written.length + (whole.find((line) => line.lines !== undefined)?.lines ?? 0), lines.length)
  },
)

t.test('a disk that is full takes no line, and nobody fails for it', async () => {
  const full = openSync('/dev/full', 'w')
  new LogDestination(full).write('{}\n')
  closeSync(full)
})

t.test('a log whose disk is full kept the broker from starting, and ended one that ran', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-log-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const full = openSync('/dev/full', 'w')
  const broker = spawn(process.execPath, [ENTRY, 'serve', '--print-ports'], {
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      HOME: folder,
      JWT_SECRET: SECRET,
      HOST: '127.0.0.1',
      PORT: '0',
      CODING_ASSISTANT_PORT: '0',
      GEMINI_SESSIONS_PORT: '0',
      OPS_PORT: '0',
      DRAIN_MS: '0',
    },
    stdio: ['ignore', 'pipe', full],
  })
  t.teardown(() => closeSync(full))
  const ended = new Promise((resolve) => broker.once('exit', resolve))
  t.teardown(() => broker.kill('SIGKILL'))
  const said = await Promise.race([
    ended,
    new Promise((resolve) => broker.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString()))),
  ])
  t.match(said, /"port"/)
  broker.kill('SIGTERM')
  t.equal(await ended, 0)
})
