import { randomUUID } from 'node:crypto'
import { decodePayload } from 'engine.io-parser'
import type { HttpRequest, HttpResponse, TemplatedApp, us_socket_context_t } from 'uWebSockets.js'
import { allowsOrigin } from '../upgrade.ts'
import type { Connection } from './connection.ts'
import { EngineSession, type EngineSocketData } from './engine-session.ts'
import { Heartbeat } from './heartbeat.ts'
import type { Polling } from './polling.ts'

export interface EngineOptions {
  readonly pingIntervalMs: number
  readonly pingTimeoutMs: number
  readonly upgradeTimeoutMs: number
  /** A client that has connected to no namespace by then is closed. */
  readonly connectTimeoutMs: number
  readonly payloadBytes: number
  readonly backpressureBytes: number
  readonly origins: readonly string[]
  readonly makeConnection: (session: EngineSession, query: URLSearchParams) => Connection
  /** Called before heartbeats go out. */
  readonly onBeat: () => void
  /** Whether a further connection may come. */
  readonly admits: () => boolean
}

/** Engine.IO's errors: answers with status 400 (engine.io-protocol, "Handshake"; codes as the reference server's). */
const FAULTS = {
  transport: '{"code":0,"message":"Transport unknown"}',
  sid: '{"code":1,"message":"Session ID unknown"}',
  method: '{"code":2,"message":"Bad handshake method"}',
  request: '{"code":3,"message":"Bad request"}',
  forbidden: '{"code":4,"message":"Forbidden"}',
  version: '{"code":5,"message":"Unsupported protocol version"}',
} as const

const PATH = '/socket.io/'
const TRANSPORT_PAYLOAD_FACTOR = 4
const FAREWELL_MS = 5_000

/** An Engine.IO 4 server on one port: handshake, both transports, the upgrade from one to the other, heartbeat. */
export class Engine {
  readonly sessions = new Map<string, EngineSession>()
  /** Long-polling sessions that were closed between two polls: the next one is told so, instead of failing. */
  private readonly farewells = new Map<string, Polling>()
  private readonly options: EngineOptions
  private readonly heartbeat: Heartbeat

  constructor(app: TemplatedApp, options: EngineOptions) {
    this.options = options
    this.heartbeat = new Heartbeat(options, (topic) => {
      options.onBeat()
      app.publish(topic, '2', false, false)
    })
    app.ws<EngineSocketData>(PATH, {
      maxPayloadLength: options.payloadBytes * TRANSPORT_PAYLOAD_FACTOR,
      maxBackpressure: options.backpressureBytes,
      // The protocol's own heartbeat finds dead connections.
      idleTimeout: 0,
      sendPingsAutomatically: false,
      upgrade: (res, req, context) => this.upgrade(res, req, context),
      open: (ws) => {
        const { session, probing } = ws.getUserData()
        if (probing) session.probe = ws
        else {
          session.socket = ws
          session.polling = undefined
          ws.subscribe(this.heartbeat.topicOf(session))
          ws.send(this.openPacket(session, []))
        }
      },
      message: (ws, frame, binary) => {
        const { session } = ws.getUserData()
        if (session.socket === ws) this.receive(session, frame, binary)
        else if (session.probe === ws) this.receiveProbe(session, frame)
      },
      dropped: (ws, frame) => {
        const { session } = ws.getUserData()
        if (session.socket === ws) session.connection.dropped(new Uint8Array(frame))
      },
      drain: (ws) => {
        const { session } = ws.getUserData()
        if (session.socket === ws) session.connection.drained()
      },
      close: (ws) => {
        const { session } = ws.getUserData()
        if (session.socket === ws) {
          session.socket = undefined
          session.ended()
        } else if (session.probe === ws) session.probe = undefined
      },
    })
    app.get(PATH, (res, req) => this.get(res, req))
    app.post(PATH, (res, req) => this.post(res, req))
    app.options(PATH, (res, req) => this.answerFor(req)(res, '204 No Content', 'text/plain', ''))
    app.any(PATH, (res, req) => this.refuse(res, req, FAULTS.method))
  }

