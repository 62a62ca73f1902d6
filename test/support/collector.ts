import type { StoredMessage } from '../../src/log/event.ts'
import type { Bounds, Sink } from '../../src/source/source.ts'
import { eventually } from './client.ts'

/** A reader of a source that keeps all that it was given. */
export class Collector implements Sink {
  readonly messages: StoredMessage[] = []
  readonly resets: Bounds[] = []
  readonly losses: number[] = []
  onMessage: () => void = () => {}

  message(message: StoredMessage): void {
    this.messages.push(message)
    this.onMessage()
  }

  reset(bounds: Bounds): void {
    this.resets.push(bounds)
  }

  lost(firstSeq: number): void {
    this.losses.push(firstSeq)
  }

  get seqs(): number[] {
    return this.messages.map(({ seq }) => seq)
  }

  get texts(): string[] {
    return this.messages.map(({ body }) => Buffer.from(body).toString())
  }

  async has(count: number): Promise<void> {
    await eventually(() => this.messages.length >= count)
  }
}

/** `from`, `from + 1`, … `to`. */
export function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
}

export function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text))
}
