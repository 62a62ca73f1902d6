import { type Packet, PacketType } from 'socket.io-parser'
import { checkPlain } from '../../plain.ts'
import { BrokerError } from '../../errors.ts'

/**
 * Socket.IO packets without attachments, which almost all are, as Engine.IO text messages: `4` message, then type,
 * namespace unless it is `/`, acknowledgement id, JSON (socket.io-protocol, "Packet encoding"). Packets with
 * attachments are socket.io-parser's.
 */

const SLASH = 47
const COMMA = ','
const ZERO = 48
const NINE = 57
/** Those of the largest safe integer: an id is read in time that does not depend on its sender. */
const ID_DIGITS_MAX = 16

/** @param data undefined: none */
export function encodePacket(type: PacketType, namespace: string, data?: unknown, id?: number): string {
  const head = namespace === '/' ? `4${type}` : `4${type}${namespace},`
  const json = data === undefined ? '' : JSON.stringify(data)
  return id === undefined ? head + json : `${head}${id}${json}`
}

/**
 * @param text what follows Engine.IO's `4`
 * @throws BrokerError INVALID_MESSAGE
 */
export function decodePacket(text: string): Packet {
  const type = text.charCodeAt(0) - ZERO
  let at = 1
  let nsp = '/'
  if (text.charCodeAt(at) === SLASH) {
    const comma = text.indexOf(COMMA, at)
    const end = comma === -1 ? text.length : comma
    nsp = text.slice(at, end)
    at = end + 1
  }
  const idStart = at
  while (isDigit(text.charCodeAt(at)) && at - idStart <= ID_DIGITS_MAX) at++
  if (at - idStart > ID_DIGITS_MAX) throw new BrokerError('INVALID_MESSAGE')
  const data = at < text.length ? parse(text.slice(at)) : undefined
  if (!fits(type, data)) throw new BrokerError('INVALID_MESSAGE')
  checkPlain(data, text)
  return at === idStart ? { type, nsp, data } : { type, nsp, data, id: Number(text.slice(idStart, at)) }
}

/** Whether something is in it that JSON cannot say. */
export function hasBinary(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return true
  for (const key in value) if (hasBinary((value as Record<string, unknown>)[key])) return true
  return false
}

function fits(type: PacketType, data: unknown): boolean {
  switch (type) {
    case PacketType.CONNECT:
      return data === undefined || (typeof data === 'object' && data !== null && !Array.isArray(data))
    case PacketType.DISCONNECT:
      return data === undefined
    case PacketType.EVENT:
      return Array.isArray(data) && data.length > 0
    case PacketType.ACK:
      return Array.isArray(data)
    default:
      // CONNECT_ERROR is the server's; the others have attachments.
      return false
  }
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw new BrokerError('INVALID_MESSAGE')
  }
}

function isDigit(code: number): boolean {
  return code >= ZERO && code <= NINE
}
