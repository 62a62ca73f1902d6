import type { CompiledContract } from '../contracts/compiled.ts'
import type { Contract } from '../contracts/contract.ts'
import type { Claims } from '../contracts/claims.ts'
import type { Hub } from '../hub/hub.ts'
import type { EventLog } from '../log/event-log.ts'
import type { Meters } from '../meters.ts'
import type { Source } from '../source/source.ts'
import { Metrics } from './metrics.ts'
import type { Access, ProcessView, Stats } from './view.ts'

export type ProcessState = 'warming up' | 'serving' | 'draining' | 'failed'

export interface ProcessViewOptions {
  readonly state: () => ProcessState
  readonly source: Source
  readonly log: EventLog
  readonly hub: Hub
  readonly meters: Meters
  readonly contracts: readonly CompiledContract[]
  /** @throws if the token is not valid */
  readonly verify: (token: string) => Claims
  /** The port of a contract's endpoints, to which the page connects. Undefined until the broker serves. */
  readonly portOf: (contract: Contract) => number | undefined
  readonly tls: boolean
  /** Makes a token for the page, only in development. */
  readonly developmentToken: (() => string) | undefined
}

/** Makes the view of this broker process. */
export function makeProcessView(options: ProcessViewOptions): ProcessView {
  const { source, log, hub, meters, contracts } = options
  const stats = (): Stats => ({ connections: meters.connections, rooms: membersByRoom(contracts) })
  const metrics = new Metrics({ meters, hub, log, source, roomCount: () => Object.keys(stats().rooms).length })
  return {
    unready: () => [...(options.state() === 'serving' ? [] : [options.state()]), ...source.troubles],
    stats,
    figures: () => ({
      state: options.state(),
      source: source.kind,
      source_connected: source.connected,
      ...stats(),
      events: meters.events,
      bad_events: meters.badEvents + meters.unknownEvents,
      deliveries: sum(meters.deliveries) + sum(meters.catchUpDeliveries),
      behind: hub.catchUp.catchingUp,
      lag_events: hub.catchUp.lag(Date.now()).events,
      ring_events: log.ring.size,
      ring_bytes: log.ring.bytes,
      position: log.position(log.headSeq),
      rss_bytes: process.memoryUsage.rss(),
    }),
    metricValues: () => metrics.values(),
    metrics: () => metrics.text(),
    pageSettings: () => ({
      apps: contracts.flatMap((contract) => appOnPage(contract, options.portOf)),
      tls: options.tls,
      token: options.developmentToken?.(),
    }),
    access: (token) => accessOf(options.verify, token),
  }
}

/**
 * The names to which the page can subscribe.
 * @returns an empty list if the application has no raw WebSocket endpoint
 */
function appOnPage({ app, contract }: CompiledContract, portOf: ProcessViewOptions['portOf']) {
  const endpoint = contract.endpoints.find(({ transport }) => transport === 'websocket')
  if (endpoint?.transport !== 'websocket') return []
  const types = Object.keys(contract.events).filter((type) => !contract.events[type]?.rooms)
  const names = [...Object.keys(contract.groups ?? {}), ...types]
  return [{ app, port: portOf(contract), path: endpoint.path, names, rooms: Object.keys(contract.rooms ?? {}) }]
}

function accessOf(verify: ProcessViewOptions['verify'], token: string): Access {
  try {
    return verify(token).roles?.includes('admin') ? 'admin' : 'user'
  } catch {
    return 'nobody'
  }
}

/** The members of each room, over all applications. */
function membersByRoom(contracts: readonly CompiledContract[]): Record<string, number> {
  const rooms = new Map<string, number>()
  for (const { application } of contracts) {
    for (const room of application.rooms.values()) rooms.set(room.name, (rooms.get(room.name) ?? 0) + room.population)
  }
  return Object.fromEntries(rooms)
}

function sum(map: ReadonlyMap<string, number>): number {
  let total = 0
  for (const n of map.values()) total += n
  return total
}
