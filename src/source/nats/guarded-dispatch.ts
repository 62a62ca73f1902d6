import { type NatsConnection, NatsError } from 'nats'
import { BrokerError } from '../../errors.ts'
import { reportFault } from '../../guarded.ts'

/** A part of nats.js' connection: where it hands on each message that it has read. */
interface Dispatching {
  readonly protocol: { processMsg(message: unknown, data: Uint8Array): void }
}

/**
 * nats.js reads on only as long as no message makes a callback throw, its own included: by one answer whose headers
 * cannot be read the connection heard nothing more, until it was found stale half a minute later. With this, such a
 * message costs itself alone.
 */
export function guardDispatch(nc: NatsConnection): void {
  const { protocol } = nc as unknown as Dispatching
  const dispatch = protocol.processMsg.bind(protocol)
  protocol.processMsg = (message, data) => {
    try {
      dispatch(message, data)
    } catch (error) {
      reportFault('nats message', error instanceof NatsError ? new BrokerError('INVALID_RECORD', error.message) : error)
    }
  }
}
