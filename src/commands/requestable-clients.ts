import type { Caller } from './caller.ts'

/** A client to which services can send requests. */
export interface RequestableClient extends Pick<Caller, 'contract' | 'connectionId'> {
  /**
   * @returns the client's answer: the values of its acknowledgement
   * @throws BrokerError TIMEOUT, RATE_LIMITED, or NOT_CONNECTED if the client goes away meanwhile
   */
  request(type: string, data: unknown, timeoutMs: number): Promise<readonly unknown[]>
}

/** This broker's clients whose contract has `clientRequests`. */
export class RequestableClients {
  private readonly clients = new Map<string, RequestableClient>()

  add(client: RequestableClient): void {
    if (client.contract.clientRequests.size > 0) this.clients.set(client.connectionId, client)
  }

  remove(client: RequestableClient): void {
    // Another connection may have recovered under the same id.
    if (client.contract.clientRequests.size > 0 && this.clients.get(client.connectionId) === client)
      this.clients.delete(client.connectionId)
  }

  find(app: string, connectionId: string): RequestableClient | undefined {
    const client = this.clients.get(connectionId)
    return client?.contract.app === app ? client : undefined
  }
}
