import { Packr } from 'msgpackr'
import { type Codec, eventFields, messageFields } from './codec.ts'
import { checkPlain } from '../plain.ts'

/**
 * Plain maps, no record extension: any msgpack library reads them. No references (`structuredClone`): with them a
 * client's few hundred bytes unfold into gigabytes of JSON.
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
