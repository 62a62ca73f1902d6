import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Figures, Result } from '../../bench/report/result.ts'

const BENCH = new URL('../../dist/bench/main.js', import.meta.url).pathname
const ROOMCAST = new URL('../../dist/main.js', import.meta.url).pathname

// Whole runs of the bench, one after the other: on a machine that does much else they take minutes.
t.setTimeout(900_000)

const folder = mkdtempSync(join(tmpdir(), 'roomcast-bench-test-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

function bench(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BENCH, ...args], { cwd: folder, encoding: 'utf8' })
  return { status, stdout, stderr }
}

function newest(scenario: string): Result {
  const results = join(folder, 'bench', 'results')
  const file = readdirSync(results)
    .filter((name) => name.startsWith(`${scenario}-`))
    .sort()
    .at(-1) as string
  return JSON.parse(readFileSync(join(results, file), 'utf8'))
}

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

const linux = process.platform === 'linux' ? {} : { skip: 'the bench reads /proc' }

t.test('fanout: every connection of two servers gets every event, and the result is written down', linux, async (t) => {
  const { status, stdout, stderr } = bench(
    'fanout',
    '--subscribers',
    '20',
    '--rate',
    '20',
    '--seconds',
    '5',
    '--warmup',
    '1',
    '--rounds',
    '1',
    '--peers',
    'raw,nats',
  )
  t.equal(status, 0, stderr)
  t.match(stdout, /CPU per delivery/)
  const { runs, settings, failures } = newest('fanout')
  t.same(failures, [])
  t.equal(settings.seed, 1)
  t.same(
    runs.map(({ side }) => side),
    ['raw', 'roomcast', 'nats'],
  )
  for (const { side, figures } of runs)
    t.match(figures, { deliveries: 2000, missing: 0, twice: 0, disordered: 0 }, side)
})

t.test(
  'storm: after kill -9 of the broker everybody comes back with their position, and misses nothing',
  linux,
  async (t) => {
    for (const protocol of ['raw', 'socketio']) {
      const { status, stderr } = bench(
        'storm',
        '--subscribers',
        '30',
        '--rate',
        '20',
        '--protocol',
        protocol,
        '--peers',
        'none',
      )
      t.equal(status, 0, stderr)
      const { figures, timeline } = newest('storm').runs[0] as Result['runs'][number]
      t.match(figures, { missing: 0, twice: 0, disordered: 0 }, protocol)
      t.same(
        timeline?.marks.map(({ text }) => text),
        ['killed', 'listens', 'all subscribed', 'all live'],
      )
    }
  },
)

t.test('slow: stalled readers are held back, and have everything after their release', linux, async (t) => {
  // 40 MB for each: on a busy machine, where readers read seldom, Linux takes up to 36 MB of it itself (tcp_rmem,
  // tcp_wmem) before the broker feels anything.
  const { status, stderr } = bench(
    'slow',
    '--subscribers',
    '4',
    '--slow',
    '50',
    '--rate',
    '100',
    '--payload',
    '100000',
    '--seconds',
    '4',
    '--warmup',
    '0',
    '--peers',
    'none',
  )
  t.equal(status, 0, stderr)
  const run = newest('slow').runs.find(({ case: name }) => name === '50 % stalled')
  t.match(run?.figures, { missing: 0, twice: 0, disordered: 0, slowMissing: 0, slowCut: 0 })
  t.ok((run?.figures.heldBack ?? 0) > 0)
  t.ok((run?.figures.fallen ?? 0) > 0, 'the broker felt them')
})

t.test(
  'ingest: a burst that was stored before is read and delivered, with and without subscribers, by two builds in turn',
  linux,
  async (t) => {
    const { status, stdout, stderr } = bench(
      'ingest',
      '--events',
      '1000',
      '--subscribers',
      '0,2',
      '--warmup',
      '200',
      '--rounds',
      '1',
      '--against',
      ROOMCAST,
    )
    t.equal(status, 0, stderr)
    t.match(stdout, /events a second/)
    t.match(stdout, /Roomcast : before/)
    const { runs, failures, thresholds } = newest('ingest')
    t.same(failures, [])
    t.same(
      runs.map(({ case: name, side }) => `${name}, ${side}`),
      ['0 subscribers, before', '0 subscribers, roomcast', '2 subscribers, before', '2 subscribers, roomcast'],
    )
    for (const { case: name, side, figures } of runs) {
      t.match(
        figures,
        { deliveries: name === '2 subscribers' ? 2000 : 0, missing: 0, twice: 0, disordered: 0 },
        `${name}, ${side}`,
      )
      t.ok((figures.eventsPerSecond ?? 0) > 0, `${name}, ${side}`)
    }
    t.equal(thresholds.length, 5)
  },
)

