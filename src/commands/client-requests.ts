import { jsonBody } from '../plain.ts'
import type { CompiledContract } from '../contracts/compiled.ts'
import { BrokerError } from '../errors.ts'
import { isRecord } from '../log/event.ts'
import type { Services } from './services.ts'

interface ClientRequest {
  readonly connectionId: string
  readonly type: string
  readonly data: unknown
  readonly timeoutMs: number
}

/** How long the brokers have to say which of them holds a connection. */
const FIND_MS = 1_000
const TIMEOUT_MAX_MS = 60_000
/** A larger answer would not fit into a NATS message. */
const REPLY_BYTES_MAX = 1_000_000

/**
 * Lets services send requests to clients, by a NATS request on `ask.<app>` with `{connection_id, type, data?,
 * timeout_ms?}`. Any broker may take it; the broker that holds the connection sends it to the client. The reply is
 * `{ok: true, data: [...]}` with the values of the client's acknowledgement, or `{ok: false, error: {code, message}}`
 * (docs/contracts.md, "Asking a client").
 */
export function serveClientRequests(
  { source, requestableClients, commandTimeoutMs }: Services,
  contracts: Iterable<CompiledContract>,
  nodeId: string,
): void {
  for (const contract of contracts) {
    const { app, clientRequests } = contract
    if (clientRequests.size === 0) continue
    const findSubject = `roomcast.find.${app}`
    const subjectOf = (node: string) => `roomcast.ask.${app}.${node}`
    const requestHere = async (request: ClientRequest) => {
      // Only the broker that holds the connection checks it: the contracts of others may be older, or newer.
      check(request, contract)
      const { connectionId, type, data, timeoutMs } = request
      const client = requestableClients.find(app, connectionId)
      if (!client) throw new BrokerError('NOT_CONNECTED')
      return replyOf(await client.request(type, data, timeoutMs))
    }
    const requestElsewhere = async (body: Uint8Array, { connectionId, timeoutMs }: ClientRequest) => {
      try {
        const node = await source.request(findSubject, Buffer.from(connectionId), FIND_MS)
        return await source.request(subjectOf(textOf(node)), body, timeoutMs + FIND_MS)
      } catch {
        // No broker holds the connection, or the one that held it is gone.
        throw new BrokerError('NOT_CONNECTED')
      }
    }
    source.serve(findSubject, 'all', async (body) =>
      requestableClients.find(app, textOf(body)) ? Buffer.from(nodeId) : undefined,
    )
    source.serve(subjectOf(nodeId), 'one', (body) => orFailure(() => requestHere(read(body, commandTimeoutMs))))
    source.serve(`ask.${app}`, 'one', (body) =>
      orFailure(() => {
        const request = read(body, commandTimeoutMs)
        return requestableClients.find(app, request.connectionId)
          ? requestHere(request)
          : requestElsewhere(body, request)
      }),
    )
  }
}

/** @throws BrokerError INVALID_MESSAGE */
function read(body: Uint8Array, timeoutMs: number): ClientRequest {
  const request = parsed(body)
  if (!isRecord(request))
    throw new BrokerError('INVALID_MESSAGE', 'The request is no JSON object {connection_id, type, data?, timeout_ms?}')
  const { connection_id, type, data, timeout_ms = timeoutMs } = request
  if (typeof connection_id !== 'string')
    throw new BrokerError('INVALID_MESSAGE', '`connection_id` is missing or not a string')
  if (typeof type !== 'string') throw new BrokerError('INVALID_MESSAGE', '`type` is missing or not a string')
  if (typeof timeout_ms !== 'number' || !(timeout_ms >= 1 && timeout_ms <= TIMEOUT_MAX_MS))
    throw new BrokerError('INVALID_MESSAGE', `\`timeout_ms\` is not a number from 1 to ${TIMEOUT_MAX_MS}`)
  return { connectionId: connection_id, type, data, timeoutMs: timeout_ms }
}

/** @throws BrokerError UNKNOWN_TYPE if the contract has no such client request, or INVALID_MESSAGE */
function check({ type, data }: ClientRequest, { app, clientRequests }: CompiledContract): void {
  const known = clientRequests.get(type)
  if (!known)
    throw new BrokerError('UNKNOWN_TYPE', `The contract of ${app} has no client request "${type.slice(0, 100)}"`)
  const [fault] = known(data)
  if (fault !== undefined) throw new BrokerError('INVALID_MESSAGE', `The data of "${type}" is not valid: ${fault}`)
}

function parsed(body: Uint8Array): unknown {
  try {
    return JSON.parse(textOf(body))
  } catch {
    return undefined
  }
}

function replyOf(values: readonly unknown[]): Uint8Array {
  const reply = jsonBody({ ok: true, data: values })
  if (reply.length > REPLY_BYTES_MAX)
    throw new BrokerError(
      'PAYLOAD_TOO_LARGE',
      `The client's answer has ${reply.length} bytes; a reply holds ${REPLY_BYTES_MAX}`,
    )
  return reply
}

async function orFailure(answer: () => Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await answer()
  } catch (error) {
    const { code, message } = error instanceof BrokerError ? error : new BrokerError('INTERNAL')
    return Buffer.from(JSON.stringify({ ok: false, error: { code, message } }))
  }
}

function textOf(body: Uint8Array): string {
  return Buffer.from(body).toString()
}
