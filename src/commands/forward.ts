import { jsonBody } from '../plain.ts'
import type { Check } from '../contracts/faults.ts'
import type { ForwardAction } from '../contracts/action.ts'
import { BrokerError } from '../errors.ts'
import { reportFault } from '../guarded.ts'
import { isRecord } from '../log/event.ts'
import { isoTime } from '../time.ts'
import { type Caller, senderOf } from './caller.ts'
import type { Services } from './services.ts'
import type { Command } from '../contracts/command.ts'

export type Outcome =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly failure: { code: string; message: string } }

const decoder = new TextDecoder('utf-8', { fatal: true })

/**
 * Sends a command to its service, as a NATS request on `commands.<app>.<type>` with the caller's identity
 * (docs/backends.md). Failures reach the client in the form that its application's document
 * defines.
 */
export async function forward(
  caller: Caller,
  command: Command,
  action: ForwardAction,
  services: Services,
  checkReply: Check,
): Promise<void> {
  const startMs = Date.now()
  const outcome = await ask(caller, command, action, services, checkReply)
  if (caller.closed) return
  if (!outcome.ok) {
    caller.fail(outcome.failure, command, action.failed?.(outcome.failure, command, Date.now() - startMs))
    return
  }
  if (action.succeeded) caller.reply(action.succeeded(outcome.data, command))
  command.acknowledge?.([{ status: 'success', ...(outcome.data === undefined ? undefined : { data: outcome.data }) }])
}

/**
 * A sender who names a conversation becomes a participant once the service accepts the command, with effect from when
 * the command was sent: events that the service publishes before it replies are held back until then and sent then.
 * After a refusal or without an answer, the sender does not become one.
 */
async function ask(
  caller: Caller,
  command: Command,
  action: ForwardAction,
  services: Services,
  checkReply: Check,
): Promise<Outcome> {
  const { log, participants } = services
  try {
    const conversation = action.participates?.(command.data)
    const since = log.position(log.headSeq)
    const outcome = checked(await requestService(caller, command, services), checkReply)
    if (outcome.ok && conversation !== undefined)
      await participants.add(caller.contract.app, conversation, caller.claims.sub, since)
    return outcome
  } catch (error) {
    return failed(error)
  }
}

/** Sends the command and the caller's identity to its service. */
export async function requestService(
  caller: Caller,
  command: Pick<Command, 'type' | 'data' | 'id'>,
  services: Services,
): Promise<Outcome> {
  try {
    const session = caller.contract.contract.session?.(senderOf(caller))
    const request = {
      type: command.type,
      data: command.data,
      ...(command.id === undefined ? undefined : { id: command.id }),
      user_id: caller.claims.sub,
      connection_id: caller.connectionId,
      ...(session === undefined ? undefined : { session_id: session }),
      timestamp: isoTime(),
    }
    return read(
      await services.source.request(
        `commands.${caller.contract.app}.${command.type}`,
        jsonBody(request),
        services.commandTimeoutMs,
      ),
    )
  } catch (error) {
    return failed(error)
  }
}

function failed(error: unknown): Outcome {
  if (!(error instanceof BrokerError)) reportFault('command', error)
  const { code, message } = error instanceof BrokerError ? error : new BrokerError('INTERNAL')
  return { ok: false, failure: { code, message } }
}

/** Reads `{ok: true, data?}` or `{ok: false, error: {code, message}}`; anything else is BAD_REPLY. */
function read(body: Uint8Array): Outcome {
  let reply: unknown
  try {
    reply = JSON.parse(decoder.decode(body))
  } catch {
    // Not JSON: answered with BAD_REPLY below.
  }
  if (isRecord(reply)) {
    const { ok, data, error } = reply
    if (ok === true) return { ok, data }
    if (ok === false && isRecord(error) && typeof error.code === 'string') {
      return {
        ok,
        failure: { code: error.code, message: typeof error.message === 'string' ? error.message : error.code },
      }
    }
  }
  return failed(new BrokerError('BAD_REPLY'))
}

function checked(outcome: Outcome, checkReply: Check): Outcome {
  return outcome.ok && checkReply(outcome.data).length > 0 ? failed(new BrokerError('BAD_REPLY')) : outcome
}
