import type { MetricValues } from './metrics.ts'

/** The number of connections, and of members by room. */
export interface Stats {
  readonly connections: number
  readonly rooms: Readonly<Record<string, number>>
}

/** The figures that the page shows; `ops-server.ts` adds `room_count`. */
export interface PageFigures extends Stats {
  readonly state: string
  readonly source: string
  readonly source_connected: boolean
  readonly events: number
  readonly bad_events: number
  readonly deliveries: number
  readonly behind: number
  readonly lag_events: number
  readonly ring_events: number
  readonly ring_bytes: number
  readonly position: string
  readonly rss_bytes: number
  /** The number of worker processes, if there are several. */
  readonly workers?: number
}

/** The access that a token gives: a valid token at least that of a user. */
export type Access = 'nobody' | 'user' | 'admin'

/** The settings that the page needs to connect as a client. */
export interface PageSettings {
  readonly tls: boolean
  /** Applications with a raw WebSocket endpoint: the names to subscribe to, and the room patterns. */
  readonly apps: readonly {
    readonly app: string
    readonly port: number | undefined
    readonly path: string | undefined
    readonly names: readonly string[]
    readonly rooms: readonly string[]
  }[]
  /** Only in development. */
  readonly token: string | undefined
}

/** What one broker process reports about itself. */
export interface ProcessView {
  /** The reasons why it is not ready; empty: it is ready. */
  unready(): readonly string[]
  stats(): Stats
  figures(): PageFigures
  metricValues(): Promise<MetricValues[]>
  /** The same metrics in the text format of Prometheus. */
  metrics(): Promise<string>
  pageSettings(): PageSettings
  access(token: string): Access
}

/** What OPS_PORT shows, for one process or for several. */
export interface OpsView {
  readiness(): Promise<{ readonly ready: boolean; readonly reasons: readonly string[] }>
  figures(): Promise<PageFigures>
  metrics(): Promise<string>
  pageSettings(): Promise<PageSettings>
  access(token: string): Promise<Access>
}

/** The view of a broker with a single process. */
export function viewOfOne(view: ProcessView): OpsView {
  return {
    readiness: async () => {
      const reasons = view.unready()
      return { ready: reasons.length === 0, reasons }
    },
    figures: async () => view.figures(),
    metrics: () => view.metrics(),
    pageSettings: async () => view.pageSettings(),
    access: async (token) => view.access(token),
  }
}
