import type { CohortTally } from '../load/crowd.ts'
import type { Figures } from '../report/result.ts'
import type { Load, Stage } from './stage.ts'

/** What a cohort got. */
export function figuresOf({ latencies, deliveries, missing, twice, disordered, cut, bytes }: CohortTally): Figures {
  return {
    p50Ms: latencies.ms(50),
    p90Ms: latencies.ms(90),
    p99Ms: latencies.ms(99),
    p999Ms: latencies.ms(99.9),
    maxMs: latencies.maxMs,
    frameBytes: latencies.count === 0 ? 0 : bytes / latencies.count,
    deliveries,
    missing,
    twice,
    disordered,
    ...(cut > 0 ? { cut } : undefined),
  }
}

/** Loads without measuring, until all that was published has arrived. */
export async function warmUp(stage: Stage, load: Load, seconds: number): Promise<void> {
  if (seconds <= 0) return
  await stage.publish({ ...load, seconds })
  await stage.arrival()
}

/** Publishes all loads at the same time and measures until everything has arrived. @returns figures and latencies of all cohorts together */
export async function measureDeliveries(stage: Stage, loads: readonly Load[]): Promise<{ figures: Figures; tallies: Map<string, CohortTally> }> {
  await stage.crowd.record()
  const start = stage.usage()
  const published = await Promise.all(loads.map((load) => stage.publish(load)))
  await stage.arrival()
  const used = (deliveries: number) => stage.usedSince(start, deliveries, published.reduce((sum, { events }) => sum + events, 0))
  const { arrived } = await stage.crowd.state()
  const usage = used(1)
  const tallies = await stage.tally()
  const deliveries = [...tallies.values()].reduce((sum, tally) => sum + tally.deliveries, 0) || arrived
  const perDelivery = Object.fromEntries((['cpuUs', 'cpuUserUs', 'cpuSystemUs'] as const).map((name) => [name, (usage[name] ?? 0) / deliveries]))
  return { figures: { ...usage, ...perDelivery, lateMsMax: Math.max(...published.map(({ lateMsMax }) => lateMsMax)) }, tallies }
}
