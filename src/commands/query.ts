import type { QueryAction } from '../contracts/action.ts'
import { LogSegments } from '../log/segments.ts'
import { Turns } from '../turns.ts'
import type { Contract } from '../contracts/contract.ts'
import type { EventEnvelope, StoredMessage } from '../log/event.ts'
import type { Source } from '../source/source.ts'
import { type Caller, senderOf } from './caller.ts'
import type { Command } from '../contracts/command.ts'

export interface QueryLimits {
  /** How far back a query may look, in positions of the log. */
  readonly positionsMax: number
  /** Memory in bytes for the segment summaries of each query action. */
  readonly bytesMax: number
}

/** Answers queries from the stored log: history, statistics and the like. */
export class LogQueries {
  private readonly source: Source
  private readonly limits: QueryLimits
  private readonly read: (message: StoredMessage) => EventEnvelope
  private readonly turns = new Turns()
  private readonly segments = new Map<QueryAction, LogSegments<unknown>>()

  constructor(source: Source, limits: QueryLimits, read: (message: StoredMessage) => EventEnvelope) {
    this.source = source
    this.read = read
    this.limits = limits
  }

  /** Covers every event that any node stored before the query began. It stops when the client goes away. */
  async answer(caller: Caller, command: Command, action: QueryAction): Promise<void> {
    const { look, reply } = action.query(command, senderOf(caller))
    const complete = await this.segmentsOf(caller.contract.contract, action).walk(
      await this.source.bounds(),
      (piece) => !caller.closed && look(piece),
    )
    await this.turns.run(() => {
      if (!caller.closed) caller.reply(reply(complete), command)
    })
    if (caller.closed) return
    command.acknowledge?.([{ status: 'success' }])
  }

  /** Drops every segment summary: they no longer match the stream. */
  forget(): void {
    for (const segments of this.segments.values()) segments.forget()
  }

  private segmentsOf({ app, subjects = {} }: Contract, action: QueryAction): LogSegments<unknown> {
    let segments = this.segments.get(action)
    if (!segments)
      this.segments.set(
        action,
        (segments = new LogSegments({
          ...action.summary,
          ...this.limits,
          source: this.source,
          turns: this.turns,
          app,
          subjects: Object.keys(subjects),
          read: this.read,
          types: action.events,
        })),
      )
    return segments
  }
}
