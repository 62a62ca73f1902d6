import { BrokerError } from '../../errors.ts'
import { after } from '../../guarded.ts'

/** Questions that a client may have open; they all end in time, answered or not. */
const OPEN_MAX = 64

interface Open {
  readonly resolve: (values: readonly unknown[]) => void
  readonly reject: (error: BrokerError) => void
  readonly late: NodeJS.Timeout
}

/** What a client was asked and has yet to answer, by the id of the acknowledgement that is to come. */
export class Questions {
  private readonly open = new Map<number, Open>()
  private nextId: number

  /** @param asked questions before, elsewhere: an answer to one of those that comes late is none to a new one */
  constructor(asked = 0) {
    this.nextId = asked
  }

  get asked(): number {
    return this.nextId
  }

  get settled(): boolean {
    return this.open.size === 0
  }

  /**
   * @param send writes the question to the client
   * @throws BrokerError TIMEOUT, RATE_LIMITED, and NOT_CONNECTED where the client goes away meanwhile
   */
  ask(timeoutMs: number, send: (id: number) => void): Promise<readonly unknown[]> {
    return new Promise((resolve, reject) => {
      if (this.open.size >= OPEN_MAX)
        throw new BrokerError('RATE_LIMITED', `The client has ${OPEN_MAX} questions to answer already`)
      const id = this.nextId++
      const late = after('question', timeoutMs, () => {
        this.open.delete(id)
        reject(new BrokerError('TIMEOUT', 'The client did not answer in time'))
      })
      this.open.set(id, { resolve, reject, late })
      send(id)
    })
  }

  /** The client's acknowledgement. One that is late, or comes again, or that nobody asked for, is nothing. */
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
