import { Packr } from 'msgpackr'
import { type Codec, eventFields, messageFields } from './codec.ts'
import { checkPlain } from '../plain.ts'

/**
 * Plain maps without the record extension, so that any msgpack library can read them. No references
 * (`structuredClone`): with them, a few hundred bytes from a client could unfold into gigabytes of JSON.
 */
const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number', structuredClone: false })

export const msgpack: Codec = {
  name: 'msgpack',
  binary: true,
  encodeEvent: (event, position) => packr.pack(eventFields(event, position)),
  encodeMessage: (message) => packr.pack(messageFields(message)),
  decode(frame, binary) {
    if (!binary) throw new Error('this connection speaks msgpack in binary frames')
    const message: unknown = packr.unpack(new Uint8Array(frame))
    checkPlain(message)
    return message
  },
}
