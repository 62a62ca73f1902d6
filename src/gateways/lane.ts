import { reportFault } from '../guarded.ts'

/** Answers and commands that wait for a full socket; more, and the connection is closed as too slow. */
const WAITING_MAX = 1_024

export interface LaneLimits {
  /** A socket with more unsent bytes is full. */
  readonly fullBytes: number
  /** Bytes of answers and commands that may wait for it; one alone may be larger. */
  readonly waitingBytes: number
}

/** A socket, as far as a lane needs it. It is asked for nothing once the lane is closed. */
export interface LaneSocket {
  getBufferedAmount(): number
  send(frame: Uint8Array | string, binary?: boolean): number
}

export interface LaneOwner {
  /** Ends the connection: what waits for it is too much. */
  overflowed(): void
  /**
   * A command that had waited threw: ends the connection. Commands answer their own failures, so this is none of those.
   */
  broke(error: unknown): void
}

type Task = () => Promise<void> | undefined

/**
 * What waits for a connection: answers while its socket is full, commands while the ones before them are at work or the
 * socket cannot take their answer. Answers are never lost while the connection lasts; what would wait is bounded, in
 * number and in bytes. A closed lane does nothing and asks the socket nothing: uWS throws on a socket that is gone.
 */
export class Lane {
  private readonly limits: LaneLimits
  private readonly owner: LaneOwner
  private frames: [frame: Uint8Array | string, binary: boolean][] | undefined
  private tasks: [task: Task, bytes: number][] | undefined
  /** Of the frames and commands that wait. */
  private waitingBytes = 0
  private busy = false
  private closed = false

  constructor(limits: LaneLimits, owner: LaneOwner) {
    this.limits = limits
    this.owner = owner
  }

  /** No command is at work, and none waits. */
  get idle(): boolean {
    return !this.busy && this.tasks === undefined
  }

  /** Of what waits. */
  get heldBytes(): number {
    return this.waitingBytes
  }

  isFull(socket: LaneSocket): boolean {
    return !this.closed && socket.getBufferedAmount() > this.limits.fullBytes
  }

  /** Sends an answer, now or once the socket has drained. */
  send(socket: LaneSocket, frame: Uint8Array | string, binary: boolean): void {
    if (this.closed) return
    if (this.frames === undefined && !this.isFull(socket)) {
      socket.send(frame, binary)
      return
    }
    this.frames ??= []
    this.frames.push([frame, binary])
    this.wait(this.frames.length, frame.length)
  }

  /** Says something that may be left out where the socket is full. */
  mention(socket: LaneSocket, frame: Uint8Array | string, binary: boolean): void {
    if (!this.closed && socket.getBufferedAmount() <= this.limits.fullBytes / 2) socket.send(frame, binary)
  }

  /**
   * Runs a command, now or once the ones before it are done and the socket can take its answer.
   * @param bytes what it holds while it waits
   * @returns whether it is done
   */
  run(socket: LaneSocket, bytes: number, task: Task): boolean {
    if (this.closed) return true
    if (!this.busy && this.tasks === undefined && !this.isFull(socket)) {
      const outcome = task()
      if (outcome) this.waitFor(socket, outcome)
      return outcome === undefined
    }
    this.tasks ??= []
    this.tasks.push([task, bytes])
    this.wait(this.tasks.length, bytes)
    return false
  }

  /** The socket drained, or a command ended: goes on with what waits. */
  proceed(socket: LaneSocket): void {
    while (this.frames !== undefined && !this.isFull(socket)) {
      const [frame, binary] = this.frames.shift() as [Uint8Array | string, boolean]
      if (this.frames.length === 0) this.frames = undefined
      this.waitingBytes -= frame.length
      socket.send(frame, binary)
    }
    while (this.tasks !== undefined && !this.busy && !this.isFull(socket)) {
      const [task, bytes] = this.tasks.shift() as [Task, number]
      if (this.tasks.length === 0) this.tasks = undefined
      this.waitingBytes -= bytes
      try {
        const outcome = task()
        if (outcome) this.waitFor(socket, outcome)
      } catch (error) {
        this.owner.broke(error)
      }
    }
  }

  /** The connection is closed: nothing waits any more, and nothing is done any more. */
  close(): void {
    this.closed = true
    this.frames = this.tasks = undefined
    this.waitingBytes = 0
  }

  private wait(count: number, bytes: number): void {
    this.waitingBytes += bytes
    if (count > WAITING_MAX || (count > 1 && this.waitingBytes > this.limits.waitingBytes)) this.owner.overflowed()
  }

  private waitFor(socket: LaneSocket, outcome: Promise<void>): void {
    this.busy = true
    const ended = () => {
      this.busy = false
      this.proceed(socket)
    }
    outcome
      .then(ended, (error: unknown) => {
        this.owner.broke(error)
        ended()
      })
      .catch((error: unknown) => reportFault('lane', error))
  }
}
