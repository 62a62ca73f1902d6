import { AggregatorRegistry, type Registry } from 'prom-client'
import type { MetricValues } from './metrics.ts'
import type { PageFigures, Stats } from './view.ts'

/** Combines the metrics of several processes. */
export function aggregated(processes: readonly (readonly MetricValues[])[]): Registry {
  return AggregatorRegistry.aggregate([...processes])
}

/**
 * Keeps the counts of processes that are gone. Without them, totals would fall when a worker is replaced, and
 * Prometheus would take that for a restart and count everything again.
 */
export function remembered(before: readonly MetricValues[], last: readonly MetricValues[]): MetricValues[] {
  const counted = last.filter(({ type }) => type === 'counter' || type === 'histogram')
  return aggregated([before, counted]).getMetricsAsArray() as unknown as MetricValues[]
}

export function totalStats(processes: readonly Stats[]): Stats {
  const rooms = new Map<string, number>()
  for (const stats of processes)
    for (const [room, members] of Object.entries(stats.rooms)) rooms.set(room, (rooms.get(room) ?? 0) + members)
  return { connections: sum(processes.map(({ connections }) => connections)), rooms: Object.fromEntries(rooms) }
}

/**
 * Combines the figures of several processes. Every process reads all events, so the largest event count is the total.
 */
export function totalFigures(processes: readonly PageFigures[]): PageFigures {
  const [first] = processes
  if (first === undefined) throw new Error('no process, no figures')
  const of = (
    name: 'events' | 'bad_events' | 'deliveries' | 'behind' | 'lag_events' | 'ring_events' | 'ring_bytes' | 'rss_bytes',
  ) => processes.map((figures) => figures[name])
  return {
    ...first,
    ...totalStats(processes),
    state: processes.some(({ state }) => state === 'serving') ? 'serving' : first.state,
    source_connected: processes.every(({ source_connected }) => source_connected),
    events: Math.max(...of('events')),
    bad_events: Math.max(...of('bad_events')),
    deliveries: sum(of('deliveries')),
    behind: sum(of('behind')),
    lag_events: Math.max(...of('lag_events')),
    ring_events: Math.max(...of('ring_events')),
    ring_bytes: sum(of('ring_bytes')),
    rss_bytes: sum(of('rss_bytes')),
    workers: processes.length,
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
