import type { TemplatedApp } from 'uWebSockets.js'
import type { Services } from '../../commands/services.ts'
import type { Claims } from '../../contracts/claims.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { FailedAuthentications } from '../../guard/failed-authentications.ts'
import type { Meters } from '../../meters.ts'
import type { Bans } from '../../state/bans.ts'
import type { LoginSessions } from '../../state/login-sessions.ts'
import type { Recovery } from '../../state/recovery.ts'
import { type EngineIoOptions, EngineIoServer } from '../engineio/server.ts'
import { Access } from './access.ts'
import { Admission } from './admission.ts'
import { SocketIoConnection } from './connection.ts'
import type { SocketIoContext, SocketIoLimits } from './context.ts'
import { Namespaces } from './namespaces.ts'

export interface SocketIoGatewayOptions extends SocketIoLimits, Omit<EngineIoOptions, 'makeHandler' | 'onBeat'> {
  readonly contracts: readonly CompiledContract[]
  readonly services: Services
  readonly meters: Meters
  readonly recovery: Recovery
  readonly bans: Bans
  readonly loginSessions: LoginSessions
  readonly verify: (token: string | undefined) => Claims
  readonly failures: FailedAuthentications
}

/** The Socket.IO endpoints of one port, whichever contracts they are of, behind one Engine.IO server. */
export class SocketIoGateway {
  private readonly recovery: Recovery
  private readonly server: EngineIoServer

  constructor(app: TemplatedApp, options: SocketIoGatewayOptions) {
    const { contracts, services, meters, recovery, bans, loginSessions, verify, connections, failures } = options
    const admission = new Admission(bans)
    let beatSeq = 0
    const context: SocketIoContext = {
      namespaces: new Namespaces(contracts, (topic, frame) => app.publish(topic, frame, false, false)),
      access: new Access({ verify, loginSessions, connections, admission }),
      admission,
      services,
      meters,
      recovery,
      loginSessions,
      connections,
      failures,
      limits: options,
      queueLimits: { fullBytes: options.backpressureBytes, waitingBytes: options.waitingBytes },
      beatSeq: () => beatSeq,
    }
    this.recovery = recovery
    this.server = new EngineIoServer(app, {
      ...options,
      makeHandler: (session) => new SocketIoConnection(session, context),
      onBeat: () => {
        beatSeq = services.hub.liveSeq
        services.hub.publishedElsewhere()
      },
    })
  }

  /** Ends sockets whose token has expired. Call every second or so. */
  sweep(nowMs: number): void {
    this.recovery.sweep()
    this.server.sweep(nowMs)
  }

  /** Sends everybody away, spread evenly over the time. */
  async drain(drainMs: number): Promise<void> {
    await this.server.drain(drainMs)
  }
}
