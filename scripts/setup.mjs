// Installs what is missing on this machine: the packages, and for the tests a nats-server and a browser.
import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
/** Programs that were put here rather than into the system. */
const ownBin = join(root, '.roomcast', 'bin')
process.env.PATH = `${process.env.PATH}${delimiter}${ownBin}`

/** Installs the locked packages, unless they are there. */
export function ensurePackages() {
  const [major = 0] = process.versions.node.split('.').map(Number)
  if (major < 20) fail(`Roomcast needs Node 20 or newer; this is ${process.version}`)
  const installed = join(root, 'node_modules', '.package-lock.json')
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(root, 'package-lock.json')).mtimeMs) return
  console.error('Installing packages (once) …')
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  if (npm.status !== 0) fail('npm ci failed; its output above says why')
}

/** Compiles src/ to dist/, and bench/ to dist/bench/, unless nothing has changed since. */
export function build() {
  const stamp = join(root, '.roomcast', 'built')
  const builtMs = statSync(stamp, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const outputs = ['main.js', join('bench', 'main.js')].map((name) => join(root, 'dist', name))
  const inputs = ['src', 'bench', 'tsconfig.json', 'package-lock.json'].map((name) => join(root, name))
  if (outputs.every(existsSync) && inputs.every((path) => changedMs(path) < builtMs)) return
  const started = new Date()
  for (const project of [root, join(root, 'bench')])
    run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', project])
  mkdirSync(join(root, '.roomcast'), { recursive: true })
  writeFileSync(stamp, '')
  // What was changed meanwhile is built the next time.
  utimesSync(stamp, started, started)
}

/** When a file was changed, or anything in a folder: a file that was removed changes its folder. */
function changedMs(path) {
  const entries = statSync(path).isDirectory() ? readdirSync(path, { recursive: true }) : []
  const sources = entries.map(String).filter((name) => !/^results/.test(name))
  return Math.max(...[path, ...sources.map((name) => join(path, name))].map((name) => statSync(name).mtimeMs))
}

/**
 * A nats-server from PATH, else Debian's package, Homebrew or Docker. Ends the process with what to do where none is to
 * be had.
 */
export function ensureNatsServer(who = 'This') {
  if (onPath('nats-server')) return
  console.error('Installing nats-server (once) …')
  if (onPath('apt-get') && (installByApt('nats-server') || unpackByApt('nats-server'))) return
  if (onPath('brew') && spawnSync('brew', ['install', 'nats-server'], { stdio: ['ignore', 2, 2] }).status === 0) return
  if (process.platform === 'linux' && copyFromDocker('nats:2', '/nats-server')) return
  fail(
    `${who} needs a nats-server, and none could be installed. Put one on PATH: https://docs.nats.io/running-a-nats-service/introduction/installation`,
  )
}

/** A Chromium, where one can be had. @returns its path, or undefined: the browser tests are left out then */
export function ensureChromium() {
  const found = () =>
    ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']
      .map(onPath)
      .find((path) => path !== undefined)
  if (!found() && onPath('apt-get') && process.getuid?.() === 0) {
    console.error('Installing Chromium for the browser tests (once) …')
    installByApt('chromium')
  }
  return process.env.CHROMIUM ?? found()
}

/** HAProxy, where it can be had: the test of deploy/haproxy.cfg is left out otherwise. */
export function ensureHaproxy() {
  if (!onPath('haproxy') && onPath('apt-get') && process.getuid?.() === 0) {
    console.error('Installing HAProxy for the test of deploy/ (once) …')
    installByApt('haproxy')
  }
  if (!onPath('haproxy')) console.error('No HAProxy here: the test of deploy/haproxy.cfg is left out.')
}

function installByApt(name) {
  if (process.getuid?.() !== 0) return false
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const install = () =>
    spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', name], {
      stdio: ['ignore', 'ignore', 2],
      env,
    }).status === 0
  return (
    install() ||
    (spawnSync('apt-get', ['update', '-qq'], { stdio: ['ignore', 'ignore', 2], env }).status === 0 && install())
  )
}

/** Without root: the package's files, unpacked beside the project. */
function unpackByApt(name) {
  const folder = mkdtempSync(join(tmpdir(), 'roomcast-setup-'))
  try {
    if (spawnSync('apt-get', ['download', name], { cwd: folder, stdio: ['ignore', 'ignore', 2] }).status !== 0)
      return false
    const [file] = readdirSync(folder)
    if (file === undefined || spawnSync('dpkg', ['-x', file, 'x'], { cwd: folder }).status !== 0) return false
    mkdirSync(ownBin, { recursive: true })
    return (
      spawnSync('cp', [join(folder, 'x', 'usr', 'sbin', name), ownBin]).status === 0 ||
      spawnSync('cp', [join(folder, 'x', 'usr', 'bin', name), ownBin]).status === 0
    )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function copyFromDocker(image, path) {
  if (!onPath('docker')) return false
  try {
    const id = execFileSync('docker', ['create', image], { stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim()
    mkdirSync(ownBin, { recursive: true })
    const target = join(ownBin, path.split('/').pop())
    execFileSync('docker', ['cp', `${id}:${path}`, target])
    execFileSync('docker', ['rm', id], { stdio: 'ignore' })
    chmodSync(target, 0o755)
    return true
  } catch {
    return false
  }
}

export function onPath(name) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, process.platform === 'win32' ? `${name}.exe` : name))
    .find(existsSync)
}

export function run(command, args, options = {}) {
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options })
  if (status !== 0) process.exit(status ?? 1)
}

function fail(message) {
  console.error(`roomcast: ${message}`)
  process.exit(1)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) ensurePackages()
