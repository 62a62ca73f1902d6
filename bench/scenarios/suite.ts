import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import type { PeerName } from '../peers/peer.ts'
import { PEER_NAMES } from '../peers/peers.ts'
import { page } from '../report/page.ts'
import { number, protocol, peers, seed } from '../run/options.ts'
import { RESULTS } from '../run/session.ts'
import type { ProtocolName } from '../events/workload.ts'
import { fanout } from './fanout.ts'
import { latency } from './latency.ts'
import { slow } from './slow.ts'
import { storm } from './storm.ts'

interface SuiteFlags {
  readonly protocol: ProtocolName
  readonly subscribers: number
  readonly peers?: readonly PeerName[]
  readonly seed: number
}

/** `peers`: all servers in the four scenarios that all of them can be put through. */
export function addSuite(program: Command): void {
  program
    .command('peers')
    .description(
      'fanout, latency, storm and slow with every server there is, one after the other, and a page of them (10 minutes)',
    )
    .addOption(protocol())
    .addOption(number('--subscribers <n>', 'connections of fanout and storm', 5_000, 1))
    .addOption(peers('all'))
    .addOption(seed())
    .action(async ({ protocol: name, subscribers, peers: asked = PEER_NAMES, seed: chance }: SuiteFlags) => {
      const common = { protocol: name, peers: asked, seed: chance }
      const results = [
        await fanout({
          ...common,
          subscribers: [subscribers],
          payload: [200],
          rate: [10],
          seconds: 15,
          warmup: 10,
          rounds: 1,
          connects: 0,
        }),
        await latency({ ...common, subscribers: 200, payload: 200, rate: 50, seconds: 15, warmup: 10, rounds: 1 }),
        await storm({ ...common, subscribers, payload: 200, rate: 5, atOnce: 500, rounds: 1 }),
        await slow({
          ...common,
          subscribers: 1_000,
          slow: [5],
          how: 'stalled',
          bytesPerSecond: 20_000,
          payload: 16_000,
          rate: 20,
          seconds: 20,
          warmup: 10,
          release: 30,
          rounds: 1,
        }),
      ]
      const file = join(RESULTS, 'peers.html')
      writeFileSync(file, page(results))
      console.log(`written to ${file}`)
    })
}
