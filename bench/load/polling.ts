import { Agent, request } from 'node:http'

/** Between the packets of one body (Engine.IO protocol 4, "HTTP long-polling"). */
const SEPARATOR = '\x1e'
const NOOP = '6'

export interface PollingOptions {
  readonly port: number
  /** Of the WebSocket transport. */
  readonly path: string
  readonly localAddress: string
  readonly onPacket: (packet: Buffer) => void
  /** It ends by itself: why. */
  readonly onFailed: (reason: string) => void
}

/** A client's Engine.IO session while it polls: one GET is always pending, and at most one POST. */
export class Polling {
  private readonly agent = new Agent({ keepAlive: true })
  private readonly options: PollingOptions
  private sid = ''
  /** The server has accepted the upgrade, which cannot be undone. */
  stopping = false
  private destroyed = false
  private polling: Promise<void> = Promise.resolve()
  private writing: Promise<void> | undefined
  private unsent: string[] = []

  constructor(options: PollingOptions) {
    this.options = options
  }

  /** Begins the session. @returns path and query of its WebSocket, once the server has answered */
  async open(): Promise<string> {
    const packet = await this.call('GET')
    const sid = /"sid":"([^"]+)"/.exec(packet)?.[1]
    if (sid === undefined) throw new Error(`no session was opened: ${packet.slice(0, 300)}`)
    this.sid = `&sid=${sid}`
    this.options.onPacket(Buffer.from(packet))
    this.polling = this.poll().catch((error: Error) => this.fail(error))
    return this.options.path + this.sid
  }

  send(packet: string): void {
    this.unsent.push(packet)
    this.writing ??= this.write().catch((error: Error) => this.fail(error))
  }

  /** Ends polling after the pending requests, when everything has been sent; what follows uses the WebSocket. */
  async stop(): Promise<void> {
    this.stopping = true
    await this.polling
    await this.writing
    this.destroy()
  }

  destroy(): void {
    this.destroyed = true
    this.agent.destroy()
  }

  private async poll(): Promise<void> {
    while (!this.stopping && !this.destroyed) {
      for (const packet of (await this.call('GET')).split(SEPARATOR))
        if (packet !== NOOP) this.options.onPacket(Buffer.from(packet))
    }
  }

  private async write(): Promise<void> {
    while (this.unsent.length > 0) {
      const body = this.unsent.join(SEPARATOR)
      this.unsent = []
      await this.call('POST', body)
    }
    this.writing = undefined
  }

  private fail(error: Error): void {
    if (!this.destroyed) this.options.onFailed(`long-polling: ${error.message}`)
  }

  private async call(method: string, body?: string): Promise<string> {
    const { port, path, localAddress } = this.options
    return new Promise((resolve, reject) => {
      const call = request(
        {
          host: '127.0.0.1',
          port,
          method,
          path: path.replace('=websocket', '=polling') + this.sid,
          localAddress,
          agent: this.agent,
        },
        (response) => {
          let text = ''
          response.setEncoding('utf8')
          response.on('data', (chunk: string) => {
            text += chunk
          })
          response.on('error', reject)
          response.on('end', () =>
            response.statusCode === 200
              ? resolve(text)
              : reject(new Error(`${response.statusCode} ${text.slice(0, 300)}`)),
          )
        },
      )
      call.on('error', reject)
      call.end(body)
    })
  }
}
