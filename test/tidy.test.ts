import { readdirSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import t from 'tap'

const SRC = resolve(import.meta.dirname, '..', 'src')
const LINES_MAX = 400
const WIDTH_MAX = 120

/** Files beyond `LINES_MAX`, and why they are not two. */
const LONG_FILES: Readonly<Record<string, string>> = {
  'config/options.ts': 'one table of all options',
  'applications/coding-assistant.ts': 'one application, as its document has it',
  'applications/orchestrator-portal.ts': 'one application, as its document has it',
  'supervisor.ts': 'the supervisor of workers',
}

/**
 * What each part of src may import, beside itself: the arrows of the design, source → log → router → hub → gateways.
 * A part is a folder, or a file where it stands alone. A new part needs a row; a row that asks for more than before
 * needs a reason.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'errors.ts': [],
  'time.ts': [],
  'random-id.ts': [],
  'subjects.ts': [],
  // Whoever runs something later: all of them may.
  'guarded.ts': [],
  // Whoever may have thousands of things to do at once.
  'turns.ts': [],
  // What is stored: the words that source and log have in common.
  'log/body-headers.ts': [],
  'log/event.ts': ['errors.ts', 'time.ts', 'log/body-headers.ts'],
  'plain.ts': ['errors.ts'],
  source: ['errors.ts', 'subjects.ts', 'log/event.ts', 'log/body-headers.ts'],
  log: ['time.ts', 'log/event.ts', 'log/body-headers.ts', 'source', 'turns.ts'],
  'meters.ts': ['log'],
  hub: ['log', 'log/event.ts', 'meters.ts'],
  codecs: ['plain.ts', 'log/event.ts', 'hub'],
  contracts: ['errors.ts', 'subjects.ts', 'log', 'log/event.ts', 'meters.ts', 'hub'],
  applications: ['errors.ts', 'time.ts', 'contracts'],
  guard: ['errors.ts', 'contracts'],
  state: ['errors.ts', 'random-id.ts', 'source', 'log', 'log/event.ts', 'hub', 'contracts', 'guard'],
  commands: [
    'errors.ts',
    'plain.ts',
    'time.ts',
    'turns.ts',
    'source',
    'log',
    'log/event.ts',
    'meters.ts',
    'hub',
    'contracts',
    'state',
  ],
  gateways: [
    'errors.ts',
    'uws.ts',
    'plain.ts',
    'time.ts',
    'turns.ts',
    'random-id.ts',
    'source',
    'log',
    'log/event.ts',
    'log/body-headers.ts',
    'meters.ts',
    'codecs',
    'hub',
    'contracts',
    'guard',
    'state',
    'commands',
  ],
  ops: ['errors.ts', 'source', 'log', 'meters.ts', 'hub', 'contracts'],
  // The files that options name are checked by whoever reads them.
  config: ['errors.ts', 'source'],
  'v8.ts': [],
  'uws.ts': ['errors.ts'],
  'broker-timers.ts': ['v8.ts', 'meters.ts', 'hub', 'contracts', 'guard', 'state', 'gateways', 'ops'],
  'broker.ts': [
    'broker-timers.ts',
    'v8.ts',
    'source',
    'log',
    'meters.ts',
    'hub',
    'contracts',
    'applications',
    'guard',
    'state',
    'commands',
    'gateways',
    'ops',
    'config',
  ],
  'supervisor.ts': ['errors.ts', 'gateways', 'ops', 'config', 'broker.ts'],
  cli: ['errors.ts', 'contracts', 'applications', 'ops', 'config', 'broker.ts', 'supervisor.ts'],
  'main.ts': ['v8.ts', 'uws.ts', 'cli'],
  'index.ts': ['errors.ts', 'contracts'],
}

/** What only these parts may take from outside. */
const ONLY_IN: Readonly<Record<string, readonly string[]>> = {
  nats: ['source'],
  'uWebSockets.js': ['uws.ts', 'gateways', 'ops'],
  'fast-jwt': ['guard', 'cli'],
  commander: ['cli'],
  'prom-client': ['ops'],
  esbuild: ['contracts'],
}

const FILES = readdirSync(SRC, { recursive: true })
  .map(String)
  .filter((file) => file.endsWith('.ts'))
  .sort()
const text = (file: string): string => readFileSync(join(SRC, file), 'utf8')

const IMPORT = /(?:^|\s)(?:from|import)\s*\(?\s*'([^']+)'/g

/** Everything that a file imports, types included. */
function importsOf(file: string): string[] {
  return [...text(file).matchAll(IMPORT)].map(([, specifier = '']) => specifier)
}

