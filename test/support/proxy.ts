import { createServer, type Server, type Socket, connect } from 'node:net'

/** Between a client and its server: it can stop passing on what the server says, and let it go again. */
export class StallingProxy {
  url = ''
  /** Bytes from the server after which it stalls. */
  stallAfterBytes = Number.POSITIVE_INFINITY
  stalled = false
  /** Whoever connects is cut off. */
  refusing = false
  private passed = 0
  private readonly server: Server
  private readonly sockets = new Set<Socket>()
  private readonly upstreams = new Set<Socket>()

  static async start(port: number): Promise<StallingProxy> {
    const proxy = new StallingProxy(port)
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve))
    proxy.url = `nats://127.0.0.1:${(proxy.server.address() as { port: number }).port}`
    return proxy
  }

  private constructor(port: number) {
    this.server = createServer((socket) => {
      if (this.refusing) return socket.destroy()
      const upstream = connect(port, '127.0.0.1')
      this.upstreams.add(upstream)
      for (const end of [socket, upstream]) this.sockets.add(end)
      for (const [one, other] of [
        [socket, upstream],
        [upstream, socket],
      ] as const) {
        one.on('error', () => other.destroy())
        one.on('close', () => other.destroy())
      }
      socket.pipe(upstream)
      upstream.on('data', (chunk) => {
        socket.write(chunk)
        this.passed += chunk.length
        if (this.passed < this.stallAfterBytes) return
        this.stalled = true
        for (const each of this.upstreams) each.pause()
      })
    })
  }

  /** From now on so many bytes pass. */
  stallAfter(bytes: number): void {
    this.passed = 0
    this.stallAfterBytes = bytes
  }

  goOn(): void {
    this.stallAfter(Number.POSITIVE_INFINITY)
    this.stalled = false
    for (const each of this.upstreams) each.resume()
  }

  /** Cuts off everybody, and whoever comes, until `refusing` is set back. */
  refuse(): void {
    this.refusing = true
    for (const socket of this.sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    await new Promise((resolve) => this.server.close(resolve))
  }
}
