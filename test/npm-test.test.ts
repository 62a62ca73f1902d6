import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'

const ROOT = resolve(import.meta.dirname, '..')

/** `npm test -- …`, short of running what it chose. */
function list(...args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(ROOT, 'scripts', 'test.mjs'), '--list', ...args],
    { encoding: 'utf8' },
  )
  return { status, files: stdout.split('\n').filter(Boolean), stderr }
}

t.test('npm test: a part is a folder of test/, and the files that have its name in theirs', async (t) => {
  const hub = readdirSync(join(ROOT, 'test', 'hub')).map((name) => `test/hub/${name}`)
  t.same(list('hub').files, hub.sort())
  const { files } = list('socketio')
  t.ok(files.length > 1, 'several files')
  for (const file of files) t.match(file, /socket-?io/)
  t.same(list('test/hub').files, hub, 'a path of a folder')
  t.same(list('time', 'test/plain.test.ts').files, ['test/time.test.ts', 'test/plain.test.ts'], 'several, added up')
})

t.test('npm test: every folder of src/ is a part that has tests', async (t) => {
  const folders = (path: string) =>
    readdirSync(join(ROOT, path), { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? entry.name : []))
  // The first that has none is named in the error.
  const { status, stderr } = list(...folders('src'), ...folders('src/gateways'), ...folders('src/source'))
  t.equal(status, 0, stderr)
})

t.test('npm test: what names nothing is an error that names the parts; nothing runs', async (t) => {
  for (const wrong of ['nonsense', 'test/nonsense.test.ts', 'src/hub']) {
    const { status, files, stderr } = list('hub', wrong)
    t.equal(status, 2, wrong)
    t.same(files, [])
    t.match(stderr, new RegExp(`is named ${wrong}`))
    t.match(stderr, /^hub +.*hub/m)
  }
})

t.test("npm test: options are tap's, with their values", async (t) => {
  t.same(list('-j', '1', '--bail', '--timeout=60', 'time').files, ['test/time.test.ts'])
})
