import type { Caller } from './caller.ts'

/** A client that a service can send a request to. */
export interface RequestableClient extends Pick<Caller, 'contract' | 'connectionId'> {
  /**
   * @returns what the client answers: the values of its acknowledgement
   * @throws BrokerError TIMEOUT, RATE_LIMITED, and NOT_CONNECTED where the client goes away meanwhile
   */
  request(type: string, data: unknown, timeoutMs: number): Promise<readonly unknown[]>
}

/** The clients of this broker that take requests: those whose contract has `clientRequests`. */
export class RequestableClients {
  private readonly clients = new Map<string, RequestableClient>()

  add(client: RequestableClient): void {
    if (client.contract.clientRequests.size > 0) this.clients.set(client.connectionId, client)
  }

  remove(client: RequestableClient): void {
    // Another connection may have recovered under its id.
    if (client.contract.clientRequests.size > 0 && this.clients.get(client.connectionId) === client)
      this.clients.delete(client.connectionId)
  }

  find(app: string, connectionId: string): RequestableClient | undefined {
    const client = this.clients.get(connectionId)
    return client?.contract.app === app ? client : undefined
  }
}
