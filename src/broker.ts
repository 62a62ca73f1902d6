import { randomBytes } from 'node:crypto'
import { serveClientRequests } from './commands/client-requests.ts'
import type { Services } from './commands/services.ts'
import { BUILT_IN_COMMANDS } from './commands/dispatch.ts'
import { storeLockEvent } from './commands/lock.ts'
import { Locks } from './state/locks.ts'
import { Participants } from './state/participants.ts'
import { channelRoom } from './commands/presence-channel.ts'
import { Presence } from './state/presence.ts'
import { LogQueries } from './commands/query.ts'
import { RequestableClients } from './commands/requestable-clients.ts'
import { hearOthers } from './commands/broadcast.ts'
import { hostOf } from './config/load.ts'
import type { Config } from './config/options.ts'
import { BUILT_IN_CONTRACTS } from './applications/built-in.ts'
import type { ClientPortName } from './contracts/contract.ts'
import { loadContract } from './contracts/load.ts'
import { Registry } from './contracts/registry.ts'
import { every, guarded, onFault } from './guarded.ts'
import { HttpApi } from './gateways/http/api.ts'
import { ClientPort, type ClientPortOptions } from './gateways/client-port.ts'
import { listen, makeApp } from './gateways/listen.ts'
import type { Tls } from './gateways/tls-app.ts'
import { BodyBudget } from './gateways/engineio/body-budget.ts'
import { Recovery } from './state/recovery.ts'
import { WorkerProxy } from './gateways/handoff/worker-proxy.ts'
import { Addresses } from './guard/addresses.ts'
import { Bans } from './state/bans.ts'
import { ByteBudget } from './guard/byte-budget.ts'
import { Connections } from './guard/connections.ts'
import { FailedAuthentications } from './guard/failed-authentications.ts'
import { TokenVerifier } from './guard/jwt.ts'
import { LoginSessions } from './state/login-sessions.ts'
import { Hub } from './hub/hub.ts'
import { EventLog } from './log/event-log.ts'
import { parsePosition } from './log/position.ts'
import { Meters } from './meters.ts'
import { oncePerMinute, reportingFaults } from './ops/fault-log.ts'
import type { Logger } from './ops/logger.ts'
import { allowedHosts } from './ops/allowed-host.ts'
import { Metrics } from './ops/metrics.ts'
import { SystemFigureReader } from './ops/system-figures.ts'
import { mountOps } from './ops/ops-server.ts'
import { type Access, type ProcessView, type Stats, viewOfOne } from './ops/view.ts'
import { EmbeddedSource } from './source/embedded/embedded-source.ts'
import { NatsSource } from './source/nats/nats-source.ts'
import type { Source } from './source/source.ts'
import { favourEvents, setUpCompiler } from './v8.ts'
import type { Lock } from './contracts/lock.ts'

/** Where it listens, by option. */
export type Ports = Readonly<Record<ClientPortName | 'OPS_PORT', number>>

export interface Broker {
  readonly ports: Ports
  readonly view: ProcessView
  /**
   * Reads the certificate again, for connections from now on.
   * @throws BrokerError CONFIG_INVALID where it cannot be used
   */
  renewTls(): Promise<void>
  /** A fault got past every guard: counted, and not ready from now on. */
  failed(): void
  /** Sends clients away over `DRAIN_MS` and leaves. */
  stop(): Promise<void>
}

/** A process that is one of several workers: its supervisor answers on OPS_PORT, for all. */
export interface WorkerPlace {
  readonly number: number
  /** Where the workers listen for each other. */
  readonly folder: string
  /** Of all workers. */
  readonly stats: () => Promise<Stats>
}

const SWEEP_MS = 1_000

/**
 * Puts a broker together, in the order in which events flow: source → log → registry → hub → gateways; and starts it.
 * @param development tokens are signed by a key made for this machine; the page gets one
 * @param place undefined: it stands alone
 * @throws BrokerError saying what is wrong and what to do
 */
