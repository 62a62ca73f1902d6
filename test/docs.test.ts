import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import t from 'tap'
import { BUILT_IN_CONTRACTS } from '../src/applications/built-in.ts'
import { optionsWith, portOption } from '../src/config/port-options.ts'
import { portsOf } from '../src/contracts/ports.ts'
import { ERRORS } from '../src/errors.ts'

const ROOT = resolve(import.meta.dirname, '..')

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

/** Cells of the table rows that begin with a name in code letters: `NAME`. */
function rowsOf(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => /^\| `[A-Z][A-Z0-9_]*` \|/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
}

t.test('docs/errors.md has one row for each error code, as src/errors.ts has it', async (t) => {
  const expected = Object.entries(ERRORS).map(([code, row]) => [
    `\`${code}\``,
    String(row.http),
    'close' in row ? String(row.close) : '',
    row.message,
  ])
  t.same(rowsOf(read('docs/errors.md')), expected)
})

t.test(
  'docs/configuration.md has one row for each option, as src/config/options.ts and the five contracts have it',
  async (t) => {
    const expected = optionsWith(portsOf(BUILT_IN_CONTRACTS).map(portOption)).map(
      ({ env, default: fallback, unit = '', about }) => [
        `\`${env}\``,
        fallback === '' ? '' : `\`${fallback}\``,
        unit,
        about,
      ],
    )
    t.same(rowsOf(read('docs/configuration.md')), expected)
  },
)

t.test('every close code is told in the table of docs/errors.md that says whether to come back', async (t) => {
  const text = read('docs/errors.md')
  for (const row of Object.values(ERRORS)) {
    if (!('close' in row)) continue
    const inRange = row.close >= 4000 && row.close <= 4999
    t.ok(inRange || new RegExp(`^\\|[^|]*\\b${row.close}\\b`, 'm').test(text), `${row.close}`)
  }
})

/** README and the like, and all that lies in these folders, as far as there is any. */
const PAGES = [
  ...readdirSync(ROOT),
  ...['docs', 'deploy', 'bench']
    .filter((folder) => existsSync(join(ROOT, folder)))
    .flatMap((folder) =>
      readdirSync(join(ROOT, folder), { recursive: true }).map((file) => join(folder, String(file))),
    ),
].filter((file) => file.endsWith('.md'))

t.test('links between the documents lead somewhere', async (t) => {
  for (const page of PAGES) {
    // Without code, where brackets are no links.
    const text = read(page)
      .replace(/```[\s\S]*?```/g, '')
      .replace(/`[^`\n]*`/g, 'code')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? join(ROOT, page) : resolve(ROOT, dirname(page), path)
      t.ok(existsSync(file), `${page} → ${target}`)
      if (anchor !== undefined && file.endsWith('.md') && existsSync(file))
        t.ok(
          anchorsOf(readFileSync(file, 'utf8')).has(anchor),
          `${page} → ${target}: ${relative(ROOT, file)} has that heading`,
        )
    }
  }
})

/** As GitHub makes them of headings. */
function anchorsOf(text: string): Set<string> {
  return new Set(
    [...text.matchAll(/^#+ +(.*)$/gm)].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

t.test('every document that a comment names is there', async (t) => {
  for (const path of readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.ts')) continue
    for (const [document] of read(`src/${path}`).matchAll(/\b[\w-]+\/[\w/-]+\.md\b/g))
      t.ok(existsSync(join(ROOT, document)), `src/${path}: ${document}`)
  }
})

t.test('every file of src and test that a document names is there', async (t) => {
  const documents = ['README.md', 'CONTRIBUTING.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)]
  for (const document of documents.filter((name) => name.endsWith('.md'))) {
    for (const [, path = ''] of read(document).matchAll(/`((?:src|test)\/[\w./-]+)`/g)) {
      t.ok(existsSync(join(ROOT, path)), `${document}: ${path}`)
    }
  }
})
