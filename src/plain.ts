import { BrokerError } from './errors.ts'

/**
 * Levels of lists and objects in what a client sends. What goes through a value calls itself once a level,
 * `JSON.stringify` too, and a megabyte holds 500,000 levels: no stack does.
 */
const LEVELS_MAX = 128
/**
 * Bytes of binary values in one body for NATS. JSON writes each as up to 13 characters: a few megabytes would take
 * seconds.
 */
const BINARY_BYTES_MAX = 262_144

/**
 * To be asked of every message of a client, once it is decoded: what passes can be gone through, and written as JSON.
 * @param text JSON, which is as deep as half its length at most, and holds nothing that JSON has no word for.
 *   Undefined: another format
 * @throws BrokerError INVALID_MESSAGE
 */
export function checkPlain(value: unknown, text?: string): void {
  if (text === undefined || text.length > 2 * LEVELS_MAX) check(value, LEVELS_MAX)
}

function check(value: unknown, levels: number): void {
  if (typeof value === 'bigint') throw new BrokerError('INVALID_MESSAGE', 'A whole number has more than 64 bits')
  if (typeof value !== 'object' || value === null) return
  if (ArrayBuffer.isView(value)) {
    if (!(value instanceof Uint8Array))
      throw new BrokerError('INVALID_MESSAGE', 'A list of numbers is in a format of its own: send a plain one')
    return
  }
  if (levels === 0)
    throw new BrokerError('INVALID_MESSAGE', `Lists and objects within each other go deeper than ${LEVELS_MAX} levels`)
  if (Array.isArray(value)) for (const item of value) check(item, levels - 1)
  else for (const key in value) check((value as Record<string, unknown>)[key], levels - 1)
}

/**
 * The body of a message for NATS, of what a client sent.
 * @throws BrokerError PAYLOAD_TOO_LARGE for more binary values than JSON is good for: one attachment may stand in a
 *   message thousands of times
 */
export function jsonBody(value: unknown): Buffer {
  if (binaryBytes(value) > BINARY_BYTES_MAX)
    throw new BrokerError(
      'PAYLOAD_TOO_LARGE',
      `Binary values of more than ${BINARY_BYTES_MAX} bytes do not fit into a command`,
    )
  return Buffer.from(JSON.stringify(value))
}

function binaryBytes(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  if (ArrayBuffer.isView(value)) return value.byteLength
  let bytes = 0
  if (Array.isArray(value)) for (const item of value) bytes += binaryBytes(item)
  else for (const key in value) bytes += binaryBytes((value as Record<string, unknown>)[key])
  return bytes
}
