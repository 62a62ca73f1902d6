import type { MetricValues } from './metrics.ts'

/** Connections, and members by room. */
export interface Stats {
  readonly connections: number
  readonly rooms: Readonly<Record<string, number>>
}

/** What the page shows. */
export interface Figures extends Stats {
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
  /** Worker processes that serve, where there are several. */
  readonly workers?: number
}

/** What whoever shows a token may see: a good token is a user's. */
export type Access = 'nobody' | 'user' | 'admin'

/** What the page needs to connect as a client. */
export interface PageSettings {
  readonly port: number | undefined
  readonly tls: boolean
  /** Applications with a raw WebSocket endpoint: what can be subscribed to, and which kinds of rooms there are. */
  readonly apps: readonly {
    readonly app: string
    readonly path: string | undefined
    readonly names: readonly string[]
    readonly rooms: readonly string[]
  }[]
  /** In development alone. */
  readonly token: string | undefined
}

/** What one broker process says of itself. */
export interface ProcessView {
  /** What keeps it from being ready; empty: it is. */
  unready(): readonly string[]
  stats(): Stats
  figures(): Figures
  metricValues(): Promise<MetricValues[]>
  /** The same in Prometheus' text format. */
  metrics(): Promise<string>
  pageSettings(): PageSettings
  access(token: string): Access
}

/** What is told on OPS_PORT, of one process or of several. */
export interface OpsView {
  readiness(): Promise<{ readonly ready: boolean; readonly reasons: readonly string[] }>
  figures(): Promise<Figures>
  metrics(): Promise<string>
  pageSettings(): Promise<PageSettings>
  access(token: string): Promise<Access>
}

/** A process that stands alone. */
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
