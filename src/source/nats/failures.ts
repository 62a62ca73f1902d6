import { ErrorCode, NatsError } from 'nats'
import { BrokerError, reasonOf } from '../../errors.ts'
import { addressesOf } from './addresses.ts'
import type { ConnectOptions } from './connect-options.ts'
import { isUnsettled } from './settled.ts'

/** What to do about a server that cannot hold the events. */
export function unfit(error: unknown, { url, domain, apiPrefix }: ConnectOptions): BrokerError {
  const shown = addressesOf(url).join(', ')
  const place = domain ? `NATS_JS_DOMAIN=${domain}` : apiPrefix ? `NATS_JS_API_PREFIX=${apiPrefix}` : ''
  if (isUnsettled(error)) {
    return new BrokerError(
      'SOURCE_UNFIT',
      `JetStream at ${shown} does not answer, or cannot at the moment (${reasonOf(error)}): in a cluster more than half of the nodes must run and see each other, and as many as there are replicas`,
    )
  }
  if (
    error instanceof NatsError &&
    (error.code === ErrorCode.JetStreamNotEnabled || error.code === ErrorCode.NoResponders || error.code === '503')
  ) {
    if (place !== '')
      return new BrokerError(
        'SOURCE_UNFIT',
        `No JetStream answers at ${shown} under ${place}: check that name, and that this account may use it`,
      )
    return new BrokerError(
      'SOURCE_UNFIT',
      `The NATS server at ${shown} has no JetStream, which keeps the events: start it with -js (or a jetstream block in its configuration)`,
    )
  }
  return new BrokerError('SOURCE_UNFIT', `The NATS server at ${shown} cannot hold the events: ${reasonOf(error)}`)
}

/** NATS' error as the broker's. */
export function translate(error: unknown): BrokerError {
  if (error instanceof BrokerError) return error
  const code = error instanceof NatsError ? error.code : ''
  if (code === ErrorCode.Timeout) return new BrokerError('TIMEOUT')
  if (code === ErrorCode.MaxPayloadExceeded)
    return new BrokerError('PAYLOAD_TOO_LARGE', 'NATS takes no message as large as this')
  if (isUnanswered(error)) return new BrokerError('SERVICE_UNAVAILABLE')
  const told = error instanceof NatsError ? error.api_error?.description : undefined
  return new BrokerError('SERVICE_UNAVAILABLE', `NATS: ${told ?? reasonOf(error)}`)
}

/** Whether nobody is there to answer. JetStream's own errors have the same code, but also a reason. */
export function isUnanswered(error: unknown): boolean {
  return (
    error instanceof NatsError &&
    error.api_error === undefined &&
    (error.code === ErrorCode.NoResponders || error.code === '503')
  )
}
