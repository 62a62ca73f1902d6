import type { Codec } from '../../codecs/codec.ts'
import { json } from '../../codecs/json.ts'
import { msgpack } from '../../codecs/msgpack.ts'

const SUBPROTOCOLS: ReadonlyMap<string, Codec> = new Map([
  ['roomcast.msgpack', msgpack],
  ['roomcast.json', json],
])

export interface CodecChoice {
  /** Undefined: the client asked for a format that does not exist. */
  readonly codec: Codec | undefined
  readonly subprotocol: string
}

/**
 * @param format the value of `?format=` in the query
 * @param offered the request's `Sec-WebSocket-Protocol` header
 */
export function chooseCodec(format: string | undefined, offered: string): CodecChoice {
  const subprotocol =
    offered
      .split(',')
      .map((name) => name.trim())
      .find((name) => SUBPROTOCOLS.has(name)) ?? ''
  if (format === 'msgpack') return { codec: msgpack, subprotocol }
  if (format === 'json') return { codec: json, subprotocol }
  if (format !== undefined && format !== '') return { codec: undefined, subprotocol }
  return { codec: SUBPROTOCOLS.get(subprotocol) ?? json, subprotocol }
}
