import { BrokerError } from '../../errors.ts'
import { after } from '../../guarded.ts'

/** Requests that a client may have open; each ends in time, answered or not. */
const OPEN_MAX = 64

interface Open {
  readonly resolve: (values: readonly unknown[]) => void
  readonly reject: (error: BrokerError) => void
  readonly late: NodeJS.Timeout
}

/** Requests of services that a client has yet to answer, by the id of the acknowledgement that is to come. */
export class ClientRequests {
  private readonly open = new Map<number, Open>()
  private nextId: number

  /** @param sent requests before, by another worker: a late answer to one of those must not answer a new one */
  constructor(sent = 0) {
    this.nextId = sent
  }

  get sent(): number {
    return this.nextId
  }

  get settled(): boolean {
    return this.open.size === 0
  }

  /**
   * @param write sends the request to the client
   * @throws BrokerError TIMEOUT, RATE_LIMITED, and NOT_CONNECTED where the client goes away meanwhile
   */
  send(timeoutMs: number, write: (id: number) => void): Promise<readonly unknown[]> {
    return new Promise((resolve, reject) => {
      if (this.open.size >= OPEN_MAX)
        throw new BrokerError('RATE_LIMITED', `The client has ${OPEN_MAX} questions to answer already`)
      const id = this.nextId++
      const late = after('client request', timeoutMs, () => {
        this.open.delete(id)
        reject(new BrokerError('TIMEOUT', 'The client did not answer in time'))
      })
      this.open.set(id, { resolve, reject, late })
      write(id)
    })
  }

  /** The client's acknowledgement. One that is late, comes again, or answers nothing is ignored. */
  answer(id: number | undefined, values: readonly unknown[]): void {
    const open = id === undefined ? undefined : this.open.get(id)
    if (id === undefined || open === undefined) return
    this.open.delete(id)
    clearTimeout(open.late)
    open.resolve(values)
  }

  /** The client is gone. */
  end(): void {
    for (const { reject, late } of this.open.values()) {
      clearTimeout(late)
      reject(new BrokerError('NOT_CONNECTED', 'The connection ended before it answered'))
    }
    this.open.clear()
  }
}
