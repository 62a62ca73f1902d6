import { readFileSync } from 'node:fs'
import t from 'tap'
import { bench, newest, onLinux } from '../support/bench.ts'

const EVENTS_PER_SECOND = 100
const SECONDS = 4

/**
 * More than this machine's kernel takes for a socket that nobody reads, before the broker feels anything: what the
 * reader's end and the broker's may hold at most, and a quarter of it.
 */
function payloadBytes(): number {
  const most = (name: string) => Number(readFileSync(`/proc/sys/net/ipv4/${name}`, 'utf8').trim().split(/\s+/)[2])
  return Math.ceil((1.25 * (most('tcp_rmem') + most('tcp_wmem'))) / (EVENTS_PER_SECOND * SECONDS))
}

t.test('slow: stalled readers are held back, and have everything after their release', onLinux, async (t) => {
  const { status, stderr } = await bench(
    `slow --subscribers 4 --slow 50 --rate ${EVENTS_PER_SECOND} --seconds ${SECONDS} --payload ${payloadBytes()} --warmup 0 --release 300 --peers none`,
  )
  t.equal(status, 0, stderr)
  const run = newest('slow').runs.find(({ case: name }) => name === '50 % stalled')
  t.match(run?.figures, { missing: 0, twice: 0, disordered: 0, slowMissing: 0, slowCut: 0 })
  t.ok((run?.figures.heldBack ?? 0) > 0, 'events were held back')
  t.ok((run?.figures.fallen ?? 0) > 0, 'the broker felt them')
})
