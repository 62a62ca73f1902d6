import type { HttpResponse, TemplatedApp } from 'uWebSockets.js'
import type { Metrics } from './metrics.ts'
import { PAGE } from './page.ts'

export interface OpsOptions {
  readonly metrics: Metrics
  /** What keeps the broker from being ready; empty: it is. */
  readonly unready: () => readonly string[]
  /** Live figures for the page. */
  readonly figures: () => Record<string, unknown>
  /** What the page needs to connect as a client. */
  readonly pageSettings: () => Record<string, unknown>
}

/** `/healthz`, `/readyz`, `/metrics` and the page. */
export function mountOps(app: TemplatedApp, { metrics, unready, figures, pageSettings }: OpsOptions): void {
  app.get('/healthz', (res) => end(res, '200 OK', 'application/json', '{"status":"ok"}'))
  app.get('/readyz', (res) => {
    const reasons = unready()
    const ready = reasons.length === 0
    end(res, ready ? '200 OK' : '503 Service Unavailable', 'application/json', JSON.stringify({ status: ready ? 'ready' : 'not ready', reasons }))
  })
  app.get('/metrics', (res) => {
    let aborted = false
    res.onAborted(() => {
      aborted = true
    })
    void metrics.text().then((text) => {
      if (!aborted) res.cork(() => end(res, '200 OK', metrics.contentType, text))
    })
  })
  app.get('/figures', (res) => end(res, '200 OK', 'application/json', JSON.stringify(figures())))
  app.get('/settings', (res) => end(res, '200 OK', 'application/json', JSON.stringify(pageSettings())))
  app.get('/', (res) => end(res, '200 OK', 'text/html; charset=utf-8', PAGE))
  app.any('/*', (res) => end(res, '404 Not Found', 'application/json', '{"error_code":"NOT_FOUND","message":"There are /, /healthz, /readyz and /metrics"}'))
}

function end(res: HttpResponse, status: string, type: string, body: string): void {
  res.writeStatus(status).writeHeader('Content-Type', type).writeHeader('Cache-Control', 'no-store').writeHeader('X-Content-Type-Options', 'nosniff').end(body)
}
