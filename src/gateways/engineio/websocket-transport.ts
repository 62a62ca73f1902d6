import type { HttpRequest, HttpResponse, TemplatedApp, us_socket_context_t } from 'uWebSockets.js'
import { guardSocket } from '../handlers.ts'
import { Arrival } from '../handoff/arrival.ts'
import type { Handoffs } from '../handoff/handoffs.ts'
import { openProbe, receiveProbe } from './probe.ts'
import { queryOf } from './query.ts'
import { type EngineIoRequests, FAULTS } from './requests.ts'
import { EngineIoSession, type EngineIoSocket, type EngineIoSocketData } from './session.ts'
import type { EngineIoSessions } from './sessions.ts'

export interface WebSocketTransportOptions {
  readonly path: string
  readonly payloadBytes: number
  readonly backpressureBytes: number
  readonly upgradeTimeoutMs: number
  readonly sessions: EngineIoSessions
  readonly requests: EngineIoRequests
  /** Where other workers share the port. */
  readonly handoffs: Handoffs<EngineIoSocket> | undefined
}

const NO_PROPERTIES = {}

/** Engine.IO's WebSockets: those that sessions begin with, and those that are to take over from long-polling. */
export class WebSocketTransport {
  private readonly options: WebSocketTransportOptions
  /** Of the WebSocket that is being opened: uWS does that within `upgrade`. */
  private arriving: EngineIoSession | Arrival<EngineIoSocket> | undefined

  constructor(app: TemplatedApp, options: WebSocketTransportOptions) {
    this.options = options
    app.ws<EngineIoSocketData>(
      options.path,
      guardSocket<EngineIoSocketData>('socket.io websocket', {
        // uWS holds the parts of a message until the last one is there, of anybody's.
        maxPayloadLength: options.payloadBytes,
        maxBackpressure: options.backpressureBytes,
        // The protocol's own heartbeat finds dead connections.
        idleTimeout: 0,
        sendPingsAutomatically: false,
        upgrade: (res, req, context) => this.upgrade(res, req, context),
        open: (ws) => this.open(ws),
        message: (ws, frame, binary) => this.receive(ws, frame, binary),
        dropped: (ws, frame) => carriedBy(ws)?.handler.dropped(new Uint8Array(frame)),
        drain: (ws) => carriedBy(ws)?.handler.drained(),
        close: (ws) => this.close(ws),
      }),
    )
  }

  private upgrade(res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void {
    const { sessions, requests } = this.options
    const query = queryOf(req.getQuery())
    const fault = requests.faultIn(req, query, 'websocket')
    if (fault) return requests.refuse(res, req, fault)
    const { sid, token } = query
    const owner = sid === null ? undefined : sessions.ownerOf(sid)
    let session: EngineIoSession | Arrival<EngineIoSocket> | undefined
    if (sid === null || owner !== undefined) {
      const address = requests.addressOf(res, req)
      if (!sessions.admits(address)) return requests.refuse(res, req, FAULTS.forbidden)
      session = sid === null ? sessions.open(token, false, address) : new Arrival(sid, owner as number, address)
    } else {
      session = sessions.find(sid)
      if (!session) return requests.refuse(res, req, FAULTS.sid)
      if (!session.mayUpgrade) return requests.refuse(res, req, FAULTS.request)
    }
    // Properties given here are copied one by one through V8's interface: 1 % of a handshake for this one.
    this.arriving = session
    // No extensions: frames are not compressed.
    res.upgrade(NO_PROPERTIES, req.getHeader('sec-websocket-key'), '', '', context)
  }

  private open(ws: EngineIoSocket): void {
    const { sessions, handoffs, upgradeTimeoutMs } = this.options
    const session = this.arriving as EngineIoSession | Arrival<EngineIoSocket>
    ws.getUserData().session = session
    if (session instanceof Arrival) handoffs?.open(ws, session)
    else if (session.polling) openProbe(session, ws, upgradeTimeoutMs)
    else sessions.begin(session, ws)
  }

  private receive(ws: EngineIoSocket, frame: ArrayBuffer, binary: boolean): void {
    const { session } = ws.getUserData()
    if (session instanceof Arrival) this.options.handoffs?.receive(ws, session, frame, binary)
    else if (session.socket === ws) session.receive(frame, binary)
    else if (session.probe === ws && receiveProbe(session, ws, frame)) this.options.sessions.upgrade(session, ws)
  }

  private close(ws: EngineIoSocket): void {
    const { session } = ws.getUserData()
    if (session instanceof Arrival) this.options.handoffs?.closed(session)
    else if (session.socket === ws) {
      session.socket = undefined
      session.ended()
    } else if (session.probe === ws) session.probe = undefined
  }
}

/** The session that a WebSocket carries already. */
function carriedBy(ws: EngineIoSocket): EngineIoSession | undefined {
  const { session } = ws.getUserData()
  return session instanceof EngineIoSession && session.socket === ws ? session : undefined
}
