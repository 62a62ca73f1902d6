import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client'
import { token as mint } from './broker.ts'
import { eventually } from './client.ts'

export const TRANSPORTS = {
  websocket: ['websocket'],
  polling: ['polling'],
  'polling, then websocket': ['polling', 'websocket'],
} as const

export interface SocketIoOptions {
  /** Null: none. */
  readonly token?: string | null
  readonly auth?: Record<string, unknown>
  /** Of the URL. */
  readonly query?: string
  readonly transports?: readonly string[]
  readonly options?: Partial<ManagerOptions & SocketOptions>
}

/** An event as its handlers get it. */
export interface Arrival {
  readonly event: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they please.
  readonly args: any[]
}

/** What `socket.io-client` keeps under the names of its own code. */
interface Insides {
  readonly io: {
    readonly engine: {
      readonly id: string
      readonly transport: {
        readonly name: string
        readonly ws: { readonly _socket: { pause(): void; resume(): void } }
        doPoll(): void
      }
    }
  }
}

/** The real Socket.IO client in one namespace, on a connection of its own: keeps all that it got. */
export class SocketIoClient {
  readonly socket: Socket
  readonly arrivals: Arrival[] = []
  readonly connects: { readonly id: string | undefined; readonly recovered: boolean }[] = []
  readonly disconnects: string[] = []
  readonly refusals: (Error & { data?: unknown })[] = []

  /** @param address `http://host:port/namespace` */
  constructor(
    address: string,
    { token = mint(), auth = {}, query = '', transports, options = {} }: SocketIoOptions = {},
  ) {
    this.socket = io(`${address}${query}`, {
      auth: { ...(token === null ? undefined : { token }), ...auth },
      ...(transports === undefined ? undefined : { transports: [...transports] }),
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
      ...options,
    })
    this.keep(this.socket)
  }

  /** Resolves once connected, and first greeted where the namespace greets. */
  static async connect(address: string, options: SocketIoOptions = {}): Promise<SocketIoClient> {
    const client = new SocketIoClient(address, options)
    await client.connected()
    return client
  }

  /** Resolves once it has connected that many times. */
  async connected(times = 1): Promise<this> {
    await eventually(() => {
      if (this.connects.length === 0 && this.refusals.length > 0 && !this.socket.active)
        throw new Error(`refused: ${this.refusals[0]?.message}`)
      return this.connects.length >= times && this.socket.connected
    })
    return this
  }

  get transport(): string | undefined {
    return this.insides.io.engine?.transport.name
  }

  get engineId(): string {
    return this.insides.io.engine.id
  }

  /** What handlers of one event got, in order. */
  of(event: string): Arrival['args'][] {
    return this.arrivals.filter((arrival) => arrival.event === event).map(({ args }) => args)
  }

  /** Stored events, in order: those whose last argument is the position that their first one names too. */
  get events(): Arrival['args'][0][] {
    return this.arrivals
      .filter(({ args }) => args.length > 1 && args[0]?.id !== undefined && args[0].id === args[args.length - 1])
      .map(({ args }) => args[0])
  }

  /** The `n` of the events' data. */
  get numbers(): number[] {
    return this.events.map(({ data }) => data.n).filter((n) => n !== undefined)
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they please.
  async ask(command: string, ...args: unknown[]): Promise<any> {
    return this.socket.timeout(30_000).emitWithAck(command, ...args)
  }

  async subscribe(room: string): Promise<void> {
    const answer = await this.ask('subscribe', { room })
    if (answer.status !== 'success') throw new Error(`subscribe: ${JSON.stringify(answer)}`)
  }

  async until(fits: () => boolean, timeoutMs = 60_000): Promise<void> {
    await eventually(fits, timeoutMs).catch((error: Error) => {
      throw new Error(
        `${error.message}; it got ${this.arrivals.length} events, the last ${JSON.stringify(this.arrivals.slice(-2))?.slice(0, 1_000)}; connected ${JSON.stringify(this.connects)}, disconnected ${this.disconnects}`,
      )
    })
  }

  /** A WebSocket client reads no more from the network, as a stalled program would. */
  pause(): void {
    this.insides.io.engine.transport.ws._socket.pause()
  }

  resume(): void {
    this.insides.io.engine.transport.ws._socket.resume()
  }

  /** A long-polling client leaves this much time between two polls, from its next one on. */
  pollSlowly(pauseMs: () => number): void {
    const { transport } = this.insides.io.engine
    const poll = transport.doPoll.bind(transport)
    transport.doPoll = () => void setTimeout(poll, pauseMs())
  }

  close(): void {
    this.socket.disconnect()
  }

  private get insides(): Insides {
    return this.socket as unknown as Insides
  }

  private keep(socket: Socket): void {
    socket.onAny((event, ...args) => this.arrivals.push({ event, args }))
    socket.on('connect', () => this.connects.push({ id: socket.id, recovered: socket.recovered }))
    socket.on('disconnect', (reason) => this.disconnects.push(reason))
    socket.on('connect_error', (error) => this.refusals.push(error))
  }
}
