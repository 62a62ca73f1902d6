// npm test: installs what is missing and runs the tests that are asked for, all of them by default. --help says how.
import { spawn } from 'node:child_process'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build, ensureChromium, ensureHaproxy, ensureNatsServer, ensurePackages, root, run } from './setup.mjs'
import { partsOf, select, testFiles, UnknownPart } from './test-parts.mjs'

/** Of a wrong call; failed tests end with 1. */
const USAGE = 2
const WIDTH = 110

const args = process.argv.slice(2)
const asksFor = (...names) => args.some((arg) => names.includes(arg))
if (asksFor('--help', '-h')) {
  console.log(help())
  process.exit()
}
const { files, options } = selected(args.filter((arg) => arg !== '--list'))
if (asksFor('--list')) {
  console.log(files === undefined ? listOfParts() : files.join('\n'))
  process.exit()
}
console.log(running())

ensurePackages()
ensureNatsServer()
ensureHaproxy()
const chromium = ensureChromium()
if (chromium === undefined)
  console.error('No Chromium here: the browser tests are left out. Install one, or set CHROMIUM to its path.')
build()
const tapBin = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')
buildTap()

const tap = spawn(process.execPath, [tapBin, 'run', '--reporter=tap', ...options, ...(files ?? [])], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, ...(chromium ? { CHROMIUM: chromium } : undefined) },
})
let passed = 0
let failed = 0
let failedInFile = 0
let block = []
for await (const line of createInterface({ input: tap.stdout })) {
  const test = /^ {4}(not )?ok \d+(?: - (.*?))?(?: # time=.*)?(?: \{)?$/.exec(line)
  const file = /^(not )?ok \d+ - (.*?)( # (?:SKIP|skip).*| # time=(.*?))?(?: \{)?$/.exec(line)
  block.push(line)
  if (test) {
    if (test[1]) {
      failed++
      failedInFile++
      console.log(block.join('\n'))
    } else passed++
    block = []
  } else if (file) {
    // A file that broke outside of its tests counts as one failed test.
    if (file[1] && failedInFile === 0) {
      failed++
      console.log(block.join('\n'))
    } else
      console.log(
        `${file[1] ? 'not ok' : 'ok'} ${file[2]}${file[4] ? ` (${file[4]})` : ''}${file[3]?.includes('kip') ? file[3] : ''}`,
      )
    failedInFile = 0
    block = []
  }
}
const code = await new Promise((resolve) => (tap.exitCode === null ? tap.on('close', resolve) : resolve(tap.exitCode)))
if (code !== 0 && failed === 0) {
  failed = 1
  console.log(block.join('\n'))
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(code === 0 && passed > 0 ? 0 : 1)

/** Compiles tap with the plugins of .taprc, which takes longer than many a test: once for each set of packages. */
function buildTap() {
  const stamp = join(root, 'node_modules', '.tap-built')
  const builtMs = statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (['package-lock.json', '.taprc'].every((name) => statSync(join(root, name)).mtimeMs < builtMs)) return
  run(process.execPath, [tapBin, 'build'], { stdio: ['ignore', 'ignore', 2] })
  writeFileSync(stamp, '')
}

function selected(given) {
  try {
    return select(given, root)
  } catch (error) {
    if (!(error instanceof UnknownPart)) throw error
    console.error(
      `npm test: nothing in test/ is named ${error.message}. The parts, and their files:\n\n${listOfParts()}`,
    )
    process.exit(USAGE)
  }
}

/** What runs, and how much of it. */
function running() {
  const all = testFiles(root).length
  if (files === undefined) return `All tests: ${all} files`
  const shown = files.slice(0, 10).join(', ')
  return `${files.length} of ${all} files: ${shown}${files.length > 10 ? ' …' : ''}`
}

function listOfParts() {
  const parts = [...partsOf(testFiles(root))]
  const width = Math.max(...parts.map(([part]) => part.length)) + 2
  return parts
    .map(([part, names]) => {
      const lines = ['']
      for (const name of names) {
        if (width + `${lines.at(-1)} ${name}`.length > WIDTH) lines.push('')
        lines.push(`${lines.pop()}${name} `)
      }
      return `${part.padEnd(width)}${lines.map((line) => line.trimEnd()).join(`\n${' '.repeat(width)}`)}`
    })
    .join('\n')
}

function help() {
  return `npm test                      all tests
npm test -- <part or path> …  the tests of these alone
npm test -- --list            the parts, and the names of their files
npm test -- --list <part> …   the files that would run

A part is a folder of test/, or a word of a file's name: hub is test/hub/, locks is test/state/locks.test.ts and
test/integration/coding-assistant-locks.test.ts. Each folder of src/ is a part. Most take less than a
minute; source, bench, chaos, fuzz and integration take longer: name their files.
Options are tap's: --bail, --jobs=1, --timeout=60, and what \`npx tap --help\` lists.`
}
