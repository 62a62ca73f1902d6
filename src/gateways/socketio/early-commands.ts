import { after } from '../../guarded.ts'
import type { Command } from '../../contracts/command.ts'

/**
 * How long commands wait for their client to authenticate. `socket.io-client` sends what it has buffered before its
 * `connect` handlers run, and those are where the documents' clients authenticate.
 */
const EARLY_MS = 500
const EARLY_MAX = 32
/** Bytes of all packets that wait; one alone may be larger. Decoded they take several times as much memory. */
const EARLY_BYTES_MAX = 262_144

/** Commands that came before their client has authenticated. */
export class EarlyCommands {
  private readonly refuse: (command: Command) => void
  private waiting: Command[] = []
  private bytes = 0
  private timer: NodeJS.Timeout | undefined

  /** @param refuse is called with each command that waited too long, or is one too many */
  constructor(refuse: (command: Command) => void) {
    this.refuse = refuse
  }

  get empty(): boolean {
    return this.waiting.length === 0
  }

  /** @param bytes of the packet that it came in */
  add(command: Command, bytes: number): void {
    this.waiting.push(command)
    this.bytes += bytes
    if (this.waiting.length === EARLY_MAX || (this.waiting.length > 1 && this.bytes > EARLY_BYTES_MAX)) this.refuseAll()
    else this.timer ??= after('early commands', EARLY_MS, () => this.refuseAll())
  }

  /** Takes what waits out of here. */
  take(): readonly Command[] {
    const { waiting } = this
    clearTimeout(this.timer)
    this.timer = undefined
    this.waiting = []
    this.bytes = 0
    return waiting
  }

  private refuseAll(): void {
    for (const command of this.take()) this.refuse(command)
  }
}
