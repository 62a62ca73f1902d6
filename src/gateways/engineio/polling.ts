import { encodePayload, type Packet } from 'engine.io-parser'
import type { HttpResponse } from 'uWebSockets.js'
import { soon } from '../../guarded.ts'

/** Writes one HTTP answer, whole, with the headers that this request's origin needs. */
export type Answer = (res: HttpResponse, status: string, type: string, body: string) => void

/** A long-polling transport: what waits to be fetched, and the request that waits for it. */
export class Polling {
  /** Characters that wait. */
  bytes = 0
  private readonly drained: () => void
  private packets: Packet[] = []
  private waiting: { res: HttpResponse; answer: Answer } | undefined
  private scheduled = false
  private farewell: Packet | undefined

  /** @param drained called when a request has taken what waited */
  constructor(drained: () => void) {
    this.drained = drained
  }

  get polled(): boolean {
    return this.waiting !== undefined
  }

  /** Queues a packet; it goes with the others of this turn of the event loop. */
  push(packet: Packet): void {
    this.packets.push(packet)
    this.bytes += typeof packet.data === 'string' ? packet.data.length : (packet.data?.byteLength ?? 0)
    if (this.waiting === undefined || this.scheduled) return
    this.scheduled = true
    soon('polling', () => {
      this.scheduled = false
      this.flush()
    })
  }

  /** A GET request waits for packets. */
  wait(res: HttpResponse, answer: Answer): void {
    this.waiting = { res, answer }
    this.flush()
  }

  /**
   * Nothing more will come. CLOSE goes in an answer of its own, behind what waits: `socket.io-client` would hand events
   * of the same answer to the program only after it has come back, and then they come once more from the log.
   */
  finish(): void {
    this.farewell = { type: 'close' }
    this.flush()
  }

  /** Its client has been told everything. */
  get finished(): boolean {
    return this.farewell === undefined && this.packets.length === 0
  }

  /** The waiting request went away. */
  forget(): void {
    this.waiting = undefined
  }

  /** Answers the waiting request with what waits, if anything does. */
  flush(): void {
    const { waiting } = this
    if (waiting === undefined) return
    if (this.packets.length === 0) {
      if (this.farewell === undefined) return
      this.packets = [this.farewell]
      this.farewell = undefined
    }
    this.waiting = undefined
    encodePayload(this.take(), (body) => waiting.answer(waiting.res, '200 OK', 'text/plain; charset=UTF-8', body))
    this.drained()
  }

  /** Takes what waits, for another transport. */
  take(): Packet[] {
    const { packets } = this
    this.packets = []
    this.bytes = 0
    return packets
  }
}
