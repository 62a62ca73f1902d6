import type { Claims } from '../contracts/claims.ts'
import type { Hub } from '../hub/hub.ts'
import type { EventLog } from '../log/event-log.ts'
import type { Source } from '../source/source.ts'
import type { Locks } from '../state/locks.ts'
import type { Participants } from '../state/participants.ts'
import type { Presence } from '../state/presence.ts'
import type { LogQueries } from './query.ts'
import type { RequestableClients } from './requestable-clients.ts'

/** The parts of the broker that commands use. */
export interface Services {
  readonly hub: Hub
  readonly log: EventLog
  readonly source: Source
  readonly participants: Participants
  readonly presence: Presence
  readonly requestableClients: RequestableClients
  readonly locks: Locks
  readonly logQueries: LogQueries
  readonly verify: (token: string) => Claims
  readonly commandTimeoutMs: number
  readonly roomsMax: number
  readonly locksMax: number
  /** The bytes that each user may store. */
  readonly storedBytes: { take(userId: string, bytes: number, nowMs: number): void }
  /** Counts the connections of each user. */
  readonly connections: { userCame(userId: string): void; userWent(userId: string): void }
}
