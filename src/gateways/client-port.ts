import type { TemplatedApp } from 'uWebSockets.js'
import type { Services } from '../commands/services.ts'
import type { CompiledContract } from '../contracts/compiled.ts'
import { portOf } from '../contracts/ports.ts'
import type { Addresses } from '../guard/addresses.ts'
import type { Bans } from '../state/bans.ts'
import type { Connections } from '../guard/connections.ts'
import type { FailedAuthentications } from '../guard/failed-authentications.ts'
import type { LoginSessions } from '../state/login-sessions.ts'
import type { Meters } from '../meters.ts'
import { type Listening, listen, makeApp, share } from './listen.ts'
import { SocketIoGateway, type SocketIoGatewayOptions } from './socketio/gateway.ts'
import type { Recovery } from '../state/recovery.ts'
import type { WorkerProxy } from './handoff/worker-proxy.ts'
import type { Tls } from './tls-app.ts'
import { type WebSocketGatewayOptions, WebSocketGateway } from './websocket/gateway.ts'
import type { Claims } from '../contracts/claims.ts'

export interface ClientPortOptions {
  /** Its option, such as `PORT`. */
  readonly name: string
  readonly host: string
  /** 0: any free port. */
  readonly wanted: number
  readonly tls: Tls | undefined
  readonly origins: readonly string[]
  readonly webSocketLimits: WebSocketGatewayOptions['limits']
  readonly socketIo: Omit<SocketIoGatewayOptions, keyof ClientPortServices | 'contracts' | 'origins' | 'proxy'>
}

/** Services that the gateways of all ports share. */
export interface ClientPortServices {
  readonly services: Services
  readonly meters: Meters
  readonly recovery: Recovery
  readonly bans: Bans
  readonly loginSessions: LoginSessions
  readonly verify: (token: string | undefined) => Claims
  readonly connections: Connections
  readonly addresses: Addresses
  readonly failures: FailedAuthentications
  /** Names this process among all brokers. */
  readonly nodeId: string
  /** Connects to the other workers that share the ports, if there are any. */
  readonly workerProxy: WorkerProxy | undefined
}

interface Gateway {
  /** Ends connections whose token has expired. */
  sweep(nowMs: number): void
  /** Disconnects all clients, spread evenly over `drainMs`; resolves when all are gone. */
  drain(drainMs: number): Promise<void>
}

/** A client port and the endpoints of its contracts. */
export class ClientPort {
  readonly app: TemplatedApp
  readonly name: string
  private readonly options: ClientPortOptions
  private readonly gateways: Gateway[]
  /** Other workers listen on the same port. */
  private readonly shared: boolean
  private listening: Listening | undefined

  constructor(options: ClientPortOptions, contracts: readonly CompiledContract[], shared: ClientPortServices) {
    const { services, meters, verify, connections, addresses, failures, nodeId, workerProxy } = shared
    const { name, origins } = options
    this.options = options
    this.name = name
    this.shared = workerProxy !== undefined
    this.app = makeApp(options.tls)
    const here = contracts.filter(({ contract }) => portOf(contract) === name)
    this.gateways = here.flatMap((contract) =>
      contract.contract.endpoints.flatMap((endpoint) =>
        endpoint.transport === 'websocket'
          ? [
              new WebSocketGateway(this.app, {
                contract,
                endpoint,
                services,
                meters,
                verify,
                connections,
                addresses,
                failures,
                limits: options.webSocketLimits,
                origins,
                nodeId,
              }),
            ]
          : [],
      ),
    )
    if (here.some(({ contract }) => contract.endpoints.some(({ transport }) => transport === 'socketio')))
      this.gateways.push(
        new SocketIoGateway(this.app, {
          ...options.socketIo,
          ...shared,
          contracts: here,
          origins,
          proxy: workerProxy && { to: workerProxy, path: `/${name}` },
        }),
      )
  }

  /** The number of the port. Undefined: not open yet. */
  get port(): number | undefined {
    return this.listening?.port
  }

  /** @throws BrokerError CONFIG_INVALID if the port is taken or not allowed */
  async open(): Promise<void> {
    const { host, wanted } = this.options
    this.listening = await (this.shared ? share : listen)(this.app, host, wanted, this.name)
  }

  /** Reloads the certificate for new connections. @throws BrokerError CONFIG_INVALID */
  async renew(): Promise<void> {
    await this.listening?.renew()
  }

  sweep(nowMs: number): void {
    for (const gateway of this.gateways) gateway.sweep(nowMs)
  }

  /** Accepts no more connections and disconnects all clients. */
  async drain(drainMs: number): Promise<void> {
    this.listening?.stop()
    await Promise.all(this.gateways.map((gateway) => gateway.drain(drainMs)))
  }
}
