import type { HttpResponse, TemplatedApp } from 'uWebSockets.js'
import { METRICS_TYPE } from './metrics.ts'
import { PAGE } from './page.ts'
import type { OpsView } from './view.ts'

/** `/healthz`, `/readyz`, `/metrics` and the page. */
export function mountOps(app: TemplatedApp, view: OpsView): void {
  app.get('/healthz', (res) => end(res, '200 OK', 'application/json', '{"status":"ok"}'))
  app.get('/readyz', (res) =>
    answer(res, 'application/json', async () => {
      const { ready, reasons } = await view.readiness()
      return [ready ? '200 OK' : '503 Service Unavailable', JSON.stringify({ status: ready ? 'ready' : 'not ready', reasons })]
    }),
  )
  app.get('/metrics', (res) => answer(res, METRICS_TYPE, async () => ['200 OK', await view.metrics()]))
  app.get('/figures', (res) => answer(res, 'application/json', async () => ['200 OK', JSON.stringify(await view.figures())]))
  app.get('/settings', (res) => answer(res, 'application/json', async () => ['200 OK', JSON.stringify(await view.pageSettings())]))
  app.get('/', (res) => end(res, '200 OK', 'text/html; charset=utf-8', PAGE))
  app.any('/*', (res) => end(res, '404 Not Found', 'application/json', '{"error_code":"NOT_FOUND","message":"There are /, /healthz, /readyz and /metrics"}'))
}

function answer(res: HttpResponse, type: string, make: () => Promise<[status: string, body: string]>): void {
  let aborted = false
  res.onAborted(() => {
    aborted = true
  })
  void make()
    .catch((): [string, string] => ['503 Service Unavailable', '{"error_code":"SERVICE_UNAVAILABLE","message":"No process answers"}'])
    .then(([status, body]) => {
      if (!aborted) res.cork(() => end(res, status, type, body))
    })
}

function end(res: HttpResponse, status: string, type: string, body: string): void {
  res.writeStatus(status).writeHeader('Content-Type', type).writeHeader('Cache-Control', 'no-store').writeHeader('X-Content-Type-Options', 'nosniff').end(body)
}
