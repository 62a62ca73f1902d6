import { reportFault } from '../guarded.ts'

/** Frames, or commands, that may wait for one connection. With more, it is closed as too slow. */
const WAITING_MAX = 1_024

export interface QueueLimits {
  /** A socket with more unsent bytes than this is full. */
  readonly fullBytes: number
  /** Bytes of frames and commands that may wait for one connection; one alone may be larger. */
  readonly waitingBytes: number
}

/** The transport of a connection. Closed queues make no calls to it. */
export interface QueueSocket {
  getBufferedAmount(): number
  send(frame: Uint8Array | string, binary?: boolean): number
}

export interface QueueOwner {
  /** The outbox and the command queue hold more than their limit: ends the connection. */
  tooMuchWaiting(): void
  /** A queued command threw. Commands answer their own failures, so this is a fault and ends the connection. */
  broke(error: unknown): void
}

/** @returns a promise if the commands after it have to wait */
type Command = () => Promise<void> | undefined

/**
 * Everything that waits for one connection, in two queues. The *outbox* holds frames while the socket is full; none is
 * lost while the connection lasts. The *command queue* holds commands while an earlier one is being carried out, or
 * while the socket could not take their answer. Both are bounded in number, and together in bytes. Closed queues do
 * nothing and do not touch the socket, because uWS throws on a socket that is gone.
 */
export class ConnectionQueues {
  private readonly limits: QueueLimits
  private readonly owner: QueueOwner
  private readonly socket: QueueSocket
  private outbox: [frame: Uint8Array | string, binary: boolean][] | undefined
  private commands: [command: Command, bytes: number][] | undefined
  /** The bytes in both queues. */
  private waitingBytes = 0
  /** A command is being carried out. */
  private busy = false
  private closed = false

  constructor(limits: QueueLimits, owner: QueueOwner, socket: QueueSocket) {
    this.limits = limits
    this.owner = owner
    this.socket = socket
  }

  /** No command is being carried out, and none waits. */
  get idle(): boolean {
    return !this.busy && this.commands === undefined
  }

  /** The bytes that wait in both queues. */
  get heldBytes(): number {
    return this.waitingBytes
  }

  get full(): boolean {
    return !this.closed && this.socket.getBufferedAmount() > this.limits.fullBytes
  }

  /** Sends a frame, now or once the socket has drained. */
  send(frame: Uint8Array | string, binary: boolean): void {
    if (this.closed) return
    if (this.outbox === undefined && !this.full) {
      this.socket.send(frame, binary)
      return
    }
    this.outbox ??= []
    this.outbox.push([frame, binary])
    this.countWaiting(this.outbox.length, frame.length)
  }

  /** Sends a frame only if the socket has enough room; otherwise drops it. */
  sendIfRoom(frame: Uint8Array | string, binary: boolean): void {
    if (!this.closed && this.socket.getBufferedAmount() <= this.limits.fullBytes / 2) this.socket.send(frame, binary)
  }

  /**
   * Runs a command, now or once the ones before it are done and the socket can take its answer.
   * @param bytes the memory that it holds while it waits
   * @returns whether the command is done
   */
  run(bytes: number, command: Command): boolean {
    if (this.closed) return true
    if (this.idle && !this.full) {
      const outcome = command()
      if (outcome) this.waitFor(outcome)
      return outcome === undefined
    }
    this.commands ??= []
    this.commands.push([command, bytes])
    this.countWaiting(this.commands.length, bytes)
    return false
  }

  /** Continues with whatever waits, after the socket has drained or a command is done. */
  proceed(): void {
    while (this.outbox !== undefined && !this.full) {
      const [frame, binary] = this.outbox.shift() as [Uint8Array | string, boolean]
      if (this.outbox.length === 0) this.outbox = undefined
      this.waitingBytes -= frame.length
      this.socket.send(frame, binary)
    }
    while (this.commands !== undefined && !this.busy && !this.full) {
      const [command, bytes] = this.commands.shift() as [Command, number]
      if (this.commands.length === 0) this.commands = undefined
      this.waitingBytes -= bytes
      try {
        const outcome = command()
        if (outcome) this.waitFor(outcome)
      } catch (error) {
        this.owner.broke(error)
      }
    }
  }

  /** Drops whatever waits and accepts nothing more: the connection is closed. */
  close(): void {
    this.closed = true
    this.outbox = this.commands = undefined
    this.waitingBytes = 0
  }

  private countWaiting(count: number, bytes: number): void {
    this.waitingBytes += bytes
    if (count > WAITING_MAX || (count > 1 && this.waitingBytes > this.limits.waitingBytes)) this.owner.tooMuchWaiting()
  }

  private waitFor(outcome: Promise<void>): void {
    this.busy = true
    const ended = () => {
      this.busy = false
      this.proceed()
    }
    outcome
      .then(ended, (error: unknown) => {
        this.owner.broke(error)
        ended()
      })
      .catch((error: unknown) => reportFault('command queue', error))
  }
}
