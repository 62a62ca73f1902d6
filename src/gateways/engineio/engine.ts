import { decodePacket, type Packet } from 'engine.io-parser'
import type { HttpRequest, HttpResponse, TemplatedApp, us_socket_context_t } from 'uWebSockets.js'
import type { Addresses } from '../../guard/addresses.ts'
import type { Connections, Counted } from '../../guard/connections.ts'
import { after } from '../../guarded.ts'
import { finishGuarded, guardRequest, guardSocket } from '../handlers.ts'
import { addressOf, allowsOrigin } from '../upgrade.ts'
import type { Connection } from '../socketio/connection.ts'
import { answerFor, type BodyBudget, FAULTS, readBody } from './http.ts'
import { EngineSession, type EngineSocket, type EngineSocketData, type SessionHost } from './session.ts'
import { Heartbeat } from './heartbeat.ts'
import { Passage, Passages } from '../handoff/passage.ts'
import type { Answer, Polling } from './polling.ts'
import { openProbe, receiveProbe } from './probe.ts'
import { type Query, queryOf } from './query.ts'
import { randomId } from '../../random-id.ts'
import type { Relay, RelayAnswer, Relayed } from '../handoff/relay.ts'

export interface EngineOptions {
  readonly pingIntervalMs: number
  readonly pingTimeoutMs: number
  readonly upgradeTimeoutMs: number
  /** A client that has connected to no namespace by then is closed. */
  readonly connectTimeoutMs: number
  readonly payloadBytes: number
  readonly backpressureBytes: number
  readonly origins: readonly string[]
  /** @param token of the handshake's query */
  readonly makeConnection: (session: EngineSession, token: string | null) => Connection
  /** Called before heartbeats go out. */
  readonly onBeat: () => void
  /** Whether a further connection may come, from there. */
  readonly admits: (address: string | undefined) => boolean
  readonly connections: Connections
  readonly addresses: Addresses
  /** Of all ports together. */
  readonly bodies: BodyBudget
  /** The way to the sessions of other workers, and where this port is found there. */
  readonly relay: { readonly to: Relay; readonly path: string } | undefined
}

const PATH = '/socket.io/'
const FAREWELL_MS = 5_000
const NO_PROPERTIES = {}
/** Between the packets of a payload (engine.io-protocol, "Packet encoding"). */
const SEPARATOR = '\x1e'

/** An Engine.IO 4 server on one port: handshake, both transports, the upgrade from one to the other, heartbeat. */
export class Engine implements SessionHost {
  readonly sessions = new Map<string, EngineSession>()
  /** Long-polling sessions that were closed between two polls: the next one is told so, instead of failing. */
  private readonly farewells = new Map<string, Polling>()
  private readonly options: EngineOptions
  private readonly heartbeat: Heartbeat
  private readonly passages: Passages | undefined
  /** What each open packet says, in JSON. */
  private readonly terms: string
  /** No session begins any more, and connections that are kept for further requests are not. */
  draining = false
  /** Of the WebSocket that is being opened: uWS does that within `upgrade`. */
  private arriving: EngineSession | Passage | undefined

