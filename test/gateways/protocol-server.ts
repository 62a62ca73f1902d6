import { TestBroker } from '../support/broker.ts'

export interface ProtocolServer {
  /** `http://host:port`, without a path. */
  readonly url: string
  stop(): Promise<void>
}

/** A server that speaks Engine.IO 4 and Socket.IO 5 at `/socket.io/`, with the namespaces of protocol-contract.mjs. */
export async function startServer(env: Readonly<Record<string, string | number>> = {}): Promise<ProtocolServer> {
  const broker = await TestBroker.start({
    CONTRACTS: new URL('protocol-contract.mjs', import.meta.url).pathname,
    ...env,
  })
  return { url: `http://127.0.0.1:${broker.port}`, stop: () => broker.stop() }
}
