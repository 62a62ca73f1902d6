import type { ChildProcess } from 'node:child_process'
import { BrokerError, ERRORS, type ErrorCode, reasonOf } from '../errors.ts'
import { after, guarded, reportFault, runGuarded } from '../guarded.ts'

/** Answers one question; `detail` is its argument. */
type Answering = (question: string, detail: unknown) => unknown

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

type Packet =
  | { readonly kind: 'question'; readonly id: number; readonly question: string; readonly detail: unknown }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'failure'; readonly id: number; readonly code: ErrorCode; readonly message: string }

/** The IPC channel between the supervisor and one worker: both sides ask questions and answer them. */
export class Link {
  private readonly channel: ChildProcess | NodeJS.Process
  private readonly pending = new Map<number, Pending>()
  private readonly answering: Answering
  private asked = 0

  /** @param answering answers the other side's questions; an error that it throws is thrown on the other side */
  constructor(channel: ChildProcess | NodeJS.Process, answering: Answering) {
    this.channel = channel
    this.answering = answering
    channel.on(
      'message',
      guarded('message of another process', (packet: unknown) => this.receive(packet)),
    )
    channel.on('disconnect', () => {
      for (const { reject } of this.pending.values())
        reject(new BrokerError('SERVICE_UNAVAILABLE', 'The other process is gone'))
      this.pending.clear()
    })
  }

  /** @throws BrokerError whatever the other side threw; SERVICE_UNAVAILABLE if it is gone; TIMEOUT */
  async ask<T>(question: string, detail?: unknown, timeoutMs?: number): Promise<T> {
    const id = this.asked++
    let late: NodeJS.Timeout | undefined
    try {
      return await new Promise<T>((resolve, reject) => {
        if (!this.channel.connected) throw new BrokerError('SERVICE_UNAVAILABLE', 'The other process is gone')
        this.pending.set(id, { resolve: resolve as (value: unknown) => void, reject })
        if (timeoutMs !== undefined) late = after('late answer', timeoutMs, () => reject(new BrokerError('TIMEOUT')))
        this.post({ kind: 'question', id, question, detail })
      })
    } finally {
      clearTimeout(late)
      this.pending.delete(id)
    }
  }

  private receive(packet: unknown): void {
    // Other code in a worker may send messages of its own.
    if (!isPacket(packet))
      return reportFault('message of another process', new Error('it is neither a question nor an answer'))
    if (packet.kind === 'question')
      return runGuarded('question of another process', () => this.answer(packet.id, packet.question, packet.detail))
    const pending = this.pending.get(packet.id)
    if (packet.kind === 'answer') pending?.resolve(packet.value)
    else pending?.reject(new BrokerError(Object.hasOwn(ERRORS, packet.code) ? packet.code : 'INTERNAL', packet.message))
  }

  private async answer(id: number, question: string, detail: unknown): Promise<void> {
    try {
      this.post({ kind: 'answer', id, value: await this.answering(question, detail) })
    } catch (error) {
      this.post({
        kind: 'failure',
        id,
        code: error instanceof BrokerError ? error.code : 'INTERNAL',
        message: reasonOf(error),
      })
    }
  }

  private post(packet: Packet): void {
    // The other side may go away at any moment; then nobody waits for this packet.
    if (this.channel.connected) this.channel.send?.(packet, undefined, undefined, () => {})
  }
}

function isPacket(packet: unknown): packet is Packet {
  if (typeof packet !== 'object' || packet === null) return false
  const { kind, id, question, code, message } = packet as Record<string, unknown>
  if (typeof id !== 'number') return false
  if (kind === 'question') return typeof question === 'string'
  return kind === 'answer' || (kind === 'failure' && typeof code === 'string' && typeof message === 'string')
}
