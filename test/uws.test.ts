import { spawnSync } from 'node:child_process'
import { resolve } from 'node:path'
import t from 'tap'
import { type Machine, uwsBuild, whyNone } from '../src/uws.ts'

const MAIN = resolve(import.meta.dirname, '..', 'dist', 'main.js')
const LINUX: Machine = { node: '24.21.0', platform: 'linux', arch: 'x64', glibc: '2.41' }

t.test('a build of uWebSockets.js loads here', async (t) => {
  t.match(uwsBuild, /^uws-|^uWebSockets\.js$/)
})

t.test('where no build runs, one line says why and what to do', async (t) => {
  for (const [machine, reason] of [
    [{ ...LINUX, node: '27.0.0' }, /Node 27\.0\.0.*: take one of Node 20, 22, 23, 24, 26/],
    [{ ...LINUX, node: '25.8.1' }, /take one of Node 20, 22, 23, 24, 26/],
    [{ ...LINUX, glibc: undefined }, /without glibc.*not Alpine/],
    [{ ...LINUX, glibc: '2.36' }, /glibc 2\.36: Node 24 needs glibc 2\.38.*Node 22/],
    [{ ...LINUX, node: '22.1.0', glibc: '2.36' }, /its package is missing; run npm install again/],
    [LINUX, /its package is missing; run npm install again/],
    [{ ...LINUX, platform: 'darwin', glibc: undefined }, /npm install uWebSockets\.js@npm:uws-pack/],
    [{ ...LINUX, arch: 'arm64' }, /npm install uWebSockets\.js@npm:uws-pack/],
  ] as const) {
    const said = whyNone(machine)
    t.match(said, reason)
    t.match(said, /UWS_MODULE/)
    t.notMatch(said, /\n/)
  }
})

t.test('UWS_MODULE that does not load ends the start with one line, not a stack', async (t) => {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, 'serve'], {
    encoding: 'utf8',
    env: { ...process.env, UWS_MODULE: '/nowhere/uws.node' },
  })
  t.equal(status, 1)
  t.match(stderr, /^roomcast: UWS_MODULE=\/nowhere\/uws\.node: it does not load \(.*Cannot find module.*\)\n$/)
})
