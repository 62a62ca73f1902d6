import { type Codec, eventFields, messageFields } from './codec.ts'
import { checkPlain } from '../plain.ts'

const decoder = new TextDecoder('utf-8', { fatal: true })

export const json: Codec = {
  name: 'json',
  binary: false,
  encodeEvent: (event, position) => Buffer.from(JSON.stringify(eventFields(event, position))),
  encodeMessage: (message) => Buffer.from(JSON.stringify(messageFields(message))),
  decode(frame, binary) {
    if (binary) throw new Error('this connection speaks JSON in text frames; connect with ?format=msgpack for binary ones')
    const text = decoder.decode(frame)
    const message: unknown = JSON.parse(text)
    checkPlain(message, text)
    return message
  },
}
