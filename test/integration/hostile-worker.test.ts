import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { eventually, TestClient } from '../support/client.ts'
import { readyz, startWorkers, WORKERS, workersOf } from '../support/workers.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-worker-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const CONTRACT = join(folder, 'hostile.mjs')
/**
 * A contract is code of others: this one speaks into the channel between its worker and the supervisor, and ends its
 * worker once.
 */
writeFileSync(
  CONTRACT,
  `import { defineContract } from 'roomcast'
import { existsSync, rmSync } from 'node:fs'
const say = () => {
  for (const packet of [null, 5, true, 'text', [], {}, { kind: 'question' }, { kind: 'question', id: 1 }, { kind: 'question', id: 'x', question: 'stats' }, { kind: 'question', id: 2, question: '__proto__' }, { kind: 'answer', id: 0, value: null }, { kind: 'answer', id: 99999 }, { kind: 'failure', id: 99999 }, { kind: 'failure', id: 99998, code: 'toString', message: 'x' }]) process.send?.(packet)
  if (existsSync(${JSON.stringify(join(folder, 'die'))})) {
    rmSync(${JSON.stringify(join(folder, 'die'))})
    process.exit(1)
  }
}
setInterval(say, 100).unref()
export default defineContract({ app: 'hostile', endpoints: [{ transport: 'websocket', path: '/hostile' }], events: { noted: {} } })`,
)

t.test('a worker that sends nonsense ended its supervisor; one that exits with 1 is replaced', async (t) => {
  const { broker } = await startWorkers(t, { CONTRACTS: CONTRACT })
  t.equal((await readyz(broker)).status, 200)
  const client = await TestClient.connect(broker.url())
  await client.subscribe(['game_added'])
  await broker.publish('game-djinn', 'game_added', { data: { n: 1 } })
  t.equal((await client.type('game_added')).data.n, 1)
  await client.close()
  await eventually(() => broker.log.includes('neither a question nor an answer'))
  t.equal((await broker.ops('/metrics')).status, 200)
  const before = workersOf(broker)
  writeFileSync(join(folder, 'die'), '')
  await eventually(
    async () => (await broker.metric('worker_restarts_total')) === 1 && (await readyz(broker)).reasons.length === 0,
    30_000,
  )
  const now = workersOf(broker)
  t.equal(now.length, WORKERS)
  t.equal(now.filter((pid) => before.includes(pid)).length, WORKERS - 1, 'the other one stayed')
  t.match(broker.log, /"code":1,.*a worker died/)
})