  constructor(app: TemplatedApp, options: EngineOptions) {
    this.options = options
    this.terms = `"pingInterval":${options.pingIntervalMs},"pingTimeout":${options.pingTimeoutMs},"maxPayload":${options.payloadBytes}`
    this.heartbeat = new Heartbeat(options, (topic) => {
      options.onBeat()
      app.publish(topic, '2', false, false)
    })
    app.ws<EngineSocketData>(
      PATH,
      guardSocket<EngineSocketData>('socket.io websocket', {
        // uWS holds the parts of a message until the last one is there, of anybody's.
        maxPayloadLength: options.payloadBytes,
        maxBackpressure: options.backpressureBytes,
        // The protocol's own heartbeat finds dead connections.
        idleTimeout: 0,
        sendPingsAutomatically: false,
        upgrade: (res, req, context) => this.upgrade(res, req, context),
        open: (ws) => {
          const session = this.arriving as EngineSession | Passage
          ws.getUserData().session = session
          if (session instanceof Passage) this.passages?.open(ws, session)
          else if (session.polling) openProbe(session, ws, options.upgradeTimeoutMs)
          else {
            session.socket = ws
            ws.subscribe(this.heartbeat.topicOf(session))
            ws.send(this.openPacket(session, '[]'))
          }
        },
        message: (ws, frame, binary) => {
          const { session } = ws.getUserData()
          if (session instanceof Passage) this.passages?.receive(ws, session, frame, binary)
          else if (session.socket === ws) this.receive(session, frame, binary)
          else if (session.probe === ws) this.receiveProbe(session, ws, frame)
        },
        dropped: (ws, frame) => {
          const { session } = ws.getUserData()
          if (session instanceof EngineSession && session.socket === ws)
            session.connection.dropped(new Uint8Array(frame))
        },
        drain: (ws) => {
          const { session } = ws.getUserData()
          if (session instanceof EngineSession && session.socket === ws) session.connection.drained()
        },
        close: (ws) => {
          const { session } = ws.getUserData()
          if (session instanceof Passage) this.passages?.closed(session)
          else if (session.socket === ws) {
            session.socket = undefined
            session.ended()
          } else if (session.probe === ws) session.probe = undefined
        },
      }),
    )
    const get = guardRequest('polling', (res, req) => this.get(res, req))
    const post = guardRequest('polling', (res, req) => this.post(res, req))
    app.get(PATH, get)
    app.post(PATH, post)
    app.options(
      PATH,
      guardRequest('polling', (res, req) => this.answerFor(req)(res, '204 No Content', 'text/plain', '')),
    )
    app.any(
      PATH,
      guardRequest('polling', (res, req) => this.refuse(res, req, FAULTS.method)),
    )
    if (!options.relay) return
    const { to, path } = options.relay
    to.app.get(path, get)
    to.app.post(path, post)
    this.passages = new Passages({
      relay: to,
      path,
      upgradeTimeoutMs: options.upgradeTimeoutMs,
      payloadBytes: options.payloadBytes,
      sessionOf: (sid) => this.sessions.get(sid),
      adopt: (passage, socket, token, packets) => this.adopt(passage, socket, token, packets),
      connections: options.connections,
      receive: (session, frame, binary) => this.receive(session, frame, binary),
    })
  }

  has(connection: Counted): boolean {
    return connection instanceof EngineSession && this.sessions.get(connection.sid) === connection
  }

  stop(): void {
    this.heartbeat.stop()
  }

  private upgrade(res: HttpResponse, req: HttpRequest, context: us_socket_context_t): void {
    const query = queryOf(req.getQuery())
    const fault = this.faultIn(req, query, 'websocket')
    if (fault) return this.refuse(res, req, fault)
    const { sid } = query
    const owner = this.ownerOf(sid)
    let session: EngineSession | Passage | undefined
    const address = this.addressOf(res, req)
    if (sid === null) {
      if (!this.admits(address)) return this.refuse(res, req, FAULTS.forbidden)
      session = this.open(query, false, address)
    } else if (owner !== undefined) {
      if (!this.admits(address)) return this.refuse(res, req, FAULTS.forbidden)
      session = new Passage(sid, owner, address)
    } else {
      session = this.sessions.get(sid)
      if (!session) return this.refuse(res, req, FAULTS.sid)
      if (session.native || session.probe || session.leaving) return this.refuse(res, req, FAULTS.request)
    }
    // Properties given here are copied one by one through V8's interface: 1 % of a handshake for this one.
    this.arriving = session
    // No extensions: frames are not compressed.
    res.upgrade(NO_PROPERTIES, req.getHeader('sec-websocket-key'), '', '', context)
  }

