import type { Command, Failure } from '../../contracts/command.ts'
import type { Message, SocketIoEndpoint } from '../../contracts/contract.ts'
import { BrokerError } from '../../errors.ts'

/** What a client is told of an error; of one that nobody foresaw, only that it was one. */
export function failureOf(error: unknown): Failure {
  const { code, message, details } = error instanceof BrokerError ? error : new BrokerError('INTERNAL')
  return { code, message, ...(details === undefined ? undefined : { details }) }
}

export interface FailureAnswer {
  readonly message: Message | undefined
  /** Values of the acknowledgement. */
  readonly acknowledgement: readonly unknown[] | undefined
}

/** How an endpoint tells its client of a failure. */
export function failureAnswer(
  { failed, lateAuthentication: late }: SocketIoEndpoint,
  failure: Failure,
  command: Command | undefined,
): FailureAnswer {
  const answer = command && failed?.(failure, command)
  const { acknowledgement } = answer ?? {}
  if (late && failure.code === 'AUTH_MISSING') return { message: late.refused(failure, command), acknowledgement }
  const message = answer?.message ?? (failed ? undefined : { type: 'error', data: failure })
  return { message, acknowledgement }
}

/** How an endpoint tells its client that it is over with who the client was. */
export function endMessage(
  { lateAuthentication: late, expired, refusal }: SocketIoEndpoint,
  failure: Failure,
): Message {
  if (late) return (late.ended ?? late.refused)(failure)
  return expired?.(failure) ?? { type: 'connection_error', data: refusal?.(failure) ?? failure }
}
