import type { Registry } from '../contracts/registry.ts'
import type { Lock } from '../contracts/lock.ts'
import { guarded } from '../guarded.ts'
import type { Hub } from '../hub/hub.ts'
import type { EventLog } from '../log/event-log.ts'
import { parsePosition } from '../log/position.ts'
import type { LocksNode } from '../state/locks.ts'
import type { JoinedListener } from '../state/participants.ts'
import type { PresenceListener } from '../state/presence.ts'
import type { Source } from '../source/source.ts'
import { storeLockEvent } from './lock.ts'
import { channelRoom } from './presence-channel.ts'

/** Shows clients the changes in shared state, whichever broker made them. */

/** Tells the users in a presence channel who joins and leaves. */
export function tellPresence(registry: Registry, hub: Hub): PresenceListener {
  return guarded('presence', (change, app, channel, id, name) => {
    const contract = registry.contracts.get(app)
    const told = contract?.contract.presence
    if (contract === undefined || told === undefined) return
    const message = told[change]({ id, name }, channel)
    hub.broadcast(contract.application, (told.room ?? channelRoom)(channel), message, ({ userId }) => userId === id)
  })
}

/** Sends a new participant the conversation's events since they joined; this broker may learn of it late. */
export function feedParticipants(registry: Registry, hub: Hub, log: EventLog): JoinedListener {
  return guarded('participants', (app, conversation, userId, since) => {
    const application = registry.contracts.get(app)?.application
    const position = parsePosition(since)
    if (application && position?.epoch === log.epoch) hub.participates(application, conversation, userId, position.seq)
  })
}

/** @param failed called if the event of an expired lock could not be stored */
export function keepLocks(
  registry: Registry,
  source: Source,
  failed: (app: string, reason: string) => void,
): LocksNode {
  return {
    // A broker whose contract has no locks, while a new one is rolled out, could not tell anybody of what it frees.
    serves: (app) => registry.contracts.get(app)?.contract.locks !== undefined,
    isHere: (app, userId) => registry.contracts.get(app)?.application.firstOfUser(userId) !== undefined,
    onFreed: guarded('locks', (app: string, lock: Lock) => {
      const event = registry.contracts.get(app)?.contract.locks?.unlocked(lock)
      storeLockEvent(app, event, source).catch((error) => failed(app, String(error)))
    }),
  }
}