  stop(): void {
    this.heartbeat.stop()
  }

  private upgrade(res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void {
    const query = new URLSearchParams(req.getQuery())
    const fault = this.faultIn(req, query, 'websocket')
    if (fault) return this.refuse(res, req, fault)
    const sid = query.get('sid')
    let session: EngineSession | undefined
    if (sid === null) {
      if (!this.options.admits()) return this.refuse(res, req, FAULTS.forbidden)
      session = this.open(query)
    } else {
      session = this.sessions.get(sid)
      if (!session) return this.refuse(res, req, FAULTS.sid)
      if (session.native || session.probe) return this.refuse(res, req, FAULTS.request)
    }
    const data: EngineSocketData = { session, probing: sid !== null }
    res.upgrade(data, req.getHeader('sec-websocket-key'), '', req.getHeader('sec-websocket-extensions'), context)
  }

  private get(res: HttpResponse, req: HttpRequest): void {
    const query = new URLSearchParams(req.getQuery())
    const answer = this.answerFor(req)
    const fault = this.faultIn(req, query, 'polling')
    if (fault) return this.refuse(res, req, fault)
    const sid = query.get('sid')
    if (sid === null) {
      if (!this.options.admits()) return this.refuse(res, req, FAULTS.forbidden)
      answer(res, '200 OK', 'text/plain; charset=UTF-8', this.openPacket(this.open(query), ['websocket']))
      return
    }
    const session = this.sessions.get(sid)
    if (!session) {
      res.onAborted(() => {
        res.aborted = true
      })
      this.farewells.get(sid)?.wait(res, answer)
      this.farewells.delete(sid)
      return
    }
    const { polling } = session
    if (!polling || polling.polled) {
      this.refuse(res, req, FAULTS.request)
      if (polling) session.discard()
      return
    }
    res.onAborted(() => {
      res.aborted = true
      polling.forget()
      if (session.polling === polling) session.ended()
    })
    polling.wait(res, answer)
  }

  private post(res: HttpResponse, req: HttpRequest): void {
    const query = new URLSearchParams(req.getQuery())
    const answer = this.answerFor(req)
    const fault = this.faultIn(req, query, 'polling')
    if (fault) return this.refuse(res, req, fault)
    const sid = query.get('sid')
    if (sid === null) return this.refuse(res, req, FAULTS.method)
    const session = this.sessions.get(sid)
    // Its next poll tells it that the session is over.
    if (!session) return answer(res, '200 OK', 'text/html', 'ok')
    if (!session.polling || session.posting) {
      this.refuse(res, req, FAULTS.request)
      if (session.posting) session.discard()
      return
    }
    session.posting = true
    const chunks: Buffer[] = []
    let bytes = 0
    res.onAborted(() => {
      res.aborted = true
      session.ended()
    })
    res.onData((chunk, isLast) => {
      if (bytes > this.options.payloadBytes) return
      bytes += chunk.byteLength
      if (bytes > this.options.payloadBytes) {
        answer(res, '413 Payload Too Large', 'text/plain', '')
        session.discard()
        return
      }
      chunks.push(Buffer.from(chunk.slice(0)))
      if (!isLast) return
      session.posting = false
      if (session.closed) return answer(res, '400 Bad Request', 'application/json', FAULTS.sid)
      answer(res, '200 OK', 'text/html', 'ok')
      this.receivePayload(session, Buffer.concat(chunks).toString())
    })
  }

  private receivePayload(session: EngineSession, body: string): void {
    for (const { type, data } of decodePayload(body, 'nodebuffer')) {
      if (session.closed) return
      if (type === 'message') session.connection.receive(data)
      else if (type === 'pong') session.unanswered = 0
      else if (type === 'close') {
        const { polling } = session
        session.ended()
        // Its open poll is told by a NOOP, as the reference server does.
        polling?.push({ type: 'noop' })
        polling?.flush()
      } else session.discard()
    }
  }

  private receive(session: EngineSession, frame: ArrayBuffer, binary: boolean): void {
    if (frame.byteLength > this.options.payloadBytes) return session.discard()
    // A copy: the frame is gone after this call.
    if (binary) return session.connection.receive(Buffer.from(frame.slice(0)))
    const text = Buffer.from(frame).toString()
    switch (text[0]) {
      case '4':
        return session.connection.receive(text.slice(1))
      case '3':
        session.unanswered = 0
        return
      default:
        // `1` closes; anything else is no packet that a client may send.
        return session.discard()
    }
  }

  /** `2probe` → `3probe`, then `5` and the WebSocket takes over (engine.io-protocol, "Upgrade"). */
  private receiveProbe(session: EngineSession, frame: ArrayBuffer): void {
    const text = Buffer.from(frame).toString()
    const { probe } = session
    if (probe === undefined) return
    if (text === '2probe') {
      probe.send('3probe')
      const release = () => {
        if (session.probe !== probe || session.closed) return
        if (session.polling?.polled) session.polling.push({ type: 'noop' })
        else setTimeout(release, 50)
      }
      release()
      setTimeout(() => {
        if (session.probe === probe) probe.close()
      }, this.options.upgradeTimeoutMs)
    } else if (text === '5' && !session.closed) {
      probe.subscribe(this.heartbeat.topicOf(session))
      session.upgrade(probe)
    } else probe.close()
  }

  private open(query: URLSearchParams): EngineSession {
    const session: EngineSession = new EngineSession(
      randomUUID(),
      this.heartbeat.now,
      (made) => this.options.makeConnection(made, query),
      () => {
        this.sessions.delete(session.sid)
        this.heartbeat.remove(session)
      },
      (polling) => {
        this.farewells.set(session.sid, polling)
        setTimeout(() => this.farewells.delete(session.sid), FAREWELL_MS).unref()
      },
    )
    this.sessions.set(session.sid, session)
    this.heartbeat.add(session)
    return session
  }

  private openPacket({ sid }: EngineSession, upgrades: readonly string[]): string {
    const { pingIntervalMs, pingTimeoutMs, payloadBytes } = this.options
    return `0${JSON.stringify({ sid, upgrades, pingInterval: pingIntervalMs, pingTimeout: pingTimeoutMs, maxPayload: payloadBytes })}`
  }

  private faultIn(req: HttpRequest, query: URLSearchParams, transport: string): string | undefined {
    const wanted = query.get('transport')
    if (wanted !== 'polling' && wanted !== 'websocket') return FAULTS.transport
    if (!allowsOrigin(this.options.origins, req.getHeader('origin'))) return FAULTS.forbidden
    if (wanted !== transport) return FAULTS.request
    const sid = query.get('sid')
    if (sid !== null && !this.sessions.has(sid) && !this.farewells.has(sid)) return FAULTS.sid
    return query.get('EIO') === '4' ? undefined : FAULTS.version
  }

  private refuse(res: HttpResponse, req: HttpRequest, fault: string): void {
    this.answerFor(req)(res, '400 Bad Request', 'application/json', fault)
  }

  private answerFor(req: HttpRequest): (res: HttpResponse, status: string, type: string, body: string) => void {
    const origin = req.getHeader('origin')
    const cors = origin !== '' && allowsOrigin(this.options.origins, origin)
    return (res, status, type, body) => {
      if (res.aborted) return
      res.cork(() => {
        res.writeStatus(status).writeHeader('Content-Type', type).writeHeader('Cache-Control', 'no-store')
        if (cors) {
          res.writeHeader('Access-Control-Allow-Origin', origin).writeHeader('Access-Control-Allow-Credentials', 'true').writeHeader('Vary', 'Origin')
          if (status.startsWith('204')) res.writeHeader('Access-Control-Allow-Methods', 'GET, POST').writeHeader('Access-Control-Allow-Headers', 'Content-Type, Authorization').writeHeader('Access-Control-Max-Age', '600')
        }
        res.end(body)
      })
    }
  }
}
