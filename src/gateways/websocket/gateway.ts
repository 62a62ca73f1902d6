import type { TemplatedApp } from 'uWebSockets.js'
import type { Codec } from '../../codecs/codec.ts'
import { json } from '../../codecs/json.ts'
import { msgpack } from '../../codecs/msgpack.ts'
import type { Services } from '../../commands/services.ts'
import { dispatchMessage } from '../../commands/dispatch.ts'
import { closeClient, openClient } from '../../commands/lifecycle.ts'
import type { CompiledContract } from '../../contracts/compiled.ts'
import type { WebSocketEndpoint } from '../../contracts/contract.ts'
import { BrokerError, ERRORS, reasonOf } from '../../errors.ts'
import type { Addresses } from '../../guard/addresses.ts'
import type { FailedAuthentications } from '../../guard/failed-authentications.ts'
import type { Connections } from '../../guard/connections.ts'
import { countCommand, countPacket, type RateLimits, WINDOW_MS } from '../../guard/rate-limit.ts'
import type { Wire } from '../../hub/wire.ts'
import type { Meters } from '../../meters.ts'
import { isoTime } from '../../time.ts'
import { guardSocket } from '../handlers.ts'
import type { QueueLimits } from '../connection-queues.ts'
import { Sweep } from '../../turns.ts'
import { spread, turnMs } from '../spread.ts'
import { addressOf, allowsOrigin, bearerOf } from '../upgrade.ts'
import { chooseCodec } from './codec-choice.ts'
import {
  type Admission,
  connectionError,
  encode,
  type Refusal,
  type Socket,
  type UserData,
  WebSocketClient,
} from './client.ts'
import type { Claims } from '../../contracts/claims.ts'

export interface WebSocketGatewayOptions {
  readonly contract: CompiledContract
  readonly endpoint: WebSocketEndpoint
  readonly services: Services
  readonly meters: Meters
  readonly verify: (token: string | undefined) => Claims
  readonly connections: Connections
  readonly addresses: Addresses
  readonly failures: FailedAuthentications
  readonly limits: {
    readonly payloadBytes: number
    readonly backpressureBytes: number
    readonly waitingBytes: number
    readonly idleTimeoutS: number
    /** 0: the contract's own limit. */
    readonly commandsPerMinute: number
    /** For contracts without a limit of their own. */
    readonly defaultCommandsPerMinute: number
    /** Frames of any kind, including refused ones. */
    readonly packetsPerMinute: number
  }
  readonly origins: readonly string[]
  /** Names this process among all brokers. */
  readonly nodeId: string
}

/**
 * uWS cuts off a frame larger than this many times the payload limit and closes the connection silently; below that,
 * the client gets the reason.
 */
const TRANSPORT_PAYLOAD_FACTOR = 4

/** A raw WebSocket endpoint of a contract: docs/protocol.md. */
export class WebSocketGateway {
  readonly clients = new Set<WebSocketClient>()
  private readonly expiry = new Sweep<WebSocketClient>(
    () => this.clients,
    (client, nowMs) => client.endIfExpired(nowMs),
  )
  private readonly options: WebSocketGatewayOptions
  private readonly wires: ReadonlyMap<Codec, Wire>
  private readonly rates: RateLimits
  private readonly features: readonly string[]
  private readonly queueLimits: QueueLimits

  constructor(app: TemplatedApp, options: WebSocketGatewayOptions) {
    this.options = options
    const { contract, endpoint, limits } = options
    this.queueLimits = { fullBytes: limits.backpressureBytes, waitingBytes: limits.waitingBytes }
    const wireOf = (codec: Codec): Wire => ({
      id: `${contract.app}${endpoint.path}#${codec.name}`,
      format: codec.name,
      binary: codec.binary,
      encodeEvent: codec.encodeEvent,
      encodeMessage: (message) => encode(codec, message),
      publish: (topic, frame) => app.publish(topic, frame, codec.binary, false),
    })
    this.wires = new Map([json, msgpack].map((codec) => [codec, wireOf(codec)]))
    const perMinute =
      limits.commandsPerMinute || (contract.contract.limits?.commandsPerMinute ?? limits.defaultCommandsPerMinute)
    this.rates = { perMinute, warnAt: contract.contract.limits?.warnAt ?? 0 }
    this.features = endpoint.features ?? Object.keys(contract.contract.groups ?? contract.contract.events)
    this.mount(app)
  }

  /** Ends connections whose token has expired. Call about once a second. */
  sweep(nowMs: number): void {
    this.expiry.begin(nowMs)
  }

  /**
   * Disconnects all clients, spread evenly over `drainMs`. Each client learns at once when to reconnect and is closed
   * at that time. Resolves when all are gone.
   */
  async drain(drainMs: number): Promise<void> {
    const clients = [...this.clients]
    for (const [index, client] of clients.entries())
      client.replyIfRoom({ type: 'reconnect', data: { after_ms: turnMs(index, clients.length, drainMs) } })
    await spread(clients, drainMs, (client) => client.end('DRAINING'))
  }

