import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import { BUILT_IN_COMMANDS } from '../src/commands/dispatch.ts'
import { codingAssistant } from '../src/applications/coding-assistant.ts'
import type { AnyEvent, Contract } from '../src/contracts/contract.ts'
import { gameDjinn } from '../src/applications/game-djinn.ts'
import { geminiSessions } from '../src/applications/gemini-sessions.ts'
import { orchestratorPortal } from '../src/applications/orchestrator-portal.ts'
import { sweAgent } from '../src/applications/swe-agent.ts'

const ROOT = resolve(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

const CONTRACTS: readonly Contract[] = [gameDjinn, sweAgent, orchestratorPortal, codingAssistant, geminiSessions]

/** Where what the broker itself says on a raw WebSocket is written. */
const RAW_PROTOCOL = [
  'src/commands/authenticate.ts',
  'src/commands/dispatch.ts',
  'src/commands/subscribe.ts',
  'src/gateways/websocket/gateway.ts',
  'src/gateways/websocket/client.ts',
] as const

/** What socket.io-client itself emits, under the names that test/support/socketio-client.ts keeps it by. */
const OF_CLIENT_LIBRARY: Readonly<Record<string, RegExp>> = {
  connect: /\.connects\b|\.connected\(/,
  disconnect: /\.disconnects\b/,
  connect_error: /\.refusals\b|\brefused\(t\b|\brejects\(refused\b/,
  reconnect: /\.connected\(2\)/,
}

interface Row {
  readonly app: string
  readonly direction: string
  readonly name: string
  readonly test: string
  /** The title of the test case. */
  readonly title: string
}

/** Direction, name, test and title, below the heading of their application. */
const ROWS: readonly Row[] = read('docs/applications.md')
  .split(/^## /m)
  .slice(1)
  .flatMap((section) => {
    const app = /`([a-z-]+)`/.exec(section)?.[1] ?? ''
    return section
      .split('\n')
      .filter((line) => /^\| (event|command) \|/.test(line))
      .map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      )
      .map(([direction = '', name = '', test = '', title = '']) => ({
        app,
        direction,
        name: name.replaceAll('`', ''),
        test: /\]\(\.\.\/([^)]+)\)/.exec(test)?.[1] ?? test,
        title,
      }))
  })

const has = (app: string, direction: string, name: string) =>
  ROWS.some((row) => row.app === app && row.direction === direction && row.name === name)
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

/** What a contract's own functions, or the protocol's, tell clients: `{ type: 'name', data …` or `told('name', …`. */
function saidIn(source: string): string[] {
  const literal = [...source.matchAll(/\{\s*type: '([^']+)',\s*data\b/g)].map(([, name = '']) => name)
  const told = [...source.matchAll(/\b(?:told|said)(\([^,]+),/g)].flatMap(([, start = '']) =>
    [...start.matchAll(/[(?:]\s*'([^']+)'/g)].map(([, name = '']) => name),
  )
  return [...new Set([...literal, ...told])]
}

/** The test cases of a file, each from its title to the next. */
function casesOf(source: string): { title: string; body: string }[] {
  const starts = [...source.matchAll(/\b(?:t\.test|scenario)\(\s*(['"`])((?:\\.|(?!\1).)*)\1/g)]
  return starts.map(({ index, 2: title = '' }, i) => ({
    title: title.replaceAll("\\'", "'"),
    body: source.slice(index, starts[i + 1]?.index),
  }))
}

/**
 * A test case names an event or a command as a string, or goes through a table of example events that has it.
 * @returns what is wrong
 */
function covers({ direction, name, test: file, title }: Omit<Row, 'app'>): string | undefined {
  if (!existsSync(join(ROOT, file))) return 'the file does not exist'
  const source = read(file)
  const found = casesOf(source).find(
    (one) => one.title === title || one.title.endsWith(`: ${title}`) || one.title.startsWith(`${title} (\${`),
  )
  if (!found) return 'the file has no such test case'
  if (new RegExp(`['"\`]${escaped(name)}['"\`]`).test(found.body) || OF_CLIENT_LIBRARY[name]?.test(found.body))
    return undefined
  if (direction === 'event' && /\bEXAMPLES\b/.test(found.body)) {
    const imported = /EXAMPLES[^\n]* from '(\.[^']+)'/.exec(source)?.[1]
    const table = imported
      ? read(join(dirname(file), imported))
      : source.slice(source.indexOf('const EXAMPLES'), source.indexOf('t.test('))
    if (new RegExp(`^\\s*(?:\\{ type: )?'?${escaped(name)}'?[:,]|^ +type: '${escaped(name)}'`, 'm').test(table))
      return undefined
  }
  return 'the test case does not name it'
}

t.test('each row names a test that exists, and has the event or command of the row in it', async (t) => {
  t.ok(ROWS.length > 150)
  for (const row of ROWS)
    t.equal(covers(row), undefined, `${row.app}, ${row.direction} ${row.name}: ${row.test}, "${row.title}"`)
})

t.test('a row that names no such file, no such case, or a case of other things is noticed', async (t) => {
  const row = {
    direction: 'command',
    name: 'tool:list',
    test: 'test/integration/gemini-sessions.test.ts',
    title: 'commands reach their services with the session joined last',
  }
  t.equal(covers(row), undefined)
  t.equal(covers({ ...row, test: 'test/integration/nowhere.test.ts' }), 'the file does not exist')
  t.equal(covers({ ...row, title: 'no case of this title' }), 'the file has no such test case')
  t.equal(covers({ ...row, name: 'sync_started' }), 'the test case does not name it')
  t.equal(
    covers({
      ...row,
      direction: 'event',
      name: 'gemini:thought',
      title: 'every event reaches its session on all nodes, with its bare data and its position',
    }),
    undefined,
  )
  t.equal(
    covers({
      ...row,
      name: 'gemini:thought',
      title: 'every event reaches its session on all nodes, with its bare data and its position',
    }),
    'the test case does not name it',
    'examples of events are no commands',
  )
})

t.test('no row stands twice', async (t) => {
  const all = ROWS.map(({ app, direction, name }) => `${app} ${direction} ${name}`)
  t.same(
    all.filter((row, i) => all.indexOf(row) !== i),
    [],
  )
})

for (const contract of CONTRACTS) {
  const { app } = contract
  const raw = contract.endpoints.some(({ transport }) => transport === 'websocket')
  const late = contract.endpoints.flatMap((endpoint) =>
    endpoint.transport === 'socketio' && endpoint.lateAuthentication ? [endpoint.lateAuthentication.command] : [],
  )

  t.test(`every command of ${app}'s contract has a row`, async (t) => {
    for (const name of [
      ...Object.keys(contract.commands ?? {}),
      ...late,
      ...(raw ? Object.keys(BUILT_IN_COMMANDS) : []),
    ])
      t.ok(has(app, 'command', name), name)
  })

  t.test(`every event of ${app}'s contract, and all that the broker itself says there, has a row`, async (t) => {
    const own = readdirSync(join(ROOT, 'src/applications'))
      .filter((file) => file.startsWith(app.split('-')[0] as string))
      .map((file) => `src/applications/${file}`)
    const said = [...own, ...(raw ? RAW_PROTOCOL : [])].flatMap((file) => saidIn(read(file)))
    t.ok(said.length > 0)
    // What is forwarded to a service under a name of its own is a command there, not an event.
    for (const name of [...Object.keys(contract.events), ...said])
      t.ok(has(app, 'event', name) || (!(name in contract.events) && has(app, 'command', name)), name)
  })

  t.test(`every event and command in the document of ${app} has a row`, async (t) => {
    const document = join(ROOT, '..', 'shared', 'specs', `${app}.md`)
    // A clone elsewhere has no documents beside it.
    if (!existsSync(document)) return
    const names = namesIn(readFileSync(document, 'utf8'))
    t.ok(names.length > 15)
    for (const name of names) t.ok(has(app, 'event', name) || has(app, 'command', name), name)
  })
}

/** Names in headings, in `on(…)` and `emit(…)`, in the list of types, and those of whole JSON messages. */
function namesIn(document: string): string[] {
  const patterns = [
    /^#+ `([^`]+)`/gm,
    /\.(?:on|once|emit)\(\s*['"]([^'"]+)['"]/g,
    /^ {2}'([^']+)' = '\1'/gm,
    /^\{\n {2}"type": "([^"]+)"/gm,
  ]
  // "*" is no name, "event_type" stands for one, and of "connection.established" the name is the heading's.
  const placeholders = ['*', 'event_type', 'connection.established', 'connection.error']
  return [
    ...new Set(patterns.flatMap((pattern) => [...document.matchAll(pattern)].map(([, name = '']) => name))),
  ].filter((name) => !placeholders.includes(name))
}

t.test(
  'a project that has no text, like {toString: 1}, threw in the function that says what an event replaces',
  async (t) => {
    const lastValue = orchestratorPortal.events.task_update?.lastValue
    const of = (data: Record<string, unknown>) =>
      lastValue?.({ app: 'orchestrator-portal', type: 'task_update', data } as unknown as AnyEvent)
    t.equal(of({ project_name: { toString: 1 }, task_id: 'a' }), ' a')
    t.equal(of({ project_name: 'p', task_id: 'a' }), 'p a')
    t.equal(of({ project_name: 'p' }), undefined)
  },
)
