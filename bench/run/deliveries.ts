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
export async function warmUp(stage: Stage, loads: readonly Load[], seconds: number): Promise<void> {
  if (seconds <= 0) return
  await Promise.all(loads.map((load) => stage.publish({ ...load, seconds })))
  await stage.arrival()
}

/**
 * Publishes all loads at the same time and measures until everything has arrived. The tally is the caller's to take.
 * @param cohorts who must have everything; default: all
 */
export async function measureDeliveries(stage: Stage, loads: readonly Load[], cohorts?: readonly string[]): Promise<Figures> {
  const { arrived: arrivedBefore } = await stage.crowd.state()
  await stage.crowd.record()
  const start = stage.usage()
  const published = await Promise.all(loads.map((load) => stage.publish(load)))
  await stage.arrival(undefined, cohorts)
  const end = stage.usage()
  const { arrived } = await stage.crowd.state()
  const events = published.reduce((sum, one) => sum + one.events, 0)
  return { ...stage.usedBetween(start, end, arrived - arrivedBefore, events), lateMsMax: Math.max(...published.map(({ lateMsMax }) => lateMsMax)) }
}
