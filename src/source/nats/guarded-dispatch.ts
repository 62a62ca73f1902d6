import { type NatsConnection, NatsError } from 'nats'
import { BrokerError } from '../../errors.ts'
import { reportFault } from '../../guarded.ts'

/** The part of nats.js's connection that hands on each message it has read. */
interface Dispatching {
  readonly protocol: { processMsg(message: unknown, data: Uint8Array): void }
}

/**
 * nats.js stops reading once a message makes any callback throw, even one of its own: after a single answer with
 * unreadable headers the connection heard nothing more, until it was found stale half a minute later. With this guard,
 * such a message costs only itself.
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