export async function startBroker(
  config: Config,
  log: Logger,
  development: { token: () => string } | undefined,
  place?: WorkerPlace,
): Promise<Broker> {
  const meters = new Meters((entry, error) =>
    log.error(
      { position: entry.position, reason: String(error) },
      "an event cannot be written in a client's format and was left out",
    ),
  )
  const stopReporting = onFault(reportingFaults(meters, log))
  const verifier = await TokenVerifier.open(
    {
      secret: config.jwtSecret,
      publicKey: config.jwtPublicKey,
      jwksUrl: config.jwksUrl,
      issuer: config.jwtIssuer,
      audience: config.jwtAudience,
      tokenBytesMax: config.maxTokenBytes,
      userIdBytesMax: config.maxUserIdBytes,
      keySetBytesMax: config.maxKeySetBytes,
      keySetKeysMax: config.maxKeySetKeys,
    },
    log,
  )
  const contracts = [...BUILT_IN_CONTRACTS, ...(await Promise.all(config.contracts.map(loadContract)))]
  const source = await openSource(config, log)
  const nodeId = randomBytes(4).toString('hex')
  const registry = new Registry({
    contracts,
    builtIn: BUILT_IN_COMMANDS,
    participantsOf: (app, conversation) => participants.usersIn(app, conversation),
    meters,
    onBad: oncePerMinute((subject, error) =>
      log.warn({ subject: subject.slice(0, 200), code: error.code, reason: error.message }, 'an event was left out'),
    ),
  })
  const logQueries = new LogQueries(source, { positionsMax: config.lookBackEvents, bytesMax: config.lookBackBytes })
  const eventLog = new EventLog({
    source,
    ringEvents: config.logRingEvents,
    ringBytes: config.logRingBytes,
    backfillBytes: config.backfillBytes,
    route: (message, position) => registry.route(message, position),
    forget: (afterSeq) => {
      registry.forget(afterSeq)
      logQueries.forget()
    },
  })
  const hub = new Hub(eventLog, meters, {
    bufferBytes: config.maxBackpressureBytes / 4,
    stallMs: config.slowClientTimeoutMs,
  })
  const participants = await Participants.open(
    source,
    guarded('participants', (app, conversation, userId, since) => {
      const application = registry.contracts.get(app)?.application
      const position = parsePosition(since)
      if (application && position?.epoch === eventLog.epoch)
        hub.participates(application, conversation, userId, position.seq)
    }),
  )
  const presence = await Presence.open(
    source,
    nodeId,
    guarded('presence', (change, app, channel, id, name) => {
      const contract = registry.contracts.get(app)
      const told = contract?.contract.presence
      if (contract && told)
        hub.broadcast(
          contract.application,
          (told.room ?? channelRoom)(channel),
          told[change]({ id, name }, channel),
          (subscriber) => subscriber.userId === id,
        )
    }),
  )
  const locks = await Locks.open(source, {
    serves: (app) => registry.contracts.has(app),
    isHere: (app, userId) => registry.contracts.get(app)?.application.firstOfUser(userId) !== undefined,
    onFreed: guarded('locks', (app: string, lock: Lock) => {
      storeLockEvent(app, registry.contracts.get(app)?.contract.locks?.unlocked(lock), source).catch((error) =>
        log.warn({ app, reason: String(error) }, 'a lock ran out, and its event could not be stored'),
      )
    }),
  })
  let state: 'warming up' | 'serving' | 'draining' | 'failed' = 'warming up'

  const tls: Tls | undefined =
    config.tlsCertFile === '' ? undefined : { certFile: config.tlsCertFile, keyFile: config.tlsKeyFile }
  const host = hostOf(config)
  const connections = new Connections(
    {
      connectionsMax: config.maxConnections,
      unauthenticatedMax: config.maxUnauthenticatedConnections || Math.ceil(config.maxConnections / 2),
      unauthenticatedTimeoutMs: config.unauthenticatedTimeoutMs,
      perAddressMax: config.maxConnectionsPerAddress,
      perUserMax: config.maxConnectionsPerUser,
    },
    meters,
  )
  const services: Services = {
    hub,
    log: eventLog,
    source,
    participants,
    presence,
    requestableClients: new RequestableClients(),
    locks,
    logQueries,
    verify: (token) => verifier.verify(token),
    commandTimeoutMs: config.commandTimeoutMs,
    roomsMax: config.maxRooms,
    locksMax: config.maxLocks,
    connections,
    storedBytes: new ByteBudget(config.storedBytesPerMinutePerUser),
  }
  const verify = (token: string | undefined) => verifier.verify(token)
  const contractsHere = [...registry.contracts.values()]
  const workerProxy = place && new WorkerProxy(place.folder, place.number)
  const shared = {
    services,
    meters,
    recovery: await Recovery.open(source, eventLog),
    bans: await Bans.open(source),
    loginSessions: await LoginSessions.open(source, verify, config.maxUserIdBytes),
    verify,
    connections,
    addresses: new Addresses(config.trustedProxies),
    failures: new FailedAuthentications(config.maxFailedAuthentications),
    nodeId,
    workerProxy,
  }
  const clientPorts = clientPortsOf(config, host, tls).map((options) => new ClientPort(options, contractsHere, shared))
  const [mainPort] = clientPorts as [ClientPort, ...ClientPort[]]
  hearOthers(services, contractsHere)
  serveClientRequests(services, contractsHere, nodeId)
  const stats = () => ({ connections: meters.connections, rooms: roomsOf(registry) })
  new HttpApi(mainPort.app, {
    registry,
    source,
    log: eventLog,
    meters,
    verify,
    publishKey: config.publishKey,
    bodyBytesMax: config.maxPayloadBytes,
    origins: config.corsOrigins,
    stats: place?.stats ?? (async () => stats()),
  })

  const metrics = new Metrics({
    meters,
    hub,
    log: eventLog,
    source,
    roomCount: () => Object.keys(roomsOf(registry)).length,
  })
  const view: ProcessView = {
    unready: () => [...(state === 'serving' ? [] : [state]), ...source.troubles],
    stats,
    figures: () => ({
      state,
      source: source.kind,
      source_connected: source.connected,
      ...stats(),
      events: meters.events,
      bad_events: meters.badEvents + meters.unknownEvents,
      deliveries: sum(meters.deliveries) + sum(meters.catchUpDeliveries),
      behind: hub.catchUp.catchingUp,
      lag_events: hub.catchUp.lag(Date.now()).events,
      ring_events: eventLog.ring.size,
      ring_bytes: eventLog.ring.bytes,
      position: eventLog.position(eventLog.headSeq),
      rss_bytes: process.memoryUsage.rss(),
    }),
    metricValues: () => metrics.values(),
    metrics: () => metrics.text(),
    pageSettings: () => ({
      apps: contractsHere
        .filter(({ contract }) => contract.endpoints.some(({ transport }) => transport === 'websocket'))
        .map(({ app: name, contract }) => ({
          app: name,
          path: contract.endpoints.find((endpoint) => endpoint.transport === 'websocket')?.path,
          names: Object.keys(contract.groups ?? {}).concat(
            Object.keys(contract.events).filter((type) => !contract.events[type]?.rooms),
          ),
          rooms: Object.keys(contract.rooms ?? {}),
        })),
      port: mainPort.port,
      tls: tls !== undefined,
      token: development?.token(),
    }),
    access: (token) => accessOf(verifier, token),
  }
  const opsApp = place === undefined ? makeApp(undefined) : undefined
  if (opsApp) mountOps(opsApp, viewOfOne(view), allowedHosts(config.opsHost, config.opsAllowedHosts))
  const opsPort = opsApp ? (await listen(opsApp, config.opsHost, config.opsPort, 'OPS_PORT')).port : config.opsPort

  await hub.start()
  setUpCompiler()
  await workerProxy?.open()
  for (const clientPort of clientPorts) await clientPort.open()
  state = 'serving'

  let eventsBefore = meters.events
  const sweeper = every('sweep', SWEEP_MS, () => {
    const now = Date.now()
    favourEvents(meters.events - eventsBefore)
    eventsBefore = meters.events
    for (const clientPort of clientPorts) clientPort.sweep(now)
    hub.sweep(now)
    connections.sweep(now)
  })
  const figures = new SystemFigureReader(meters)
  const figureTimers = contractsHere.flatMap(({ app: name, application, lastValues, contract: { figures: told } }) =>
    told === undefined
      ? []
      : [
          every('figures', told.everyMs, () =>
            hub.broadcast(application, told.room, told.message(figures.read(presence.channelCount(name)), lastValues)),
          ),
        ],
  )
  const hourly = every('participants', 3_600_000, () => participants.sweep(Date.now()))

  return {
    ports: { ...Object.fromEntries(clientPorts.map(({ name, port }) => [name, port])), OPS_PORT: opsPort } as Ports,
    view,
    renewTls: async () => {
      for (const clientPort of clientPorts) await clientPort.renew()
    },
    failed: () => {
      state = 'failed'
      meters.fault('past every guard')
    },
    stop: async () => {
      if (state !== 'failed') state = 'draining'
      await Promise.all(clientPorts.map((clientPort) => clientPort.drain(config.drainMs)))
      clearInterval(sweeper)
      clearInterval(hourly)
      for (const timer of figureTimers) clearInterval(timer)
      locks.close()
      shared.loginSessions.close()
      await presence.close()
      await eventLog.stop()
      await source.close()
      verifier.close()
      for (const { app } of clientPorts) app.close()
      workerProxy?.close()
      opsApp?.close()
      stopReporting()
    },
  }
}