function partOf(file: string): string {
  return file in MAY_IMPORT ? file : (file.split('/')[0] as string)
}

/** The imports within src that cross from one part to another: `a.ts → b.ts`. */
const CROSSINGS = FILES.flatMap((file) =>
  importsOf(file)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => relative(SRC, resolve(SRC, dirname(file), specifier)))
    .map((target) => ({ file, target, from: partOf(file), to: partOf(target) })),
).filter(({ from, to }) => from !== to)

t.test('every file of src belongs to a part that the table of imports knows', async (t) => {
  for (const file of FILES) t.ok(partOf(file) in MAY_IMPORT, file)
})

t.test('imports go the way of the events, as the table says', async (t) => {
  for (const { file, target, from, to } of CROSSINGS)
    t.ok(to === 'guarded.ts' || MAY_IMPORT[from]?.includes(to), `${file} imports ${target}`)
})

t.test('the table of imports allows nothing that nobody needs', async (t) => {
  for (const [from, allowed] of Object.entries(MAY_IMPORT)) {
    for (const to of allowed)
      t.ok(
        CROSSINGS.some((crossing) => crossing.from === from && crossing.to === to),
        `${from} → ${to}`,
      )
  }
})

t.test('no two parts import each other, however far around', async (t) => {
  const reaches = (from: string, to: string, seen = new Set<string>()): boolean => {
    if (seen.has(from)) return false
    seen.add(from)
    return (MAY_IMPORT[from] ?? []).some((next) => next === to || reaches(next, to, seen))
  }
  for (const part of Object.keys(MAY_IMPORT)) t.notOk(reaches(part, part), part)
})

