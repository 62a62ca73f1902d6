import type { Command } from '../contracts/contract.ts'
import type { RecallEffect } from '../contracts/effect.ts'
import { Digest } from '../log/digest.ts'
import type { Source } from '../source/source.ts'
import { type Caller, senderOf } from './caller.ts'

export interface RecallLimits {
  /** How far back one may look, in positions of the log. */
  readonly positionsMax: number
  /** Memory for what the log comes down to, for each command that asks. */
  readonly bytesMax: number
}

/** Answers from the stored log: history, statistics, what happened. */
export class Recall {
  private readonly source: Source
  private readonly limits: RecallLimits
  private readonly digests = new Map<RecallEffect, Digest<unknown>>()

  constructor(source: Source, limits: RecallLimits) {
    this.source = source
    this.limits = limits
  }

  /** What is stored before it begins counts, on whatever node that was. A client that goes ends it. */
  async answer(caller: Caller, command: Command, effect: RecallEffect): Promise<void> {
    const { look, reply } = effect.answer(command, senderOf(caller))
    const complete = await this.digestOf(caller.contract.app, effect).walk(
      await this.source.bounds(),
      (piece) => !caller.closed && look(piece),
    )
    if (caller.closed) return
    caller.reply(reply(complete), command)
    command.acknowledge?.([{ status: 'success' }])
  }

  /** What was read of the stream is no longer true. */
  forget(): void {
    for (const digest of this.digests.values()) digest.forget()
  }

  private digestOf(app: string, effect: RecallEffect): Digest<unknown> {
    let digest = this.digests.get(effect)
    if (!digest)
      this.digests.set(
        effect,
        (digest = new Digest({ ...effect.digest, ...this.limits, source: this.source, app, types: effect.events })),
      )
    return digest
  }
}