/** The ports for clients, the one with the HTTP API first. */
function clientPortsOf(config: Config, host: string, tls: Tls | undefined): ClientPortOptions[] {
  const rates = {
    commandsPerMinute: config.commandsPerMinute,
    defaultCommandsPerMinute: config.defaultCommandsPerMinute,
    packetsPerMinute: Math.max(config.maxPacketsPerMinute, 2 * config.commandsPerMinute),
  }
  const common = {
    host,
    tls,
    origins: config.corsOrigins,
    webSocketLimits: {
      payloadBytes: config.maxPayloadBytes,
      backpressureBytes: config.maxBackpressureBytes,
      waitingBytes: config.maxWaitingBytes,
      idleTimeoutS: config.idleTimeoutS,
      ...rates,
    },
    socketIo: {
      pingIntervalMs: config.socketioPingIntervalMs,
      pingTimeoutMs: config.socketioPingTimeoutMs,
      upgradeTimeoutMs: config.socketioUpgradeTimeoutMs,
      connectTimeoutMs: config.socketioConnectTimeoutMs,
      bodies: new BodyBudget(config.maxBodiesBytes),
      payloadBytes: config.maxPayloadBytes,
      backpressureBytes: config.maxBackpressureBytes,
      waitingBytes: config.maxWaitingBytes,
      portConnectionsMax: config.maxConnections,
      namespacesMax: config.maxNamespaces,
      ...rates,
    },
  }
  return [
    { ...common, name: 'PORT', wanted: config.port },
    {
      ...common,
      name: 'CODING_ASSISTANT_PORT',
      wanted: config.codingAssistantPort,
      origins: config.socketCorsOrigin.length > 0 ? config.socketCorsOrigin : config.corsOrigins,
      socketIo: {
        ...common.socketIo,
        pingIntervalMs: config.socketPingInterval || config.socketioPingIntervalMs,
        pingTimeoutMs: config.socketPingTimeout || config.socketioPingTimeoutMs,
        upgradeTimeoutMs: config.socketUpgradeTimeout || config.socketioUpgradeTimeoutMs,
        portConnectionsMax: config.socketMaxConnections || config.maxConnections,
      },
    },
    { ...common, name: 'GEMINI_SESSIONS_PORT', wanted: config.geminiSessionsPort },
  ]
}

async function openSource(config: Config, log: Logger): Promise<Source> {
  if (config.natsUrl === '') return new EmbeddedSource()
  return NatsSource.open({
    url: config.natsUrl,
    creds: config.natsCreds,
    stream: {
      name: config.streamName,
      maxAgeS: config.streamMaxAgeS,
      maxBytes: config.streamMaxBytes,
      replicas: config.streamReplicas,
    },
    kvReplicas: config.kvReplicas,
    log,
  })
}

function accessOf(verifier: TokenVerifier, token: string): Access {
  try {
    return verifier.verify(token).roles?.includes('admin') ? 'admin' : 'user'
  } catch {
    return 'nobody'
  }
}

/** Members by room, over all applications. */
function roomsOf(registry: Registry): Record<string, number> {
  const rooms = new Map<string, number>()
  for (const { application } of registry.contracts.values()) {
    for (const room of application.rooms.values()) rooms.set(room.name, (rooms.get(room.name) ?? 0) + room.population)
  }
  return Object.fromEntries(rooms)
}

function sum(map: ReadonlyMap<string, number>): number {
  let total = 0
  for (const n of map.values()) total += n
  return total
}
