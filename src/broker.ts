import { randomBytes } from 'node:crypto'
import { servedContracts } from './applications/served.ts'
import { hearOthers } from './commands/broadcast.ts'
import { serveClientRequests } from './commands/client-requests.ts'
import { BUILT_IN_COMMANDS } from './commands/dispatch.ts'
import { LogQueries } from './commands/query.ts'
import { RequestableClients } from './commands/requestable-clients.ts'
import type { Services } from './commands/services.ts'
import { feedParticipants, keepLocks, tellPresence } from './commands/state-listeners.ts'
import type { Config } from './config/options.ts'
import * as parts from './config/parts.ts'
import { listClaimsOf } from './contracts/claims.ts'
import { portOf } from './contracts/ports.ts'
import { Registry } from './contracts/registry.ts'
import { ClientPort } from './gateways/client-port.ts'
import { BodyBudget } from './gateways/engineio/body-budget.ts'
import { WorkerProxy } from './gateways/handoff/worker-proxy.ts'
import { HttpApi } from './gateways/http/api.ts'
import { listen, makeApp } from './gateways/listen.ts'
import { Addresses } from './guard/addresses.ts'
import { ByteBudget } from './guard/byte-budget.ts'
import { Connections } from './guard/connections.ts'
import { FailedAuthentications } from './guard/failed-authentications.ts'
import { TokenVerifier } from './guard/jwt.ts'
import { onFault } from './guarded.ts'
import { Hub } from './hub/hub.ts'
import { EventLog } from './log/event-log.ts'
import { Meters } from './meters.ts'
import { allowedHosts } from './ops/allowed-host.ts'
import { logBadEvents, logUnencodable, reportingFaults } from './ops/fault-log.ts'
import type { Logger } from './ops/logger.ts'
import { mountOps } from './ops/ops-server.ts'
import { makeProcessView, type ProcessState } from './ops/process-view.ts'
import { type ProcessView, type Stats, viewOfOne } from './ops/view.ts'
import { startTimers } from './broker-timers.ts'
import { EmbeddedSource } from './source/embedded/embedded-source.ts'
import { NatsSource } from './source/nats/nats-source.ts'
import { Bans } from './state/bans.ts'
import { Locks } from './state/locks.ts'
import { LoginSessions } from './state/login-sessions.ts'
import { Participants } from './state/participants.ts'
import { Presence } from './state/presence.ts'
import { Recovery } from './state/recovery.ts'
import { setUpCompiler } from './v8.ts'

/** The ports it listens on, by option. */
export type Ports = Readonly<Record<string, number>> & { readonly PORT: number; readonly OPS_PORT: number }

export interface Broker {
  readonly ports: Ports
  readonly view: ProcessView
  /**
   * Reads the certificate again, for new connections.
   * @throws BrokerError CONFIG_INVALID if it cannot be used
   */
  renewTls(): Promise<void>
  /** A fault got past every guard: it is counted, and the broker is not ready from now on. */
  failed(): void
  /** Sends clients away over `DRAIN_MS`, then shuts down. */
  stop(): Promise<void>
}

/** The place of a process that is one of several workers: their supervisor answers on OPS_PORT for all of them. */
export interface WorkerPlace {
  readonly number: number
  /** The folder in which the workers listen for each other. */
  readonly folder: string
  /** The statistics of all workers. */
  readonly stats: () => Promise<Stats>
}

/**
 * Puts a broker together in the order in which events flow (source → log → registry → hub → gateways), and starts it.
 * @param development tokens are signed by a key made for this machine, and the page gets one
 * @param place undefined: the broker stands alone
 * @throws BrokerError saying what is wrong and what to do
 */
