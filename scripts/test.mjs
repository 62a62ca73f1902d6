// npm test: installs what is missing and runs every test that this machine can run; arguments name test files, or
// folders of them.
import { spawn } from 'node:child_process'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { build, ensureChromium, ensureHaproxy, ensureNatsServer, ensurePackages, root, run } from './setup.mjs'

ensurePackages()
ensureNatsServer()
ensureHaproxy()
const chromium = ensureChromium()
if (chromium === undefined)
  console.error('No Chromium here: the browser tests are left out. Install one, or set CHROMIUM to its path.')
build()
const tapBin = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs')
buildTap()

const tap = spawn(process.execPath, [tapBin, 'run', '--reporter=tap', ...process.argv.slice(2).flatMap(testsIn)], {
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

/** Tap takes a folder for nothing, without a word. */
function testsIn(path) {
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) return [path]
  return readdirSync(path, { recursive: true })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(path, name))
}
