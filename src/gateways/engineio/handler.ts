/** What an Engine.IO session carries: the protocol above it, one handler a session. */
export interface EngineIoHandler {
  /** Its client has used nothing of it yet. Sessions that stay so are closed. */
  readonly unused: boolean
  /** Its client has not said who it is. */
  readonly unauthenticated: boolean
  /** Bytes that wait for the transport. */
  readonly heldBytes: number
  /** A message of the client. */
  receive(message: string | Buffer | undefined): void
  /** Counts a packet that is no message. @returns false where it is one too many: the session has ended by it */
  admitsPacket(): boolean
  /** uWS dropped a frame that was published to the session's socket, and with it all that it held behind that. */
  dropped(frame: Uint8Array): void
  /** The transport took some of what it had queued. */
  drained(): void
  /** A WebSocket took over from long-polling. */
  upgraded(): void
  /** Called about once a second. */
  sweep(nowMs: number): void
  /** The session is over. */
  ended(): void
  /** Nothing is at work that another worker could not finish. */
  readonly settled: boolean
  /** Sends nothing more from here. @returns what another worker goes on from, for `resume`, as JSON can hold it */
  suspend(): unknown
  /** Carries out nothing more of what its client sends here. */
  stop(): void
  /** Goes on from what another worker handed over. @returns a promise of when that one may let go of the session */
  resume(state: unknown): Promise<unknown>
}
