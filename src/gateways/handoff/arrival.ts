import type { Counted } from '../../guard/connections.ts'

export interface ArrivingSocket {
  send(frame: string): unknown
  close(): unknown
}

/** A WebSocket that came to this worker, to take over from long-polling in a session of another worker. */
export class Arrival<Socket extends ArrivingSocket> implements Counted {
  readonly sid: string
  /** The worker that has the session. */
  readonly owner: number
  /** Where it comes from, where that counts. */
  readonly address: string | undefined
  stage: 'new' | 'probing' | 'probed' | 'moving' | 'over' = 'new'
  /** What the client sent while its session was on its way here. */
  readonly frames: [frame: ArrayBuffer, binary: boolean][] = []
  bytes = 0
  /** Until it is over. */
  socket: Socket | undefined

  constructor(sid: string, owner: number, address: string | undefined) {
    this.sid = sid
    this.owner = owner
    this.address = address
  }

  discard(): void {
    this.socket?.close()
  }
}
