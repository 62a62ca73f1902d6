import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { transformSync } from 'esbuild'
import t from 'tap'
import { TestBroker } from '../support/broker.ts'
import { ask, connect, join as joinSession } from '../support/gemini.ts'
import { TestNats } from '../support/nats.ts'

const nats = await TestNats.start()
const broker = await TestBroker.start({ NATS_URL: nats.url })
const folder = mkdtempSync(join(tmpdir(), 'roomcast-backends-'))
const MODULES = new URL('../../node_modules', import.meta.url).pathname
symlinkSync(MODULES, join(folder, 'node_modules'))
t.teardown(async () => {
  await broker.stop()
  await nats.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** The program of that language in docs/backends.md, as printed there. */
function documented(language: string): string {
  const text = readFileSync(new URL('../../docs/backends.md', import.meta.url), 'utf8')
  return new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``).exec(text)?.[1] as string
}

const PYTHON = process.env.PYTHON ?? 'python3'
const python = spawnSync(PYTHON, ['-c', 'import nats']).status === 0

const services: [name: string, command: string, file: string, source: string, here: boolean][] = [
  [
    'TypeScript',
    process.execPath,
    'service.mjs',
    transformSync(documented('ts'), { loader: 'ts', format: 'esm' }).code,
    true,
  ],
  ['Python', PYTHON, 'service.py', documented('python'), python],
]

for (const [name, command, file, source, here] of services) {
  t.test(
    `the documented service in ${name} answers a command and streams its answer`,
    { skip: here ? false : 'no python3 with nats-py here' },
    async (t) => {
      writeFileSync(join(folder, file), source)
      const service: ChildProcess = spawn(command, [join(folder, file)], {
        env: { PATH: process.env.PATH, NATS_URL: nats.url },
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const ended = new Promise((resolve) => service.once('exit', resolve))
      t.teardown(async () => {
        service.kill('SIGKILL')
        await ended
      })
      await new Promise((resolve, reject) => {
        service.stdout?.once('data', resolve)
        ended.then(() => reject(new Error('the service ended')))
      })
      const client = await connect(broker)
      t.teardown(() => client.close())
      await joinSession(client, `session-${name}`)
      t.match(await ask(client, 'gemini:done', 'chat:message', { content: 'hello out there' }), {
        fullResponse: 'You said: hello out there',
        timestamp: String,
      })
      t.same(
        client.of('gemini:content').map(([{ text }]) => text),
        ['You ', 'said: ', 'hello ', 'out ', 'there'],
      )
      t.equal(client.of('gemini:content').at(-1)?.[0].accumulated, 'You said: hello out there')
      t.same(client.of('gemini:error'), [])
    },
  )
}