t.test(
  'soak: clients of all kinds come and go, join, leave and ask; nothing is missing, and every slope is known',
  linux,
  async (t) => {
    const { status, stdout, stderr } = bench(
      'soak',
      '--minutes',
      '0.1',
      '--connections',
      '16',
      '--rooms',
      '3',
      '--churn',
      '6',
      '--commands',
      '6',
      '--rate',
      '5',
      '--room-rate',
      '20',
    )
    t.equal(status, 0, stderr)
    t.match(stdout, /open files: growth/)
    const { runs, failures } = newest('soak')
    t.same(failures, [])
    t.match(runs[0]?.figures, { missing: 0, twice: 0, disordered: 0 })
    for (const name of ['memoryPerMinute', 'heapPerMinute', 'filesPerMinute', 'delayPerMinute'] as const)
      t.ok(Number.isFinite(runs[0]?.figures[name]), name)
    t.ok((runs[0]?.figures.files ?? 0) > 16, 'sockets are among the files')
  },
)

t.test('formats: JSON, msgpack and Socket.IO in one crowd', linux, async (t) => {
  const { status, stderr } = bench('formats', '--subscribers', '9', '--rate', '20', '--seconds', '1', '--warmup', '1')
  t.equal(status, 0, stderr)
  for (const { case: name, figures } of newest('formats').runs)
    t.match(figures, { deliveries: 180, missing: 0, twice: 0, disordered: 0 }, name)
})

t.test('compare: exit code 1 past the threshold, or where events were lost', async (t) => {
  const base = { cpuUs: 5, p99Ms: 40, connectionBytes: 1000, missing: 0 }
  const before = fileOf('before.json', base)
  t.equal(bench('compare', before, fileOf('same.json', base)).status, 0)
  t.equal(bench('compare', before, fileOf('within.json', { ...base, cpuUs: 5.4 })).status, 0)
  const past = bench('compare', before, fileOf('past.json', { ...base, cpuUs: 5.6 }))
  t.equal(past.status, 1)
  t.match(past.stdout, /CPU per delivery .* 1\.120 +PAST THE THRESHOLD/)
  t.equal(bench('compare', before, join(folder, 'past.json'), '--threshold', '1.2').status, 0)
  t.equal(bench('compare', before, fileOf('lost.json', { ...base, missing: 1 })).status, 1)
  t.equal(bench('compare', before, join(folder, 'none.json')).status, 1)
})

t.test('report: one page that loads nothing', async (t) => {
  const out = join(folder, 'page.html')
  const { status, stdout } = bench('report', fileOf('one.json', { cpuUs: 5, p99Ms: 40 }), '--out', out)
  t.equal(status, 0)
  t.match(stdout, /CPU per delivery/)
  const html = readFileSync(out, 'utf8')
  t.match(html, /<h2>fanout<\/h2>/)
  t.notMatch(html, /\b(?:src|href)="(?!#)/)
})

t.test('wrong calls say what is wrong and end with 2', async (t) => {
  t.match(bench('fanout', '--peers', 'nothing'), { status: 2, stderr: /There is no nothing/ })
  t.match(bench('fanout', '--rate', 'x'), { status: 2, stderr: /It wants a number/ })
  t.match(bench('ingest', '--against', 'none.js'), { status: 2, stderr: /there is no none\.js/ })
  t.match(bench('nonsense'), { status: 2 })
})

t.test('roomcast bench is the same program', async (t) => {
  const { status, stdout } = spawnSync(process.execPath, [ROOMCAST, 'bench', 'fanout', '--help'], {
    cwd: folder,
    encoding: 'utf8',
  })
  t.equal(status, 0)
  t.match(stdout, /roomcast bench fanout/)
})
