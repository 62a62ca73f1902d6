import { type Aggregator, collectDefaultMetrics, Counter, Gauge, type Metric, Registry } from 'prom-client'
import type { Hub } from '../hub/hub.ts'
import type { EventLog } from '../log/event-log.ts'
import { LATENCY_BUCKETS_MS, type Meters } from '../meters.ts'
import type { Source } from '../source/source.ts'

/** A metric with its values, as a worker sends it to the supervisor. */
export interface MetricValues {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary'
  readonly aggregator: Aggregator
  readonly values: readonly {
    readonly labels: Readonly<Record<string, string | number>>
    readonly value: number
    readonly metricName?: string
  }[]
}

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

const EVENT_LOOP_PRECISION_MS = 250

export interface MetricSources {
  readonly meters: Meters
  readonly hub: Hub
  readonly log: EventLog
  readonly source: Source
  readonly roomCount: () => number
}

/**
 * The broker's metrics for Prometheus. They are read from `Meters` on each scrape, so the data path needs no registry.
 */
export class Metrics {
  private readonly registry = new Registry()
  private readonly figures: MetricSources

  constructor(figures: MetricSources) {
    this.figures = figures
    const { meters, hub, log, source } = figures
    // The default precision wakes an idle process a hundred times a second.
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION_MS })
    const lag = () => hub.catchUp.lag(Date.now())
    this.gauge('connections', 'Open connections', () => meters.connections)
    this.gauge('rooms', 'Rooms with members; several workers count each their own', () => figures.roomCount())
    this.gauge('source_connected', '1 while the source of events is in reach', () => (source.connected ? 1 : 0), 'min')
    // These and `sessions_fallen_total` keep the names that dashboards know: a session is a subscriber here.
    this.gauge(
      'sessions_behind',
      'Subscribers that are catching up from the log: their socket is slow, or they came back',
      () => hub.catchUp.catchingUp,
    )
    this.gauge('lag_events', 'Events that the furthest subscriber has yet to get', () => lag().events, 'max')
    this.gauge('lag_seconds', 'Age of the next event of the furthest subscriber', () => lag().seconds, 'max')
    this.gauge(
      'live_backlog_events',
      'Events read from the source and not yet delivered live',
      () => log.ring.backlog,
      'max',
    )
    this.gauge('ring_events', 'Events in the ring', () => log.ring.size, 'max')
    this.gauge('ring_bytes', 'Memory of the ring, frames included', () => log.ring.bytes)
    this.counter('connections_opened_total', 'Connections since start', () => meters.connectionsOpened)
    this.counter('events_total', 'Events read; each of several workers reads all', () => meters.events)
    this.counter(
      'event_bytes_total',
      'Bytes of events read; each of several workers reads all',
      () => meters.eventBytes,
    )
    this.counter('bad_events_total', 'Bodies that were no events', () => meters.badEvents)
    this.counter('unknown_events_total', 'Events that no contract knows', () => meters.unknownEvents)
    this.labelled(
      'left_out_events_total',
      'Both of these, by application, subjects, type (`-`: none that the contract has) and reason',
      ['app', 'subjects', 'type', 'code'],
      () => meters.leftOutEvents,
    )
    this.counter(
      'bad_records_total',
      'Records and messages of other programs where brokers write for each other; they were left out',
      () => meters.badRecords,
    )
    this.counter(
      'lost_events_total',
      'Events that the stream forgot before they were read; clients were told',
      () => meters.lostEvents,
    )
    this.counter(
      'drops_total',
      'Frames that full sockets dropped; each was sent again from the log',
      () => meters.drops,
    )
    this.counter(
      'sessions_fallen_total',
      'Times that a subscriber with a full socket left live delivery',
      () => meters.overflowed,
    )
    this.labelled('deliveries_total', 'Events delivered live', ['format'], () => meters.deliveries)
    this.labelled(
      'catch_up_deliveries_total',
      'Events delivered from the log',
      ['format'],
      () => meters.catchUpDeliveries,
    )
    this.labelled('delivered_bytes_total', 'Bytes of delivered events', ['format'], () => meters.deliveredBytes)
    this.labelled('commands_total', 'Commands', ['app', 'command'], () => meters.commands)
    this.registry.registerMetric({ name: this.latency().name, get: () => this.latency() } as unknown as Metric)
    this.labelled(
      'faults_total',
      'Faults that the guard caught: nobody was harmed, and each is a defect; the log has its stack',
      ['where'],
      () => meters.faults,
    )
    this.labelled('errors_total', 'Errors that clients were told', ['code'], () => meters.errors)
  }

  async values(): Promise<MetricValues[]> {
    return (await this.registry.getMetricsAsJSON()) as unknown as MetricValues[]
  }

  async text(): Promise<string> {
    return this.registry.metrics()
  }

  /** `Meters` counts the buckets of this histogram, so its values are built here rather than by the registry. */
  private latency(): MetricValues {
    const { latency, latencySumMs } = this.figures.meters
    const name = 'roomcast_publish_to_socket_seconds'
    let count = 0
    const buckets = latency.map((n, i) => {
      count += n
      const bound = LATENCY_BUCKETS_MS[i]
      return {
        metricName: `${name}_bucket`,
        labels: { le: bound === undefined ? '+Inf' : String(bound / 1000) },
        value: count,
      }
    })
    const values = [
      ...buckets,
      { metricName: `${name}_sum`, labels: {}, value: latencySumMs / 1000 },
      { metricName: `${name}_count`, labels: {}, value: count },
    ]
    return {
      name,
      help: "Time from an event's storage to its publication to sockets",
      type: 'histogram',
      aggregator: 'sum',
      values,
    }
  }

  /** @param aggregator how the values of several workers are combined */
  private gauge(name: string, help: string, read: () => number, aggregator: Aggregator = 'sum'): void {
    const gauge: Gauge = new Gauge({
      name: `roomcast_${name}`,
      help,
      aggregator,
      registers: [this.registry],
      collect: () => gauge.set(read()),
    })
  }

  private counter(name: string, help: string, read: () => number): void {
    const counter: Counter = new Counter({
      name: `roomcast_${name}`,
      help,
      registers: [this.registry],
      collect: () => {
        counter.reset()
        counter.inc(read())
      },
    })
  }

  private labelled(name: string, help: string, labelNames: string[], read: () => ReadonlyMap<string, number>): void {
    const counter: Counter = new Counter({
      name: `roomcast_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      collect: () => {
        counter.reset()
        for (const [key, n] of read())
          counter.inc(
            Object.fromEntries(
              (labelNames.length === 1 ? [key] : key.split(' ')).map((value, i) => [labelNames[i] as string, value]),
            ),
            n,
          )
      },
    })
  }
}
