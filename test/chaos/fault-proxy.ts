import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Which end of its connections is gone without the other hearing of it. */
export type Side = 'client' | 'server'

/**
 * A TCP proxy that does what networks do: cuts, stalls, throttles, refuses, and half-open connections. Connections go
 * to the current one of its targets; where that refuses them, to the next.
 */
export class FaultProxy {
  stalled = false
  /** Each direction of each connection. 0: no limit. */
  bytesPerSecond: number
  private readonly server: Server
  private readonly links = new Set<Link>()
  private readonly targets: readonly (() => number)[]
  private readonly usualBytesPerSecond: number
  private refusing = false
  private turn: number

  /** @param targets ports, asked for when a connection comes */
  static async open(targets: readonly (() => number)[], { first = 0, bytesPerSecond = 0 } = {}): Promise<FaultProxy> {
    const proxy = new FaultProxy(targets, first, bytesPerSecond)
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  private constructor(targets: readonly (() => number)[], first: number, bytesPerSecond: number) {
    this.targets = targets
    this.turn = first
    this.usualBytesPerSecond = this.bytesPerSecond = bytesPerSecond
    this.server = createServer({ allowHalfOpen: true }, (client) => this.accept(client))
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get connections(): number {
    return this.links.size
  }

  /** Resets every connection; the next ones go to the next target. */
  cut(): void {
    this.turn++
    for (const link of this.links) link.cut()
  }

  /** Nothing passes, and no end is passed on, until it is healed. */
  stall(): void {
    this.stalled = true
    this.update()
  }

  throttle(bytesPerSecond: number): void {
    this.bytesPerSecond = bytesPerSecond
  }

  /**
   * Of each connection one end is gone; the other stays open, nothing comes from there, and what it says goes nowhere.
   */
  halfOpen(gone: Side): void {
    for (const link of this.links) link.halfOpen(gone)
  }

  refuse(): void {
    this.refusing = true
  }

  heal(): void {
    this.stalled = this.refusing = false
    this.bytesPerSecond = this.usualBytesPerSecond
    this.update()
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve))
    for (const link of this.links) link.cut()
    await closed
  }

  private accept(client: Socket): void {
    if (this.refusing) {
      client.on('error', () => {})
      client.resetAndDestroy()
      return
    }
    const target = this.targets[this.turn % this.targets.length] as () => number
    const server = connect({ port: target(), host: '127.0.0.1', allowHalfOpen: true })
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') this.turn++
    })
    const link = new Link(this, client, server, () => this.links.delete(link))
    this.links.add(link)
  }

  private update(): void {
    for (const link of this.links) link.update()
  }
}

/** A client's connection and the one to the server that it is passed on to. */
class Link {
  private readonly proxy: FaultProxy
  private readonly ends: Readonly<Record<Side, Socket>>
  private readonly flows: readonly Flow[]
  private readonly gone: () => void
  private silent = false
  private over = false

  constructor(proxy: FaultProxy, client: Socket, server: Socket, gone: () => void) {
    this.proxy = proxy
    this.ends = { client, server }
    this.gone = gone
    this.flows = [new Flow(proxy, client, server), new Flow(proxy, server, client)]
    for (const end of [client, server]) {
      end.setNoDelay(true)
      end.on('error', () => {})
      end.on('close', () => {
        this.over = true
        this.update()
      })
    }
  }

  cut(): void {
    for (const end of Object.values(this.ends)) end.resetAndDestroy()
    this.gone()
  }

  halfOpen(side: Side): void {
    if (this.over) return
    this.silent = true
    for (const flow of this.flows) flow.swallow()
    this.ends[side].resetAndDestroy()
  }

  update(): void {
    for (const flow of this.flows) flow.update()
    if (!this.over || this.proxy.stalled) return
    // The end that is left of a half-open connection stays until it leaves by itself.
    if (this.silent && !(this.ends.client.destroyed && this.ends.server.destroyed)) return
    for (const end of Object.values(this.ends)) end.destroy()
    this.gone()
  }
}

/** One direction. */
class Flow {
  private readonly proxy: FaultProxy
  private readonly from: Socket
  private full = false
  private waiting = false
  private swallows = false

  constructor(proxy: FaultProxy, from: Socket, to: Socket) {
    this.proxy = proxy
    this.from = from
    from.on('data', (chunk: Buffer) => {
      if (this.swallows) return
      this.full = !to.write(chunk)
      if (proxy.bytesPerSecond > 0) {
        this.waiting = true
        setTimeout(
          () => {
            this.waiting = false
            this.update()
          },
          (chunk.length / proxy.bytesPerSecond) * 1_000,
        )
      }
      this.update()
    })
    from.on('end', () => {
      if (this.swallows) from.destroy()
      else to.end()
    })
    to.on('drain', () => {
      this.full = false
      this.update()
    })
    this.update()
  }

  swallow(): void {
    this.swallows = true
    this.full = this.waiting = false
    this.update()
  }

  update(): void {
    if (this.full || this.waiting || this.proxy.stalled) this.from.pause()
    else this.from.resume()
  }
}
