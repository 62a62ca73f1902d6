import type { TemplatedApp } from 'uWebSockets.js'
import type { Addresses } from '../../guard/addresses.ts'
import type { Connections } from '../../guard/connections.ts'
import { Handoffs } from '../handoff/handoffs.ts'
import type { WorkerProxy } from '../handoff/worker-proxy.ts'
import type { BodyBudget } from './body-budget.ts'
import type { EngineIoHandler } from './handler.ts'
import { PollingTransport } from './polling-transport.ts'
import { EngineIoRequests } from './requests.ts'
import type { EngineIoSession, EngineIoSocket } from './session.ts'
import { EngineIoSessions } from './sessions.ts'
import { WebSocketTransport } from './websocket-transport.ts'

export interface EngineIoOptions {
  readonly pingIntervalMs: number
  readonly pingTimeoutMs: number
  readonly upgradeTimeoutMs: number
  /** A client that uses nothing of its session by then is closed. */
  readonly connectTimeoutMs: number
  readonly payloadBytes: number
  readonly backpressureBytes: number
  /** Of this port. */
  readonly portConnectionsMax: number
  readonly origins: readonly string[]
  readonly connections: Connections
  readonly addresses: Addresses
  /** Of all ports together. */
  readonly bodies: BodyBudget
  /** The way to the sessions of other workers, and where this port is found there. */
  readonly proxy: { readonly to: WorkerProxy; readonly path: string } | undefined
  readonly makeHandler: (session: EngineIoSession) => EngineIoHandler
  /** Called before heartbeats go out. */
  readonly onBeat: () => void
}

const PATH = '/socket.io/'

/** An Engine.IO 4 server on one port. */
export class EngineIoServer {
  private readonly sessions: EngineIoSessions

  constructor(app: TemplatedApp, options: EngineIoOptions) {
    const { proxy, upgradeTimeoutMs, payloadBytes, connections } = options
    const sessions = new EngineIoSessions({
      ...options,
      proxy: proxy?.to,
      publishPing: (topic) => {
        options.onBeat()
        app.publish(topic, '2', false, false)
      },
    })
    const requests = new EngineIoRequests(options, sessions)
    const handoffs =
      proxy &&
      new Handoffs<EngineIoSocket>({
        proxy: proxy.to,
        path: proxy.path,
        upgradeTimeoutMs,
        payloadBytes,
        connections,
        sessionOf: (sid) => sessions.find(sid),
        adopt: ({ sid, address }, socket, handedOver) => sessions.adopt(sid, address, socket, handedOver),
      })
    new WebSocketTransport(app, { ...options, path: PATH, sessions, requests, handoffs })
    new PollingTransport(app, { ...options, path: PATH, sessions, requests })
    this.sessions = sessions
  }

  /** Call about once a second. */
  sweep(nowMs: number): void {
    this.sessions.sweep(nowMs)
  }

  /** Sends everybody away, spread evenly over the time. */
  async drain(drainMs: number): Promise<void> {
    await this.sessions.drain(drainMs)
  }
}
