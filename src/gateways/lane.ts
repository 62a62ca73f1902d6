/** Answers and commands that wait for a full socket; more, and the connection is closed as too slow. */
const WAITING_MAX = 1_024

/** A socket, as far as a lane needs it. */
export interface LaneSocket {
  getBufferedAmount(): number
  send(frame: Uint8Array | string, binary?: boolean): number
}

export interface LaneOwner {
  /** Ends the connection: what waits for it is too much. */
  overflowed(): void
}

type Task = () => Promise<void> | undefined

/**
 * What waits for a connection: answers while its socket is full, commands while the ones before them are at work or the
 * socket cannot take their answer. Answers are never lost while the connection lasts; what would wait is bounded.
 */
export class Lane {
  private readonly bytesMax: number
  private readonly owner: LaneOwner
  private frames: [frame: Uint8Array | string, binary: boolean][] | undefined
  private tasks: Task[] | undefined
  private busy = false

  constructor(bytesMax: number, owner: LaneOwner) {
    this.bytesMax = bytesMax
    this.owner = owner
  }

  /** No command is at work, and none waits. */
  get idle(): boolean {
    return !this.busy && this.tasks === undefined
  }

  isFull(socket: LaneSocket): boolean {
    return socket.getBufferedAmount() > this.bytesMax
  }

  /** Sends an answer, now or once the socket has drained. */
  send(socket: LaneSocket, frame: Uint8Array | string, binary: boolean): void {
    if (this.frames === undefined && !this.isFull(socket)) {
      socket.send(frame, binary)
      return
    }
    this.frames ??= []
    this.frames.push([frame, binary])
    if (this.frames.length > WAITING_MAX) this.owner.overflowed()
  }

  /** Says something that may be left out where the socket is full. */
  mention(socket: LaneSocket, frame: Uint8Array | string, binary: boolean): void {
    if (socket.getBufferedAmount() <= this.bytesMax / 2) socket.send(frame, binary)
  }

  /**
   * Runs a command, now or once the ones before it are done and the socket can take its answer.
   * @returns whether it is done
   */
  run(socket: LaneSocket, task: Task): boolean {
    if (!this.busy && this.tasks === undefined && !this.isFull(socket)) {
      const outcome = task()
      if (outcome) this.waitFor(socket, outcome)
      return outcome === undefined
    }
    this.tasks ??= []
    this.tasks.push(task)
    if (this.tasks.length > WAITING_MAX) this.owner.overflowed()
    return false
  }

  /** The socket drained, or a command ended: goes on with what waits. */
  proceed(socket: LaneSocket): void {
    while (this.frames !== undefined && !this.isFull(socket)) {
      const [frame, binary] = this.frames.shift() as [Uint8Array | string, boolean]
      if (this.frames.length === 0) this.frames = undefined
      socket.send(frame, binary)
    }
    while (this.tasks !== undefined && !this.busy && !this.isFull(socket)) {
      const task = this.tasks.shift() as Task
      if (this.tasks.length === 0) this.tasks = undefined
      const outcome = task()
      if (outcome) this.waitFor(socket, outcome)
    }
  }

  /** The connection is closed: nothing waits any more. */
  clear(): void {
    this.frames = this.tasks = undefined
  }

  private waitFor(socket: LaneSocket, outcome: Promise<void>): void {
    this.busy = true
    void outcome.finally(() => {
      this.busy = false
      this.proceed(socket)
    })
  }
}
