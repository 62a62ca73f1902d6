import { Decoder, type Packet } from 'socket.io-parser'
import { BrokerError } from '../../errors.ts'
import { checkPlain } from '../../plain.ts'

/** Puts together the packets of a connection that have binary attachments. Only connections that send some have one. */
export class AttachmentDecoder {
  private readonly decoder = new Decoder()
  private readonly bytesMax: number
  /** What it has put together last. */
  private decoded: Packet | undefined
  /** Of a packet whose attachments have yet to come. */
  private bytes = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
    this.decoder.on('decoded', (packet) => {
      this.decoded = packet
    })
  }

  /**
   * @returns a packet, once the last of its attachments came
   * @throws BrokerError INVALID_MESSAGE, PAYLOAD_TOO_LARGE
   */
  add(message: string | Buffer): Packet | undefined {
    this.bytes += message.length
    if (this.bytes > this.bytesMax) throw new BrokerError('PAYLOAD_TOO_LARGE')
    try {
      this.decoder.add(message)
    } catch {
      throw new BrokerError('INVALID_MESSAGE')
    }
    const packet = this.decoded
    this.decoded = undefined
    if (packet) {
      this.bytes = 0
      checkPlain(packet.data)
    }
    return packet
  }
}
