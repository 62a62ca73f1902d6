import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Figures, Result } from '../../bench/report/result.ts'
import { bench, folder, node } from '../support/bench.ts'

const ROOMCAST = new URL('../../dist/main.js', import.meta.url).pathname

function resultOf(figures: Figures): Result {
  return {
    scenario: 'fanout',
    started: '2026-11-20T00:00:00.000Z',
    argv: ['fanout'],
    machine: { cpu: 'a', cores: 2, memory_gb: 1, kernel: 'k', node: 'v20', nats_server: '2.9', load: 0, commit: 'c' },
    settings: {},
    servers: {},
    runs: [{ side: 'roomcast', case: '', round: 1, figures }],
    failures: [],
    thresholds: [],
  }
}

function fileOf(name: string, figures: Figures): string {
  const file = join(folder, name)
  writeFileSync(file, JSON.stringify(resultOf(figures)))
  return file
}

t.test('compare: exit code 1 past the threshold, or where events were lost', async (t) => {
  const base = { cpuUs: 5, p99Ms: 40, connectionBytes: 1000, missing: 0 }
  const before = fileOf('before.json', base)
  const compare = (after: string, ...options: string[]) => bench('compare', before, after, ...options)
  t.equal((await compare(fileOf('same.json', base))).status, 0)
  t.equal((await compare(fileOf('within.json', { ...base, cpuUs: 5.4 }))).status, 0)
  const past = await compare(fileOf('past.json', { ...base, cpuUs: 5.6 }))
  t.equal(past.status, 1)
  t.match(past.stdout, /CPU per delivery .* 1\.120 +PAST THE THRESHOLD/)
  t.equal((await compare(join(folder, 'past.json'), '--threshold', '1.2')).status, 0)
  t.equal((await compare(fileOf('lost.json', { ...base, missing: 1 }))).status, 1)
  t.equal((await compare(join(folder, 'none.json'))).status, 1)
})

t.test('report: one page that loads nothing', async (t) => {
  const out = join(folder, 'page.html')
  const { status, stdout } = await bench('report', fileOf('one.json', { cpuUs: 5, p99Ms: 40 }), '--out', out)
  t.equal(status, 0)
  t.match(stdout, /CPU per delivery/)
  const html = readFileSync(out, 'utf8')
  t.match(html, /<h2>fanout<\/h2>/)
  t.notMatch(html, /\b(?:src|href)="(?!#)/)
})

t.test('wrong calls say what is wrong and end with 2', async (t) => {
  t.match(await bench('fanout --peers nothing'), { status: 2, stderr: /There is no nothing/ })
  t.match(await bench('fanout --rate x'), { status: 2, stderr: /It wants a number/ })
  t.match(await bench('ingest --against none.js'), { status: 2, stderr: /there is no none\.js/ })
  t.match(await bench('nonsense'), { status: 2 })
})

t.test('roomcast bench is the same program', async (t) => {
  const { status, stdout } = await node(ROOMCAST, 'bench', 'fanout', '--help')
  t.equal(status, 0)
  t.match(stdout, /roomcast bench fanout/)
})
