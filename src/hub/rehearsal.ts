import type { Group } from './room.ts'
import type { Session } from './session.ts'
import type { Wire } from './wire.ts'

/** Goes an event's way through rooms and members without publishing it, to see which of two sessions it reaches first. */
export class Rehearsal {
  first: Session | undefined
  private readonly sessions: readonly Session[]

  constructor(sessions: readonly Session[]) {
    this.sessions = sessions
  }

  reachTopic(group: Group, wire: Wire): void {
    this.first ??= this.sessions.find((session) => session.wire === wire && group.members.has(session))
  }

  reachSession(session: Session): void {
    this.first ??= this.sessions.find((other) => other === session)
  }
}