export async function startBroker(
  config: Config,
  log: Logger,
  development: { token: () => string } | undefined,
  place?: WorkerPlace,
): Promise<Broker> {
  let state: ProcessState = 'warming up'
  const nodeId = randomBytes(4).toString('hex')
  const meters = new Meters(logUnencodable(log))
  const stopReporting = onFault(reportingFaults(meters, log))
  const served = await servedContracts(config)
  const listClaims = listClaimsOf(served)
  const verifier = await TokenVerifier.open(parts.verifierOptions(config, listClaims), log)
  const verify = (token: string | undefined) => verifier.verify(token)

  // From the stream to topics.
  const registry = new Registry({
    contracts: served,
    builtIn: BUILT_IN_COMMANDS,
    participantsOf: (app, conversation) => participants.usersIn(app, conversation),
    meters,
    onBad: logBadEvents(log),
    bodyBytesMax: config.maxPayloadBytes,
  })
  const source =
    config.natsUrl === ''
      ? new EmbeddedSource(registry.subjects)
      : await NatsSource.open({ ...parts.natsOptions(config, registry.subjects), log })
  const contracts = [...registry.contracts.values()]
  const logQueries = new LogQueries(source, parts.queryLimits(config), registry.read)
  const eventLog = new EventLog({
    source,
    ...parts.logOptions(config),
    route: (message, position) => registry.route(message, position),
    forget: (afterSeq) => {
      registry.forget(afterSeq)
      logQueries.forget()
    },
  })
  const hub = new Hub(eventLog, meters, parts.catchUpLimits(config))

  // What all brokers share.
  const participants = await Participants.open(source, feedParticipants(registry, hub, eventLog))
  const presence = await Presence.open(source, nodeId, tellPresence(registry, hub))
  const locks = await Locks.open(
    source,
    keepLocks(registry, source, (app, reason) =>
      log.warn({ app, reason }, 'a lock ran out, and its event could not be stored'),
    ),
  )
  const loginSessions = await LoginSessions.open(source, verify, parts.claimRules(config, listClaims))
  const recovery = await Recovery.open(source, eventLog)
  const bans = await Bans.open(source)

  // From clients to their commands.
  const connections = new Connections(parts.connectionLimits(config), meters)
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
    ...parts.commandLimits(config),
    connections,
    storedBytes: new ByteBudget(config.storedBytesPerMinutePerUser),
  }
  hearOthers(services, contracts)
  serveClientRequests(services, contracts, nodeId)
  const addresses = new Addresses(config.trustedProxies)
  const failures = new FailedAuthentications(config.maxFailedAuthentications)
  const workerProxy = place && new WorkerProxy(place.folder, place.number)
  const shared = {
    services,
    meters,
    recovery,
    bans,
    loginSessions,
    verify,
    connections,
    addresses,
    failures,
    nodeId,
    workerProxy,
  }
  const clientPorts = parts
    .clientPortOptions(config, new BodyBudget(config.maxBodiesBytes))
    .map((options) => new ClientPort(options, contracts, shared))
  const [mainPort] = clientPorts as [ClientPort, ...ClientPort[]]

  // What the broker says about itself.
  const view = makeProcessView({
    state: () => state,
    source,
    log: eventLog,
    hub,
    meters,
    contracts,
    verify,
    portOf: (contract) => clientPorts.find(({ name }) => name === portOf(contract))?.port,
    tls: config.tlsCertFile !== '',
    developmentToken: development?.token,
  })
  new HttpApi(mainPort.app, {
    registry,
    source,
    log: eventLog,
    meters,
    verify,
    ...parts.httpOptions(config),
    stats: place?.stats ?? (async () => view.stats()),
  })
  const opsApp = place === undefined ? makeApp(undefined) : undefined
  if (opsApp) mountOps(opsApp, viewOfOne(view), allowedHosts(config.opsHost, config.opsAllowedHosts))
  const opsPort = opsApp ? (await listen(opsApp, config.opsHost, config.opsPort, 'OPS_PORT')).port : config.opsPort

  await hub.start()
  setUpCompiler()
  await workerProxy?.open()
  for (const clientPort of clientPorts) await clientPort.open()
  state = 'serving'
  const stopTimers = startTimers({ meters, clientPorts, hub, connections, contracts, presence, participants })

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
      stopTimers()
      locks.close()
      loginSessions.close()
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