  private get(res: HttpResponse, req: HttpRequest): void {
    const query = queryOf(req.getQuery())
    const answer = this.answerFor(req)
    const fault = this.faultIn(req, query, 'polling')
    if (fault) return this.refuse(res, req, fault)
    const { sid } = query
    if (sid === null) {
      const address = this.addressOf(res, req)
      if (!this.admits(address)) return this.refuse(res, req, FAULTS.forbidden)
      answer(
        res,
        '200 OK',
        'text/plain; charset=UTF-8',
        this.openPacket(this.open(query, true, address), '["websocket"]'),
      )
      return
    }
    const owner = this.ownerOf(sid)
    if (owner !== undefined) return this.pass(res, req, owner, query)
    const session = this.sessions.get(sid)
    if (!session) {
      res.onAborted(() => {
        res.aborted = true
      })
      const farewell = this.farewells.get(sid)
      farewell?.wait(res, answer)
      if (farewell?.finished) this.farewells.delete(sid)
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
    const query = queryOf(req.getQuery())
    const answer = this.answerFor(req)
    const fault = this.faultIn(req, query, 'polling')
    if (fault) return this.refuse(res, req, fault)
    const { sid } = query
    if (sid === null) return this.refuse(res, req, FAULTS.method)
    const owner = this.ownerOf(sid)
    if (owner !== undefined) return this.pass(res, req, owner, query)
    const session = this.sessions.get(sid)
    // Its next poll tells it that the session is over.
    if (!session) return answer(res, '200 OK', 'text/html', 'ok')
    if (!session.polling || session.posting) {
      this.refuse(res, req, FAULTS.request)
      if (session.posting) session.discard()
      return
    }
    session.posting = true
    readBody(
      res,
      this.options.payloadBytes,
      this.options.bodies,
      session.connection.isNobodys,
      () => session.ended(),
      (body) => {
        if (typeof body === 'string') {
          answer(res, body, 'text/plain', '')
          return session.discard()
        }
        session.posting = false
        if (session.closed) return answer(res, '400 Bad Request', 'application/json', FAULTS.sid)
        answer(res, '200 OK', 'text/html', 'ok')
        this.receivePayload(session, body.toString())
      },
    )
  }

  /** Passes a request on to the worker that has its session. */
  private pass(res: HttpResponse, req: HttpRequest, owner: number, { text }: Query): void {
    const { relay } = this.options
    if (!relay) return
    const answer = this.answerFor(req)
    const method = req.getMethod() as 'get' | 'post'
    const path = `${relay.path}?${text}`
    const origin = req.getHeader('origin')
    let passed: Relayed | undefined
    const abort = () => passed?.abort()
    const send = (body?: Buffer) => {
      passed = relay.to.pass(owner, method, path, origin === '' ? {} : { origin }, body)
      // Where it fails its worker is gone, and the session with it.
      const outcome = passed.answer.catch(
        (): RelayAnswer => ({ status: '400 Bad Request', type: 'application/json', body: FAULTS.sid }),
      )
      finishGuarded(
        'polling',
        res,
        outcome.then(({ status, type, body }) => answer(res, status, type, body)),
      )
    }
    // Whose it is its own worker knows.
    if (method === 'post')
      return readBody(res, this.options.payloadBytes, this.options.bodies, true, abort, (body) =>
        typeof body === 'string' ? answer(res, body, 'text/plain', '') : send(body),
      )
    res.onAborted(() => {
      res.aborted = true
      abort()
    })
    send()
  }

  private receivePayload(session: EngineSession, body: string): void {
    // One after another: a megabyte may be half a million packets, of which the session's limit leaves the most unread.
    for (let start = 0; start <= body.length; ) {
      const end = body.indexOf(SEPARATOR, start)
      const { type, data } = decodePacket(body.slice(start, end === -1 ? undefined : end), 'nodebuffer')
      start = end === -1 ? body.length + 1 : end + 1
      if (session.closed) return
      if (type === 'message') session.connection.receive(data)
      else if (type === 'pong') {
        if (session.connection.admitsPacket()) session.unanswered = 0
      } else if (type === 'close') {
        const { polling } = session
        session.ended()
        // Its open poll is told by a NOOP, as the reference server does.
        polling?.push({ type: 'noop' })
        polling?.flush()
      } else session.discard()
    }
  }

  private receive(session: EngineSession, frame: ArrayBuffer, binary: boolean): void {
    // A copy: the frame is gone after this call.
    if (binary) return session.connection.receive(Buffer.from(frame.slice(0)))
    const text = Buffer.from(frame).toString()
    switch (text[0]) {
      case '4':
        return session.connection.receive(text.slice(1))
      case '3':
        if (session.connection.admitsPacket()) session.unanswered = 0
        return
      default:
        // `1` closes; anything else is no packet that a client may send.
        return session.discard()
    }
  }

  private receiveProbe(session: EngineSession, socket: EngineSocket, frame: ArrayBuffer): void {
    if (!receiveProbe(session, socket, frame)) return
    socket.subscribe(this.heartbeat.topicOf(session))
    session.upgrade(socket)
  }

  /** @param polls it begins with long-polling */
  private open({ token }: Query, polls: boolean, address: string | undefined): EngineSession {
    const sid = this.options.relay?.to.newSid() ?? randomId()
    return this.add(new EngineSession(this, sid, this.heartbeat.turn, polls, token), address, false)
  }

  /** A session that was another worker's, on the WebSocket that came here. */
  private adopt(
    { sid, address }: Passage,
    socket: EngineSocket,
    token: string | null,
    packets: readonly Packet[],
  ): EngineSession {
    // When it was pinged last is not known here, so it is soon.
    const session = this.add(new EngineSession(this, sid, this.heartbeat.turn + 1, true, token), address, true)
    for (const packet of packets) session.polling?.push(packet)
    socket.getUserData().session = session
    socket.subscribe(this.heartbeat.topicOf(session))
    session.upgrade(socket)
    return session
  }

  private add(session: EngineSession, address: string | undefined, moved: boolean): EngineSession {
    const { connections } = this.options
    this.sessions.set(session.sid, session)
    this.heartbeat.add(session)
    connections.opened(session, address, moved)
    connections.waits(session, Date.now())
    return session
  }

  connectionOf(session: EngineSession, token: string | null): Connection {
    return this.options.makeConnection(session, token)
  }

  ended(session: EngineSession): void {
    this.sessions.delete(session.sid)
    this.heartbeat.remove(session)
    this.options.connections.closed(session)
  }

  farewell({ sid }: EngineSession, polling: Polling): void {
    this.farewells.set(sid, polling)
    after('farewell', FAREWELL_MS, () => this.farewells.delete(sid)).unref()
  }

  private admits(address: string | undefined): boolean {
    return !this.draining && this.options.admits(address)
  }

  private addressOf(res: HttpResponse, req: HttpRequest): string | undefined {
    const { connections, addresses } = this.options
    return connections.countsAddresses ? addressOf(addresses, res, req) : undefined
  }

  /** The other worker that a session is of. */
  private ownerOf(sid: string | null): number | undefined {
    return sid === null || this.sessions.has(sid) ? undefined : this.options.relay?.to.ownerOf(sid)
  }

  /** @param upgrades JSON */
  private openPacket({ sid }: EngineSession, upgrades: string): string {
    return `0{"sid":"${sid}","upgrades":${upgrades},${this.terms}}`
  }

  private faultIn(req: HttpRequest, { transport, version, sid }: Query, wanted: string): string | undefined {
    if (transport !== 'polling' && transport !== 'websocket') return FAULTS.transport
    if (!allowsOrigin(this.options.origins, req.getHeader('origin'))) return FAULTS.forbidden
    if (transport !== wanted) return FAULTS.request
    if (sid !== null && !this.sessions.has(sid) && !this.farewells.has(sid) && this.ownerOf(sid) === undefined)
      return FAULTS.sid
    return version === '4' ? undefined : FAULTS.version
  }

  private refuse(res: HttpResponse, req: HttpRequest, fault: string): void {
    this.answerFor(req)(res, '400 Bad Request', 'application/json', fault)
  }

  private answerFor(req: HttpRequest): Answer {
    return answerFor(req, this.options.origins, () => this.draining)
  }
}
