/** What a worker hands over of an Engine.IO session, as JSON. */
export interface HandedOverSession {
  /** Of its handshake's query. */
  readonly token: string | null
  /** Packets that the client has yet to get, as an Engine.IO payload. */
  readonly payload: string
  /** Of the protocol that the session carries. */
  readonly state: unknown
}

/** A long-polling session that may go to another worker. */
export interface LeavingSession {
  readonly closed: boolean
  /** It is on long-polling, and no WebSocket is about to take over, here or at another worker. */
  readonly mayUpgrade: boolean
  /** A WebSocket at another worker is to take over. */
  leaving: boolean
  /** Nothing is at work here that could not be finished elsewhere. */
  readonly settled: boolean
  /** Ends its polls, one after another, as long as it is to change over. */
  endPollsWhile(wanted: () => boolean): void
  /** Nothing reaches the client from here any more, and nothing that it sends here is carried out. */
  handOver(): Promise<HandedOverSession>
  /** The other worker has it: it ends here without a word to its client. */
  letGo(): void
  discard(): void
}

/** A session that came from another worker. */
export interface ArrivedSession {
  readonly closed: boolean
  /** Goes on from what was handed over. @returns a promise of when the other worker may let go */
  resume(state: unknown): Promise<unknown>
  receive(frame: ArrayBuffer, binary: boolean): void
  close(): void
}
