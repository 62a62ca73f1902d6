import type { CohortTally } from '../load/crowd.ts'
import { progress } from '../progress.ts'
import type { Peer } from '../peers/peer.ts'
import type { Run } from '../report/result.ts'
import { figuresOf, measureDeliveries, warmUp } from '../run/deliveries.ts'
import { Recorder } from '../run/recorder.ts'
import { NotMeasured, type Place, Stage } from '../run/stage.ts'
import type { Workload } from '../workload.ts'

/** One room and steady events: what `fanout` and `latency` put a server through. */
export interface Delivering {
  readonly workload: Workload
  readonly subscribers: number
  readonly dataBytes: number
  readonly perSecond: number
  readonly seconds: number
  readonly warmupSeconds: number
  /** Clients of the raw server subscribe by message, as Roomcast's do, instead of being subscribed as they open. */
  readonly rawByMessage: boolean
}

const SAMPLE_MS = 500

/** Starts a server, connects everybody, publishes, measures; and ends all of it. */
export async function deliver(peer: Peer, load: Delivering, place: Place, at: { readonly case: string; readonly round: number }, label: string): Promise<Run> {
  const { workload, subscribers, rawByMessage, warmupSeconds, perSecond, seconds, dataBytes } = load
  progress(`${label}: starting`)
  const stage = await Stage.open({ peer, workload, rawByMessage, cohorts: (target) => [{ name: 'all', target, connections: subscribers, common: true, series: 0 }] }, place)
  try {
    progress(`${label}: connecting ${subscribers}`)
    const connecting = await stage.connect()
    progress(`${label}: warming up for ${warmupSeconds} s`, warmupSeconds)
    const steady = { perSecond, seconds, dataBytes }
    await warmUp(stage, [steady], warmupSeconds)
    progress(`${label}: measuring for ${seconds} s`, seconds)
    const recorder = new Recorder(stage, SAMPLE_MS)
    const { cpuPerEventUs: _, ...delivering } = await measureDeliveries(stage, [steady])
    const timeline = await recorder.stop()
    const tally = (await stage.tally()).get('all') as CohortTally
    if (tally.cut > 0) throw new NotMeasured(`${tally.cut} connections were cut: ${tally.reason}`)
    const { connectSeconds: __, connectsPerSecond: ___, ...handshake } = connecting
    return { side: peer.name, ...at, figures: { ...delivering, ...figuresOf(tally), ...handshake }, latencies: tally.latencies.encode(), timeline }
  } finally {
    await stage.close()
  }
}