  private mount(app: TemplatedApp): void {
    const { endpoint, limits, services } = this.options
    const { hub } = services
    app.ws<UserData>(
      endpoint.path,
      guardSocket<UserData>(`${this.options.contract.app} websocket`, {
        maxPayloadLength: limits.payloadBytes * TRANSPORT_PAYLOAD_FACTOR,
        maxBackpressure: limits.backpressureBytes,
        idleTimeout: limits.idleTimeoutS,
        closeOnBackpressureLimit: false,
        upgrade: (res, req, context) => {
          const key = req.getHeader('sec-websocket-key')
          const { codec, subprotocol } = chooseCodec(req.getQuery('format'), req.getHeader('sec-websocket-protocol'))
          if (!allowsOrigin(this.options.origins, req.getHeader('origin'))) {
            res
              .writeStatus('403 Forbidden')
              .end('{"error_code":"ACCESS_DENIED","message":"This origin is not in CORS_ORIGINS"}')
            return
          }
          const address = this.options.connections.countsAddresses
            ? addressOf(this.options.addresses, res, req)
            : undefined
          const user =
            codec === undefined
              ? refusal('INVALID_MESSAGE', json, 'There is no such format; there are json and msgpack')
              : this.admit(codec, req.getQuery('token') || bearerOf(req.getHeader('authorization')), address)
          res.upgrade<UserData>(
            address === undefined ? { user } : { user, address },
            key,
            subprotocol,
            req.getHeader('sec-websocket-extensions'),
            context,
          )
        },
        open: (ws) => this.open(ws),
        message: (ws, frame, binary) => {
          const client = ws.getUserData().user
          if (client instanceof WebSocketClient) this.receive(client, frame, binary)
        },
        dropped: (ws, frame) => {
          const client = ws.getUserData().user
          if (client instanceof WebSocketClient) hub.dropped(client.subscriber, new Uint8Array(frame))
        },
        drain: (ws) => {
          const client = ws.getUserData().user
          if (!(client instanceof WebSocketClient)) return
          hub.drained(client.subscriber)
          client.queues.proceed()
        },
        close: (ws) => {
          const client = ws.getUserData().user
          if (!(client instanceof WebSocketClient) || client.closed) return
          this.clients.delete(client)
          this.options.connections.closed(client)
          closeClient(client, services, false)
          client.queues.close()
        },
      }),
    )
  }

  private admit(codec: Codec, token: string | undefined, address: string | undefined): Admission | Refusal {
    const { verify, connections } = this.options
    try {
      const claims = verify(token)
      connections.admitUser(claims.sub)
      connections.admit(address)
      return { claims, codec }
    } catch (error) {
      return { refused: error instanceof BrokerError ? error : new BrokerError('AUTH_FAILED'), codec }
    }
  }

  private open(ws: Socket): void {
    const { contract, meters, services, connections, nodeId, failures } = this.options
    const data = ws.getUserData()
    const { user, address } = data
    if ('refused' in user) {
      const { refused, codec } = user
      meters.error(refused.code)
      ws.send(encode(codec, connectionError(refused)), codec.binary)
      ws.end(refused.row.close ?? 1008, refused.code)
      return
    }
    const { claims, codec } = user
    const wire = this.wires.get(codec) as Wire
    const { queueLimits } = this
    const client = new WebSocketClient({
      contract,
      wire,
      codec,
      claims,
      socket: ws,
      nodeId,
      queueLimits,
      failures,
    })
    data.user = client
    this.clients.add(client)
    connections.opened(client, address)
    openClient(client, services)
    client.reply({
      type: 'connection_established',
      data: {
        user_id: claims.sub,
        session_id: client.connectionId,
        server_time: isoTime(),
        features: this.features,
      },
    })
  }

  private receive(client: WebSocketClient, frame: ArrayBuffer, binary: boolean): void {
    const { limits, meters, services } = this.options
    meters.bytesReceived += frame.byteLength
    if (frame.byteLength > limits.payloadBytes) {
      meters.error('PAYLOAD_TOO_LARGE')
      client.end('PAYLOAD_TOO_LARGE')
      return
    }
    if (!this.withinRate(client, this.rates)) return
    let message: unknown
    try {
      message = client.codec.decode(frame, binary)
    } catch (error) {
      meters.error('INVALID_MESSAGE')
      client.fail(
        error instanceof BrokerError
          ? error
          : new BrokerError('INVALID_MESSAGE', `Not ${client.codec.name}: ${reasonOf(error)}`),
      )
      return
    }
    client.queues.run(frame.byteLength, () => dispatchMessage(client, message, services, meters))
  }

  private withinRate(client: WebSocketClient, rates: RateLimits): boolean {
    const now = Date.now()
    if (!countPacket(client, this.options.limits.packetsPerMinute, now)) {
      this.options.meters.error('RATE_LIMITED')
      client.end(
        'RATE_LIMITED',
        connectionError(
          new BrokerError(
            'RATE_LIMITED',
            `A connection may send ${this.options.limits.packetsPerMinute} packets a minute (MAX_PACKETS_PER_MINUTE)`,
          ),
        ),
      )
      return false
    }
    const verdict = countCommand(client, rates, now)
    if (verdict === 'pass') return true
    const resetSeconds = Math.ceil((client.windowStartMs + WINDOW_MS - now) / 1000)
    if (verdict === 'warn') {
      client.reply({
        type: 'rate_limit_warning',
        data: { requests_remaining: rates.warnAt, window_reset_seconds: resetSeconds, warning_threshold: rates.warnAt },
      })
      return true
    }
    this.options.meters.error('RATE_LIMITED')
    const { message } = ERRORS.RATE_LIMITED
    client.replyIfRoom({
      type: 'error',
      data: {
        error_code: 'RATE_LIMITED',
        message,
        details: { limit_per_minute: rates.perMinute, retry_after_seconds: resetSeconds },
      },
    })
    return false
  }
}

function refusal(code: 'INVALID_MESSAGE', codec: Codec, message?: string): Refusal {
  return { refused: new BrokerError(code, message), codec }
}
