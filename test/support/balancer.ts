import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP load balancer in front of brokers: new connections go to the one it was told last. */
export class Balancer {
  private readonly server: Server
  private readonly sockets = new Set<Socket>()
  private target: number

  static async start(target: number): Promise<Balancer> {
    const balancer = new Balancer(target)
    await new Promise<void>((resolve) => balancer.server.listen(0, '127.0.0.1', resolve))
    return balancer
  }

  private constructor(target: number) {
    this.target = target
    this.server = createServer((client) => {
      const broker = connect(this.target, '127.0.0.1')
      for (const [from, to] of [
        [client, broker],
        [broker, client],
      ] as const) {
        this.sockets.add(from)
        from.on('error', () => {})
        from.on('close', () => {
          this.sockets.delete(from)
          to.destroy()
        })
        from.pipe(to)
      }
    })
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  /** Sends new connections there. */
  direct(port: number): void {
    this.target = port
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve))
    for (const socket of this.sockets) socket.destroy()
    await closed
  }
}
