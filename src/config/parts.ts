import { hostOf } from './load.ts'
import type { Config } from './options.ts'

/** Derives the options of each part of the broker from the configuration. */

export function verifierOptions(config: Config, listClaims: readonly string[]) {
  return {
    ...claimRules(config, listClaims),
    secret: config.jwtSecret,
    publicKey: config.jwtPublicKey,
    jwksUrl: config.jwksUrl,
    issuer: config.jwtIssuer,
    audience: config.jwtAudience,
    tokenBytesMax: config.maxTokenBytes,
    keySetBytesMax: config.maxKeySetBytes,
    keySetKeysMax: config.maxKeySetKeys,
  }
}

export function claimRules(config: Config, listClaims: readonly string[]) {
  return { userIdBytesMax: config.maxUserIdBytes, listClaims }
}

/** @param subjects those that contracts name, besides `events.>` */
export function natsOptions(config: Config, subjects: readonly string[] = []) {
  return {
    url: config.natsUrl,
    context: config.natsContext,
    creds: config.natsCreds,
    nkeySeedFile: config.natsNkeySeedFile,
    token: config.natsToken,
    caFile: config.natsCaFile,
    certFile: config.natsCertFile,
    keyFile: config.natsKeyFile,
    inboxPrefix: config.natsInboxPrefix,
    domain: config.natsJsDomain,
    apiPrefix: config.natsJsApiPrefix,
    stream: {
      name: config.streamName,
      maxAgeS: config.streamMaxAgeS,
      maxBytes: config.streamMaxBytes,
      replicas: config.streamReplicas,
      subjects,
      sources: config.sourceStreams,
    },
    kvReplicas: config.kvReplicas,
  }
}

export function logOptions(config: Config) {
  return { ringEvents: config.logRingEvents, ringBytes: config.logRingBytes, backfillBytes: config.backfillBytes }
}

export function queryLimits(config: Config) {
  return { positionsMax: config.lookBackEvents, bytesMax: config.lookBackBytes }
}

export function catchUpLimits(config: Config) {
  return { bufferBytes: config.maxBackpressureBytes / 4, stallMs: config.slowClientTimeoutMs }
}

export function connectionLimits(config: Config) {
  return {
    connectionsMax: config.maxConnections,
    unauthenticatedMax: config.maxUnauthenticatedConnections || Math.ceil(config.maxConnections / 2),
    unauthenticatedTimeoutMs: config.unauthenticatedTimeoutMs,
    perAddressMax: config.maxConnectionsPerAddress,
    perUserMax: config.maxConnectionsPerUser,
  }
}

export function commandLimits(config: Config) {
  return { commandTimeoutMs: config.commandTimeoutMs, roomsMax: config.maxRooms, locksMax: config.maxLocks }
}

export function httpOptions(config: Config) {
  return { publishKey: config.publishKey, bodyBytesMax: config.maxPayloadBytes, origins: config.corsOrigins }
}

/**
 * The client ports; the first one also has the HTTP API.
 * @param bodies the shared bound on the bodies of long-polling requests of all ports
 */
export function clientPortOptions<B>(config: Config, bodies: B) {
  const tls = config.tlsCertFile === '' ? undefined : { certFile: config.tlsCertFile, keyFile: config.tlsKeyFile }
  const rates = {
    commandsPerMinute: config.commandsPerMinute,
    defaultCommandsPerMinute: config.defaultCommandsPerMinute,
    packetsPerMinute: Math.max(config.maxPacketsPerMinute, 2 * config.commandsPerMinute),
  }
  const common = {
    host: hostOf(config),
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
      bodies,
      payloadBytes: config.maxPayloadBytes,
      backpressureBytes: config.maxBackpressureBytes,
      waitingBytes: config.maxWaitingBytes,
      portConnectionsMax: config.maxConnections,
      namespacesMax: config.maxNamespaces,
      ...rates,
    },
  }
  // The document of the coding assistant names options of its own for its port.
  const codingAssistant = {
    origins: config.socketCorsOrigin.length > 0 ? config.socketCorsOrigin : config.corsOrigins,
    socketIo: {
      ...common.socketIo,
      pingIntervalMs: config.socketPingInterval || config.socketioPingIntervalMs,
      pingTimeoutMs: config.socketPingTimeout || config.socketioPingTimeoutMs,
      upgradeTimeoutMs: config.socketUpgradeTimeout || config.socketioUpgradeTimeoutMs,
      portConnectionsMax: config.socketMaxConnections || config.maxConnections,
    },
  }
  return [
    { ...common, name: 'PORT', wanted: config.port },
    ...Object.entries(config.contractPorts).map(([name, wanted]) => ({
      ...common,
      ...(name === 'CODING_ASSISTANT_PORT' ? codingAssistant : undefined),
      name,
      wanted,
    })),
  ]
}
