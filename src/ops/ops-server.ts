import { createHash } from 'node:crypto'
import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js'
import { BrokerError } from '../errors.ts'
import { soon } from '../guarded.ts'
import { isLoopback } from './allowed-host.ts'
import { METRICS_TYPE } from './metrics.ts'
import { PAGE } from './page.ts'
import type { Access, OpsView } from './view.ts'

interface Answer {
  readonly status: string
  readonly type: string
  readonly body: string
}

/** The sender of a request. */
interface Asker {
  /** From `Authorization: Bearer …`. */
  readonly token: string | undefined
  /** The request's `Host` is this machine. */
  readonly local: boolean
}

/**
 * `/healthz`, `/readyz`, `/metrics` and the page. Anyone who reaches the port may read counts. Names of rooms need a
 * token with the role admin, names of event types any valid token.
 * @param allows whether a `Host` is allowed; `/healthz` and `/readyz` answer any, because they reveal nothing else
 */
export function mountOps(app: TemplatedApp, view: OpsView, allows: (host: string) => boolean): void {
  const get = (path: string, make: (asker: Asker) => Promise<Answer> | Answer) =>
    app.get(path, (res, req) => {
      const host = req.getHeader('host')
      if (!allows(host)) return end(res, MISDIRECTED)
      answer(res, make, { token: tokenOf(req), local: isLoopback(host) })
    })
  app.get('/healthz', (res) => end(res, json('200 OK', { status: 'ok' })))
  app.get('/readyz', (res) =>
    answer(
      res,
      async () => {
        const { ready, reasons } = await view.readiness()
        return json(ready ? '200 OK' : '503 Service Unavailable', { status: ready ? 'ready' : 'not ready', reasons })
      },
      NOBODY,
    ),
  )
  get('/metrics', async () => ({ status: '200 OK', type: METRICS_TYPE, body: await view.metrics() }))
  get('/figures', async ({ token }) => {
    const access = await accessOf(view, token)
    const { rooms, ...counts } = await view.figures()
    return json('200 OK', {
      ...counts,
      room_count: Object.keys(rooms).length,
      ...(access === 'admin' ? { rooms } : undefined),
    })
  })
  get('/settings', async ({ token, local }) => {
    const access = await accessOf(view, token)
    const { token: developmentToken, apps, ...settings } = await view.pageSettings()
    const given = local ? developmentToken : undefined
    return json('200 OK', {
      ...settings,
      apps:
        access === 'nobody' && given === undefined
          ? apps.map(({ app: name, port, path }) => ({ app: name, port, path }))
          : apps,
      ...(given === undefined ? undefined : { token: given }),
    })
  })
  get('/', () => ({ status: '200 OK', type: 'text/html; charset=utf-8', body: PAGE }))
  app.any('/*', (res) =>
    end(
      res,
      json('404 Not Found', { error_code: 'NOT_FOUND', message: 'There are /, /healthz, /readyz and /metrics' }),
    ),
  )
}

const NOBODY: Asker = { token: undefined, local: false }

const MISDIRECTED = json('403 Forbidden', {
  error_code: 'ACCESS_DENIED',
  message: 'OPS_PORT is not asked by this name: use an IP address, or put the name into OPS_ALLOWED_HOSTS',
})

/** @throws BrokerError AUTH_FAILED if there is a token and it is not valid */
async function accessOf(view: OpsView, token: string | undefined): Promise<Access> {
  if (token === undefined) return 'nobody'
  const access = await view.access(token)
  if (access === 'nobody') throw new BrokerError('AUTH_FAILED')
  return access
}

function tokenOf(req: HttpRequest): string | undefined {
  return /^bearer\s+(\S+)\s*$/i.exec(req.getHeader('authorization'))?.[1]
}

function answer(res: HttpResponse, make: (asker: Asker) => Promise<Answer> | Answer, asker: Asker): void {
  let aborted = false
  res.onAborted(() => {
    aborted = true
  })
  // Answer in a later turn of the event loop: otherwise uWS would answer hundreds of requests that arrive in one piece
  // all in the same turn. This way, uWS ends a connection that sends a request before the previous one is answered.
  soon('ops port', async () => {
    if (aborted) return
    const answered = await Promise.resolve(asker)
      .then(make)
      .catch((error: unknown): Answer => {
        if (error instanceof BrokerError && error.code === 'AUTH_FAILED')
          return json('401 Unauthorized', { error_code: error.code, message: error.message })
        return json('503 Service Unavailable', { error_code: 'SERVICE_UNAVAILABLE', message: 'No process answers' })
      })
    if (!aborted) res.cork(() => end(res, answered))
  })
}

function json(status: string, body: unknown): Answer {
  return { status, type: 'application/json', body: JSON.stringify(body) }
}

/** The page may run only its own script, and may connect only to this port and to client ports. */
const POLICY = `default-src 'none'; script-src '${hashOf(/<script type="module">([\s\S]*)<\/script>/.exec(PAGE)?.[1] ?? '')}'; style-src 'unsafe-inline'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`

function hashOf(script: string): string {
  return `sha256-${createHash('sha256').update(script).digest('base64')}`
}

function end(res: HttpResponse, { status, type, body }: Answer): void {
  res
    .writeStatus(status)
    .writeHeader('Content-Type', type)
    .writeHeader('Cache-Control', 'no-store')
    .writeHeader('X-Content-Type-Options', 'nosniff')
    .writeHeader('Cross-Origin-Resource-Policy', 'same-origin')
  if (type.startsWith('text/html')) res.writeHeader('Content-Security-Policy', POLICY)
  res.end(body)
}
