import type { CompiledContract } from './contracts/compiled.ts'
import type { ClientPort } from './gateways/client-port.ts'
import type { Connections } from './guard/connections.ts'
import { every } from './guarded.ts'
import type { Hub } from './hub/hub.ts'
import type { Meters } from './meters.ts'
import { SystemFigureReader } from './ops/system-figures.ts'
import type { Participants } from './state/participants.ts'
import type { Presence } from './state/presence.ts'
import { favourEvents } from './v8.ts'

const SWEEP_MS = 1_000
const HOUR_MS = 3_600_000

export interface Timed {
  readonly meters: Meters
  readonly clientPorts: readonly ClientPort[]
  readonly hub: Hub
  readonly connections: Connections
  readonly contracts: readonly CompiledContract[]
  readonly presence: Presence
  readonly participants: Participants
}

/** Starts a broker's recurring tasks. @returns a function that stops them */
export function startTimers(timed: Timed): () => void {
  const { meters, clientPorts, hub, connections, contracts, presence, participants } = timed
  let eventsBefore = meters.events
  const sweep = () => {
    const now = Date.now()
    favourEvents(meters.events - eventsBefore)
    eventsBefore = meters.events
    for (const clientPort of clientPorts) clientPort.sweep(now)
    hub.sweep(now)
    connections.sweep(now)
  }
  const timers = [every('sweep', SWEEP_MS, sweep), every('participants', HOUR_MS, () => participants.sweep(Date.now()))]
  const reader = new SystemFigureReader(meters)
  for (const { app, application, lastValues, contract } of contracts) {
    const { figures } = contract
    if (figures === undefined) continue
    const broadcast = () => {
      const message = figures.message(reader.read(presence.channelCount(app)), lastValues)
      hub.broadcast(application, figures.room, message)
    }
    timers.push(every('figures', figures.everyMs, broadcast))
  }
  return () => {
    for (const timer of timers) clearInterval(timer)
  }
}
