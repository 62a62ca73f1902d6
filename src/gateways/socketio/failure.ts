import { BrokerError } from '../../errors.ts'
import type { Failure } from '../../contracts/command.ts'

/** What a client is told of an error; of one that nobody foresaw, only that it was one. */
export function failureOf(error: unknown): Failure {
  const { code, message, details } = error instanceof BrokerError ? error : new BrokerError('INTERNAL')
  return { code, message, ...(details === undefined ? undefined : { details }) }
}
