// Which test files the arguments of `npm test` choose.
import { readdirSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'

/** Parts of src/ whose tests go by other names, or stand in test/integration/. */
const TESTED_BY = {
  broker: ['cli', 'ops-port'],
  commands: ['ask', 'history', 'locks', 'presence'],
  handoff: ['polling'],
  supervisor: ['workers'],
  websocket: ['bad-input', 'slow-clients'],
}

/** Options of tap whose value may be an argument of its own. */
const WITH_VALUE = new Set(
  '-t --timeout -j --jobs -g --grep -s --save -o --output-file -d --output-dir -f --reporter-file --test-arg --test-env --node-arg --include --exclude --serial --before --after'.split(
    ' ',
  ),
)

export class UnknownPart extends Error {}

/** All test files below a project's root: `test/hub/hub.test.ts`. */
export function testFiles(root) {
  return readdirSync(join(root, 'test'), { recursive: true })
    .map((name) => `test/${String(name).replaceAll('\\', '/')}`)
    .filter((name) => name.endsWith('.test.ts'))
    .sort()
}

/** Names of the test files by folder of test/; '': those in none. */
export function partsOf(files) {
  const parts = new Map()
  for (const file of files) {
    const [part, ...name] = nameOf(file).split('/')
    if (name.length === 0) parts.set('', [...(parts.get('') ?? []), part])
    else parts.set(part, [...(parts.get(part) ?? []), name.join('/')])
  }
  return new Map([...parts].sort(([a], [b]) => a.localeCompare(b)))
}

/**
 * Sorts arguments into test files and options of tap.
 * @returns files: undefined where no argument names any, so that all are meant
 * @throws UnknownPart where an argument names nothing
 */
export function select(args, root) {
  const all = testFiles(root)
  const options = []
  const chosen = new Set()
  let names = 0
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]
    if (arg.startsWith('-')) {
      options.push(arg)
      if (WITH_VALUE.has(arg) && i + 1 < args.length) options.push(args[++i])
      continue
    }
    names++
    const found = filesOf(arg, all, root)
    if (found.length === 0) throw new UnknownPart(arg)
    for (const file of found) chosen.add(file)
  }
  return { files: names === 0 ? undefined : [...chosen], options }
}

/** A word names a part; anything else is a path. */
function filesOf(arg, all, root) {
  if (/^[\w-]+$/.test(arg)) {
    const named = all.filter((file) => [arg, ...(TESTED_BY[arg] ?? [])].some((word) => names(file, word)))
    if (named.length > 0) return named
  }
  const path = resolve(root, arg)
  const there = statSync(path, { throwIfNoEntry: false })
  if (there === undefined) return []
  if (!there.isDirectory()) return [arg]
  return all.filter((file) => !relative(path, join(root, file)).startsWith('..'))
}

/** Whether the words of a path, or some that stand side by side, are this one: `socketio` is in `socket-io.test.ts`. */
function names(file, word) {
  const words = nameOf(file).toLowerCase().split(/[/.-]/)
  const looked = word.toLowerCase().replaceAll('-', '')
  return words.some((_, from) => words.some((_, to) => words.slice(from, to + 1).join('') === looked))
}

function nameOf(file) {
  return file.slice('test/'.length, -'.test.ts'.length)
}