/** What each file of a folder imports within it, types included. */
function importGraph(root: string): Map<string, Set<string>> {
  const files = readdirSync(root, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.ts'))
  return new Map(
    files.map((file) => {
      const specifiers = readFileSync(join(root, file), 'utf8').matchAll(IMPORT)
      const targets = [...specifiers].map(([, specifier = '']) =>
        relative(root, resolve(root, dirname(file), specifier)),
      )
      return [file, new Set(targets.filter((target) => files.includes(target)))]
    }),
  )
}

/** The same, of folders. @param folderOf a file */
function folderGraph(
  files: ReadonlyMap<string, ReadonlySet<string>>,
  folderOf: (file: string) => string,
): Map<string, Set<string>> {
  const folders = new Map<string, Set<string>>()
  for (const [file, targets] of files) {
    const from = folderOf(file)
    const others = [...targets].map(folderOf).filter((to) => to !== from)
    folders.set(from, new Set([...(folders.get(from) ?? []), ...others]))
  }
  return folders
}

/** At least one circle of each knot: `a → b → a`. */
function circlesIn(graph: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const circles: string[] = []
  const done = new Set<string>()
  const visit = (node: string, path: readonly string[]): void => {
    if (path.includes(node)) circles.push([...path.slice(path.indexOf(node)), node].join(' → '))
    else if (!done.has(node)) for (const next of graph.get(node) ?? []) visit(next, [...path, node])
    done.add(node)
  }
  for (const node of graph.keys()) visit(node, [])
  return circles
}

/**
 * A file's folder. A file that stands beside folders, or has a row of its own in the table, counts for itself:
 * `gateways/client-port.ts` puts together what is beside it.
 */
function folderOrFile(files: ReadonlyMap<string, unknown>): (file: string) => string {
  const parents = new Set([...files.keys()].map((file) => dirname(dirname(file))))
  return (file) => (file in MAY_IMPORT || parents.has(dirname(file)) ? file : dirname(file))
}

t.test('no files and no folders of bench import each other, however far around', async (t) => {
  const files = importGraph(resolve(SRC, '..', 'bench'))
  t.ok(files.size > 10, 'files are found')
  t.same(circlesIn(files), [], 'files')
  t.same(circlesIn(folderGraph(files, dirname)), [], 'folders')
})

t.test('no files and no folders of src import each other, however far around', async (t) => {
  const files = importGraph(SRC)
  t.ok(files.size > 100, 'files are found')
  t.same(circlesIn(files), [], 'files')
  t.same(circlesIn(folderGraph(files, folderOrFile(files))), [], 'folders')
})

t.test('packages stay in the parts that wrap them', async (t) => {
  for (const file of FILES) {
    for (const specifier of importsOf(file)) {
      const parts = ONLY_IN[specifier]
      if (parts !== undefined) t.ok(parts.includes(partOf(file)), `${file} imports ${specifier}`)
    }
  }
})

t.test(
  'what src imports is installed with it: ws was not, and the program did not start without development packages',
  async (t) => {
    const { dependencies } = JSON.parse(readFileSync(resolve(SRC, '..', 'package.json'), 'utf8')) as {
      dependencies: Record<string, string>
    }
    const packageOf = (specifier: string) =>
      specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')
    // The builds of uWebSockets.js have no types; uws.ts loads the package itself only where there is one.
    const isTypeOnly = (file: string, specifier: string) =>
      specifier === 'uWebSockets.js' &&
      !new RegExp(`import (?!type )[^\\n]*from '${specifier}'|await import\\('${specifier}'\\)`).test(text(file))
    for (const file of FILES) {
      // A contract's own import, in a text.
      for (const specifier of importsOf(file).filter(
        (name) => !name.startsWith('.') && !name.startsWith('node:') && name !== 'roomcast',
      ))
        t.ok(packageOf(specifier) in dependencies || isTypeOnly(file, specifier), `${file} imports ${specifier}`)
    }
  },
)

t.test(`a file of src that has more than ${LINES_MAX} lines has a reason`, async (t) => {
  for (const file of FILES) {
    const lines = text(file).split('\n').length
    t.equal(lines > LINES_MAX, file in LONG_FILES, `${file}: ${lines} lines`)
  }
})

t.test(`no line of src is wider than ${WIDTH_MAX} columns, but for a text that would have to be cut`, async (t) => {
  for (const file of FILES.filter((name) => name !== 'ops/page.ts')) {
    for (const [index, line] of text(file).split('\n').entries()) {
      t.ok(line.length <= WIDTH_MAX || /['"`]/.test(line) || line.includes('biome-ignore'), `${file}:${index + 1}`)
    }
  }
})

t.test('no file has a name that says nothing', async (t) => {
  for (const file of FILES) t.notMatch(basename(file), /\b(utils?|helpers?|common|misc|managers?)\b/i, file)
})

t.test('nothing in src is left to do', async (t) => {
  for (const file of FILES) t.notMatch(text(file), /\b(TODO|FIXME|XXX|HACK)\b/, file)
})

t.test(
  'keys that others name live in Maps: `__proto__` and `constructor`, looked up on an object literal, ended the process',
  async (t) => {
    for (const file of FILES.filter((name) => !/^(cli|config)\//.test(name))) {
      for (const [, table = ''] of text(file).matchAll(
        /(?:const|let) (\w+): (?:Readonly<)?Record<string,[^=\n]* = \{/g,
      ))
        t.notMatch(text(file), new RegExp(`\\b${table}(\\?\\.)?\\[`), `${file}: ${table}`)
    }
  },
)

/** Timers that are not behind the guard, and why. */
const OWN_TIMERS: Readonly<Record<string, string>> = {
  'guarded.ts': 'the guard itself',
  'hub/hub.ts': 'live delivery has a guard of its own: one for each turn, without a closure',
  'hub/catch-up.ts': 'feeding has a guard of its own for each session, and its run calls nothing else that throws',
  'cli/escape.ts': 'runs once a fault got past the guard',
  'cli/leave.ts': 'ends the process',
  'ops/page.ts': "the page's script runs in a browser",
}
/** A pause, which calls nothing back. */
const PAUSE = /new Promise(?:<void>)?\(\(resolve\) => setTimeout\(resolve\b/g

t.test('what runs later runs behind the guard: a throw in a timer ended the process', async (t) => {
  for (const file of FILES.filter((name) => !(name in OWN_TIMERS)))
    t.notMatch(text(file).replace(PAUSE, ''), /\bset(Timeout|Interval|Immediate)\(/, file)
  for (const file of Object.keys(OWN_TIMERS))
    t.match(text(file), /\bset(Timeout|Interval|Immediate)\(/, `${file} needs its row`)
})

t.test('no promise is left to itself: a rejection that nobody hears of ends the process', async (t) => {
  const statements = (file: string) =>
    text(file)
      .split('\n')
      .filter((line) => /(^|[;)] |\{ |=> )\s*void [a-z]/i.test(line) && !/^\s*(\/?\*|\/\/)/.test(line))
  // A call that returns none, made to return nothing: by name.
  for (const file of FILES)
    for (const line of statements(file))
      t.ok(/\.catch\(/.test(line) || line.includes('() => void message(ws, frame, binary)'), `${file}: ${line.trim()}`)
})

t.test('src has named exports only', async (t) => {
  for (const file of FILES) t.notMatch(text(file), /^export default\b|^export \{[^}]*\bas default\b/m, file)
})

t.test('only entry points pass on what others export', async (t) => {
  for (const file of FILES.filter((name) => name !== 'index.ts')) t.notMatch(text(file), /^export \* from/m, file)
})
