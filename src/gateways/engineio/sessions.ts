import { decodePayload } from 'engine.io-parser'
import type { Connections, Counted } from '../../guard/connections.ts'
import { after } from '../../guarded.ts'
import { randomId } from '../../random-id.ts'
import type { HandedOverSession } from '../handoff/handed-over-session.ts'
import type { WorkerProxy } from '../handoff/worker-proxy.ts'
import { Sweep } from '../../turns.ts'
import { spread } from '../spread.ts'
import type { EngineIoHandler } from './handler.ts'
import { Heartbeat, type HeartbeatOptions } from './heartbeat.ts'
import type { Polling } from './polling.ts'
import { EngineIoSession, type EngineIoSocket, type SessionHost } from './session.ts'

export interface SessionsOptions extends HeartbeatOptions {
  readonly payloadBytes: number
  /** Of this port. */
  readonly portConnectionsMax: number
  readonly connections: Connections
  readonly makeHandler: (session: EngineIoSession) => EngineIoHandler
  /** Pings the WebSockets of a native topic. */
  readonly publishPing: (topic: string) => void
  /** The way to the sessions of other workers. */
  readonly proxy: WorkerProxy | undefined
}

const FAREWELL_MS = 5_000

/** The Engine.IO sessions of one port, from their handshake to their end. */
export class EngineIoSessions implements SessionHost {
  private readonly options: SessionsOptions
  private readonly bySid = new Map<string, EngineIoSession>()
  private readonly sweeps = new Sweep<EngineIoSession>(
    () => this.bySid.values(),
    ({ handler }, nowMs) => handler.sweep(nowMs),
  )
  /** Long-polling sessions that were closed between two polls: the next poll is told so, instead of failing. */
  private readonly farewells = new Map<string, Polling>()
  private readonly heartbeat: Heartbeat
  /** What each open packet says, in JSON. */
  private readonly terms: string
  private stopped = false

  constructor(options: SessionsOptions) {
    const { pingIntervalMs, pingTimeoutMs, payloadBytes } = options
    this.options = options
    this.terms = `"pingInterval":${pingIntervalMs},"pingTimeout":${pingTimeoutMs},"maxPayload":${payloadBytes}`
    this.heartbeat = new Heartbeat(options, options.publishPing)
  }

  /** No session begins any more, and connections are not kept for further requests. */
  get draining(): boolean {
    return this.stopped
  }

  find(sid: string): EngineIoSession | undefined {
    return this.bySid.get(sid)
  }

  /** Whether a request may name this session: it is here, was here a moment ago, or is another worker's. */
  knows(sid: string): boolean {
    return this.bySid.has(sid) || this.farewells.has(sid) || this.ownerOf(sid) !== undefined
  }

  /** The other worker that has a session. */
  ownerOf(sid: string): number | undefined {
    return this.bySid.has(sid) ? undefined : this.options.proxy?.ownerOf(sid)
  }

  /** Whether a further connection may come, from there. */
  admits(address: string | undefined): boolean {
    const { connections, portConnectionsMax } = this.options
    if (this.stopped) return false
    if (this.bySid.size >= portConnectionsMax && !connections.closeOldest((one) => this.has(one))) return false
    try {
      connections.admit(address)
      return true
    } catch {
      return false
    }
  }

  /** @param polls it begins with long-polling */
  open(token: string | null, polls: boolean, address: string | undefined): EngineIoSession {
    const sid = this.options.proxy?.newSid() ?? randomId()
    const session = new EngineIoSession({ host: this, sid, turn: this.heartbeat.turn, polls, token })
    return this.add(session, address, false)
  }

  /** The WebSocket that a session begins with is open. */
  begin(session: EngineIoSession, socket: EngineIoSocket): void {
    session.socket = socket
    socket.subscribe(this.heartbeat.topicOf(session))
    socket.send(this.openPacket(session, '[]'))
  }

  /** A WebSocket takes over from long-polling. */
  upgrade(session: EngineIoSession, socket: EngineIoSocket): void {
    socket.subscribe(this.heartbeat.topicOf(session))
    session.upgrade(socket)
  }

  /** Makes a session that was another worker's, on the WebSocket that came here. */
  adopt(
    sid: string,
    address: string | undefined,
    socket: EngineIoSocket,
    { token, payload }: HandedOverSession,
  ): EngineIoSession {
    // When it was pinged last is not known here, so it is soon.
    const turn = this.heartbeat.turn + 1
    const session = this.add(new EngineIoSession({ host: this, sid, turn, polls: true, token }), address, true)
    for (const packet of payload === '' ? [] : decodePayload(payload, 'nodebuffer')) session.polling?.push(packet)
    socket.getUserData().session = session
    this.upgrade(session, socket)
    return session
  }

  /** @param upgrades JSON */
  openPacket({ sid }: EngineIoSession, upgrades: string): string {
    return `0{"sid":"${sid}","upgrades":${upgrades},${this.terms}}`
  }

  /** What the next poll of a session that is over is told. */
  farewellOf(sid: string): Polling | undefined {
    return this.farewells.get(sid)
  }

  /** The client was told. */
  forgetFarewell(sid: string): void {
    this.farewells.delete(sid)
  }

  handlerOf(session: EngineIoSession): EngineIoHandler {
    return this.options.makeHandler(session)
  }

  ended(session: EngineIoSession): void {
    this.bySid.delete(session.sid)
    this.heartbeat.remove(session)
    this.options.connections.closed(session)
  }

  farewell({ sid }: EngineIoSession, polling: Polling): void {
    this.farewells.set(sid, polling)
    after('farewell', FAREWELL_MS, () => this.farewells.delete(sid)).unref()
  }

  sweep(nowMs: number): void {
    this.sweeps.begin(nowMs)
  }

  /** Sends everybody away, spread evenly over the time. */
  async drain(drainMs: number): Promise<void> {
    this.stopped = true
    await spread([...this.bySid.values()], drainMs, (session) => session.close())
    this.heartbeat.stop()
  }

  private has(connection: Counted): boolean {
    return connection instanceof EngineIoSession && this.bySid.get(connection.sid) === connection
  }

  private add(session: EngineIoSession, address: string | undefined, handedOver: boolean): EngineIoSession {
    const { connections } = this.options
    this.bySid.set(session.sid, session)
    this.heartbeat.add(session)
    connections.opened(session, address, handedOver)
    connections.waits(session, Date.now())
    return session
  }
}
