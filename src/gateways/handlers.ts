import type { HttpRequest, HttpResponse, us_socket_context_t, WebSocket, WebSocketBehavior } from 'uWebSockets.js'
import { guarded, reportFault, runGuarded } from '../guarded.ts'

/**
 * Puts the handlers of uWS behind the guard, so that a handler that throws affects only its own connection or request.
 * uWS would pass the error to Node as uncaught, and it ends the process if a request's handler returns without an
 * answer.
 */

/** @param where names the endpoint, for logs and metrics */
export function guardSocket<T>(where: string, behavior: WebSocketBehavior<T>): WebSocketBehavior<T> {
  const { upgrade, open, message, dropped, drain, close } = behavior
  return {
    ...behavior,
    ...(upgrade && {
      upgrade: (res: HttpResponse, req: HttpRequest, context: us_socket_context_t) =>
        orServerError(where, res, () => upgrade(res, req, context)),
    }),
    ...(open && { open: (ws: WebSocket<T>) => orClose(where, ws, () => open(ws)) }),
    ...(message && {
      message: (ws: WebSocket<T>, frame: ArrayBuffer, binary: boolean) =>
        orClose(where, ws, () => void message(ws, frame, binary)),
    }),
    ...(dropped && { dropped: guarded(where, dropped) }),
    ...(drain && { drain: guarded(where, drain) }),
    ...(close && { close: guarded(where, close) }),
  } as WebSocketBehavior<T>
}

/** Guards an HTTP handler: if it throws, the request is answered 500. */
export function guardRequest(
  where: string,
  handle: (res: HttpResponse, req: HttpRequest) => void,
): (res: HttpResponse, req: HttpRequest) => void {
  return (res, req) => orServerError(where, res, () => handle(res, req))
}

/**
 * Guards work that continues after a request's handler has returned: if it fails, the client gets a 500. The request
 * must have an abort handler that sets `aborted`.
 */
export function finishGuarded(where: string, res: HttpResponse, outcome: Promise<void>): void {
  outcome.catch((error: unknown) => {
    reportFault(where, error)
    if (!res.aborted) runGuarded(where, () => res.cork(() => endWithServerError(res)))
  })
}

function orServerError(where: string, res: HttpResponse, handle: () => void): void {
  try {
    handle()
  } catch (error) {
    reportFault(where, error)
    try {
      endWithServerError(res)
    } catch {
      // It was already answered, upgraded or gone.
    }
  }
}

function orClose<T>(where: string, ws: WebSocket<T>, act: () => void): void {
  try {
    act()
  } catch (error) {
    reportFault(where, error)
    try {
      ws.close()
    } catch {
      // It is already closed.
    }
  }
}

function endWithServerError(res: HttpResponse): void {
  res
    .writeStatus('500 Internal Server Error')
    .writeHeader('Content-Type', 'application/json')
    .end('{"error_code":"INTERNAL","message":"Something went wrong inside the broker"}', true)
}
