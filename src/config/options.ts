/**
 * Every option of the broker, in one table, but for the ports that contracts name (`port-options.ts`). `--help`,
 * `default-config`, `check-config` and the loader read it; `docs/configuration.md` repeats it, and `test/docs.test.ts`
 * compares them.
 */

export interface Option {
  /** Environment variable; the flag is the same in kebab case (`PORT` → `--port`). */
  readonly env: string
  readonly group: string
  readonly type: 'string' | 'integer' | 'list'
  /** The unit of the value, if it has one. */
  readonly unit?: string
  readonly default: string | number
  readonly min?: number
  readonly max?: number
  /** Secret values are never printed. */
  readonly secret?: true
  /** The values are addresses, which may contain a user and a password. */
  readonly address?: true
  readonly about: string
}

const integer = (
  env: string,
  group: string,
  fallback: number,
  min: number,
  max: number,
  unit: string,
  about: string,
): Option & { type: 'integer' } => ({ env, group, type: 'integer', default: fallback, min, max, unit, about })
const text = (env: string, group: string, fallback: string, about: string): Option & { type: 'string' } => ({
  env,
  group,
  type: 'string',
  default: fallback,
  about,
})
const address = (env: string, group: string, about: string): Option & { type: 'string' } => ({
  env,
  group,
  type: 'string',
  default: '',
  address: true,
  about,
})
const secret = (env: string, group: string, about: string): Option & { type: 'string' } => ({
  env,
  group,
  type: 'string',
  default: '',
  secret: true,
  about,
})

const list = (env: string, group: string, about: string): Option & { type: 'list' } => ({
  env,
  group,
  type: 'list',
  default: '',
  about,
})

export const OPTIONS = {
  natsUrl: address(
    'NATS_URL',
    'source',
    'NATS servers, comma separated. Empty: the embedded source (one process, nothing survives a restart).',
  ),
  natsContext: text(
    'NATS_CONTEXT',
    'source',
    '',
    'Name of a context of the `nats` command, whose address, credentials and TLS files are used; what other options say comes first.',
  ),
  natsCreds: text('NATS_CREDS', 'source', '', 'Path of a NATS credentials file.'),
  natsNkeySeedFile: text('NATS_NKEY_SEED_FILE', 'source', '', "Path of a file with a user's NKey seed (`SU…`)."),
  natsToken: secret('NATS_TOKEN', 'source', 'Token of a NATS server that wants one.'),
  natsCaFile: text(
    'NATS_CA_FILE',
    'source',
    '',
    "PEM certificates of the authorities that sign the NATS servers' certificates. With it only TLS is spoken. Empty: those that Node.js knows.",
  ),
  natsCertFile: text(
    'NATS_CERT_FILE',
    'source',
    '',
    'PEM client certificate, for NATS servers that want one. With NATS_KEY_FILE; only TLS is spoken.',
  ),
  natsKeyFile: text('NATS_KEY_FILE', 'source', '', 'PEM private key of NATS_CERT_FILE.'),
  natsInboxPrefix: text(
    'NATS_INBOX_PREFIX',
    'source',
    '',
    'Beginning of the subjects on which the broker gets answers. Empty: `_INBOX.roomcast`.',
  ),
  natsJsDomain: text(
    'NATS_JS_DOMAIN',
    'source',
    '',
    'JetStream domain that holds the stream and the buckets, where the servers have several.',
  ),
  natsJsApiPrefix: text(
    'NATS_JS_API_PREFIX',
    'source',
    '',
    'Prefix of the JetStream API, where an account imports it under another name. Empty: `$JS.API`.',
  ),
  streamName: text(
    'STREAM_NAME',
    'source',
    'ROOMCAST_EVENTS',
    'JetStream stream that holds the events. Created when missing; otherwise left as it is, but for subjects of contracts and SOURCE_STREAMS, which one that holds `events.>` gets.',
  ),
  sourceStreams: list(
    'SOURCE_STREAMS',
    'source',
    'Streams whose events the stream takes in as well, comma separated: those that hold subjects of contracts.',
  ),
  streamMaxAgeS: integer(
    'STREAM_MAX_AGE_S',
    'source',
    86_400,
    1,
    31_536_000,
    's',
    'How long a stream that Roomcast creates keeps events.',
  ),
  streamMaxBytes: integer(
    'STREAM_MAX_BYTES',
    'source',
    1_073_741_824,
    0,
    Number.MAX_SAFE_INTEGER,
    'bytes',
    'How much a stream that Roomcast creates keeps. 0: no limit.',
  ),
  streamReplicas: integer(
    'STREAM_REPLICAS',
    'source',
    1,
    1,
    5,
    'replicas',
    'Nodes of a NATS cluster that keep a stream that Roomcast creates. 3: one may die.',
  ),
  kvReplicas: integer(
    'KV_REPLICAS',
    'source',
    0,
    0,
    5,
    'replicas',
    'Nodes of a NATS cluster that keep each key-value bucket that Roomcast creates. 0: as many as the stream has. An existing bucket is left as it is; a warning says where it has fewer.',
  ),
  commandTimeoutMs: integer(
    'COMMAND_TIMEOUT_MS',
    'source',
    5_000,
    10,
    600_000,
    'ms',
    'How long a service may take to answer a command.',
  ),

  jwtSecret: secret('JWT_SECRET', 'auth', 'Shared secret of HS256 tokens, of 32 bytes or more.'),
  jwtPublicKey: text(
    'JWT_PUBLIC_KEY',
    'auth',
    '',
    'Public key of RS256, ES256 or EdDSA tokens: PEM text, or the path of a PEM file.',
  ),
  jwksUrl: address('JWKS_URL', 'auth', 'Address of a JSON Web Key Set.'),
  jwtIssuer: text('JWT_ISSUER', 'auth', '', 'Required `iss` of tokens. Empty: any.'),
  jwtAudience: text('JWT_AUDIENCE', 'auth', '', 'Required `aud` of tokens. Empty: any.'),
  maxTokenBytes: integer(
    'MAX_TOKEN_BYTES',
    'auth',
    8_192,
    256,
    65_536,
    'bytes',
    'Longest token. In a header or the query it has to fit into the 16 KB that a request may have in all.',
  ),
  maxUserIdBytes: integer(
    'MAX_USER_ID_BYTES',
    'auth',
    256,
    16,
    512,
    'bytes',
    'Longest `sub` of tokens and sessions; it becomes part of NATS subjects.',
  ),
  maxKeySetBytes: integer(
    'MAX_KEY_SET_BYTES',
    'auth',
    262_144,
    1_024,
    16_777_216,
    'bytes',
    'Largest answer of JWKS_URL.',
  ),
  maxKeySetKeys: integer(
    'MAX_KEY_SET_KEYS',
    'auth',
    100,
    1,
    10_000,
    'keys',
    'How many keys of JWKS_URL are used; any further ones are ignored.',
  ),
  publishKey: secret('PUBLISH_KEY', 'auth', 'Bearer key of the HTTP publish API. Empty: that API answers 401.'),

  host: text('HOST', 'listen', '', 'Address to listen on. Empty: 0.0.0.0, or 127.0.0.1 while no key is configured.'),
  port: integer(
    'PORT',
    'listen',
    8000,
    0,
    65_535,
    'port',
    'game-djinn, swe-agent, orchestrator-portal and the HTTP API. 0: a free one.',
  ),
  opsPort: integer(
    'OPS_PORT',
    'listen',
    9464,
    0,
    65_535,
    'port',
    '/healthz, /readyz, /metrics and the page. 0: a free one.',
  ),
  opsHost: text(
    'OPS_HOST',
    'listen',
    '127.0.0.1',
    'Address on which OPS_PORT listens. 0.0.0.0 in a container, for probes and Prometheus.',
  ),
  opsAllowedHosts: {
    env: 'OPS_ALLOWED_HOSTS',
    group: 'listen',
    type: 'list',
    default: '',
    about:
      'Host names that requests to OPS_PORT may carry, comma separated, such as the one Prometheus scrapes by. IP addresses, localhost and OPS_HOST always may. `*`: any.',
  },
  tlsCertFile: text(
    'TLS_CERT_FILE',
    'listen',
    '',
    'PEM certificate chain. With TLS_KEY_FILE: the client ports speak TLS.',
  ),
  tlsKeyFile: text('TLS_KEY_FILE', 'listen', '', 'PEM private key.'),
  corsOrigins: {
    env: 'CORS_ORIGINS',
    group: 'listen',
    type: 'list',
    default: '*',
    about: 'Origins whose pages may call the HTTP API and open connections, comma separated. `*`: any.',
  },

  maxConnections: integer(
    'MAX_CONNECTIONS',
    'limits',
    10_000,
    1,
    1_000_000,
    'connections',
    'Connections that a process accepts. A process that is full closes its oldest connection that has not authenticated; if there is none, it refuses the new one.',
  ),
  maxUnauthenticatedConnections: integer(
    'MAX_UNAUTHENTICATED_CONNECTIONS',
    'limits',
    0,
    0,
    1_000_000,
    'connections',
    'Socket.IO connections of a process that have not authenticated yet; beyond that, the oldest of them is closed. 0: half of MAX_CONNECTIONS.',
  ),
  unauthenticatedTimeoutMs: integer(
    'UNAUTHENTICATED_TIMEOUT_MS',
    'limits',
    60_000,
    1_000,
    3_600_000,
    'ms',
    'A Socket.IO connection that has been unauthenticated for this long is closed.',
  ),
  maxConnectionsPerAddress: integer(
    'MAX_CONNECTIONS_PER_ADDRESS',
    'limits',
    0,
    0,
    1_000_000,
    'connections',
    'Connections of a process from one IPv4 address, or one IPv6 network of 64 bits. 0: no limit. Behind proxies it needs TRUSTED_PROXIES.',
  ),
  trustedProxies: {
    env: 'TRUSTED_PROXIES',
    group: 'limits',
    type: 'list',
    default: '',
    about:
      'Addresses or networks (10.0.0.0/8) of proxies, comma separated. The address of a client is the one that their PROXY protocol gives, or else X-Forwarded-For.',
  },
  maxConnectionsPerUser: integer(
    'MAX_CONNECTIONS_PER_USER',
    'limits',
    0,
    0,
    1_000_000,
    'connections',
    'Connections of a process that one user (`sub`) may have. 0: no limit, since screens and services often share a token.',
  ),
  maxPayloadBytes: integer(
    'MAX_PAYLOAD_BYTES',
    'limits',
    1_048_576,
    1_024,
    67_108_864,
    'bytes',
    'Largest message or HTTP body from a client, and largest event that a zipped body unfolds to.',
  ),
  maxBodiesBytes: integer(
    'MAX_BODIES_BYTES',
    'limits',
    67_108_864,
    65_536,
    Number.MAX_SAFE_INTEGER,
    'bytes',
    'Bodies of long-polling requests that are arriving, all together. Beyond that, the oldest one of an unauthenticated session is answered 503, or else the new one, and its session ends.',
  ),
  maxRooms: integer(
    'MAX_ROOMS_PER_CONNECTION',
    'limits',
    1_000,
    1,
    1_000_000,
    'rooms',
    'Rooms one connection may be in.',
  ),
  maxLocks: integer('MAX_LOCKS_PER_USER', 'limits', 1_000, 1, 1_000_000, 'locks', 'Locks that one user may hold.'),
  commandsPerMinute: integer(
    'COMMANDS_PER_MINUTE',
    'limits',
    0,
    0,
    1_000_000_000,
    'commands',
    'Commands a minute that a connection may send, CONNECTs to further namespaces included. 0: the limit of the contract, or DEFAULT_COMMANDS_PER_MINUTE if it has none.',
  ),
  defaultCommandsPerMinute: integer(
    'DEFAULT_COMMANDS_PER_MINUTE',
    'limits',
    6_000,
    1,
    1_000_000_000,
    'commands',
    'Commands a minute that a connection may send if neither COMMANDS_PER_MINUTE nor the contract sets a limit.',
  ),
  maxPacketsPerMinute: integer(
    'MAX_PACKETS_PER_MINUTE',
    'limits',
    240_000,
    10,
    1_000_000_000,
    'packets',
    'Packets of any kind that a connection may send a minute: commands (refused ones too), acknowledgements, attachments, pongs. Beyond that it is closed. At least twice COMMANDS_PER_MINUTE.',
  ),
  storedBytesPerMinutePerUser: integer(
    'STORED_BYTES_PER_MINUTE_PER_USER',
    'limits',
    8_388_608,
    0,
    Number.MAX_SAFE_INTEGER,
    'bytes',
    'How much the commands of one user (`sub`) may store a minute, through this process. 0: no limit.',
  ),
  maxFailedAuthentications: integer(
    'MAX_FAILED_AUTHENTICATIONS',
    'limits',
    5,
    1,
    1_000_000,
    'attempts',
    'Failed authentications after which a connection is closed.',
  ),
  maxNamespaces: integer(
    'MAX_NAMESPACES_PER_CONNECTION',
    'limits',
    100,
    1,
    1_000_000,
    'namespaces',
    'Socket.IO namespaces that one connection may be in or connecting to.',
  ),
  maxBackpressureBytes: integer(
    'MAX_BACKPRESSURE_BYTES',
    'limits',
    262_144,
    1_024,
    1_073_741_824,
    'bytes',
    'Soft limit: a connection with more unsent data leaves live delivery and is fed from the log at its own pace.',
  ),
  maxWaitingBytes: integer(
    'MAX_WAITING_BYTES',
    'limits',
    8_388_608,
    1_024,
    1_073_741_824,
    'bytes',
    'Answers and commands of one connection that wait for its socket, or for an earlier command. Beyond that it is closed (4008).',
  ),
  slowClientTimeoutMs: integer(
    'SLOW_CLIENT_TIMEOUT_MS',
    'limits',
    120_000,
    1_000,
    86_400_000,
    'ms',
    'Hard limit: a connection that is behind and has taken nothing for this long is closed (4008).',
  ),
  idleTimeoutS: integer(
    'IDLE_TIMEOUT_S',
    'limits',
    120,
    8,
    960,
    's',
    'A raw connection that sends nothing for this long, not even a pong, is closed. Pings are sent automatically.',
  ),

  socketioPingIntervalMs: integer(
    'SOCKETIO_PING_INTERVAL_MS',
    'socket.io',
    25_000,
    100,
    3_600_000,
    'ms',
    'Time between two heartbeats.',
  ),
  socketioPingTimeoutMs: integer(
    'SOCKETIO_PING_TIMEOUT_MS',
    'socket.io',
    60_000,
    100,
    3_600_000,
    'ms',
    'How long a client may take to answer a heartbeat; checked when the next one is due.',
  ),
  socketioUpgradeTimeoutMs: integer(
    'SOCKETIO_UPGRADE_TIMEOUT_MS',
    'socket.io',
    10_000,
    100,
    3_600_000,
    'ms',
    'How long an upgrade from long-polling to WebSocket may take.',
  ),
  socketioConnectTimeoutMs: integer(
    'SOCKETIO_CONNECT_TIMEOUT_MS',
    'socket.io',
    45_000,
    100,
    3_600_000,
    'ms',
    'A client that has not connected to a namespace by then is closed.',
  ),

  socketCorsOrigin: {
    env: 'SOCKET_CORS_ORIGIN',
    group: 'coding-assistant',
    type: 'list',
    default: '',
    about: 'CORS_ORIGINS of this port. Empty: the same.',
  },
  socketMaxConnections: integer(
    'SOCKET_MAX_CONNECTIONS',
    'coding-assistant',
    0,
    0,
    1_000_000,
    'connections',
    'Connections that this port accepts. 0: as many as MAX_CONNECTIONS.',
  ),
  socketPingTimeout: integer(
    'SOCKET_PING_TIMEOUT',
    'coding-assistant',
    0,
    0,
    3_600_000,
    'ms',
    'SOCKETIO_PING_TIMEOUT_MS of this port. 0: the same.',
  ),
  socketPingInterval: integer(
    'SOCKET_PING_INTERVAL',
    'coding-assistant',
    0,
    0,
    3_600_000,
    'ms',
    'SOCKETIO_PING_INTERVAL_MS of this port. 0: the same.',
  ),
  socketUpgradeTimeout: integer(
    'SOCKET_UPGRADE_TIMEOUT',
    'coding-assistant',
    0,
    0,
    3_600_000,
    'ms',
    'SOCKETIO_UPGRADE_TIMEOUT_MS of this port. 0: the same.',
  ),

  logRingBytes: integer(
    'LOG_RING_BYTES',
    'log',
    67_108_864,
    65_536,
    68_719_476_736,
    'bytes',
    'Memory of the ring of newest events, encoded frames included.',
  ),
  logRingEvents: integer('LOG_RING_EVENTS', 'log', 100_000, 16, 100_000_000, 'events', 'Events in the ring.'),
  backfillBytes: integer(
    'BACKFILL_BYTES',
    'log',
    16_777_216,
    65_536,
    68_719_476_736,
    'bytes',
    'Memory for events older than the ring, which are read from JetStream for clients that are far behind.',
  ),
  lookBackEvents: integer(
    'LOOK_BACK_EVENTS',
    'log',
    1_000_000,
    1,
    Number.MAX_SAFE_INTEGER,
    'events',
    'How far back in the stream queries look (history, statistics).',
  ),
  lookBackBytes: integer(
    'LOOK_BACK_BYTES',
    'log',
    16_777_216,
    65_536,
    68_719_476_736,
    'bytes',
    'Memory for the segment summaries of each query.',
  ),

  workers: text(
    'WORKERS',
    'run',
    '1',
    'Processes that share the ports: a number, or `auto` for one per core. More than one needs NATS.',
  ),
  workerTimeoutMs: integer(
    'WORKER_TIMEOUT_MS',
    'run',
    30_000,
    1_000,
    3_600_000,
    'ms',
    'A worker whose event loop is blocked for this long is killed and replaced.',
  ),
  contracts: {
    env: 'CONTRACTS',
    group: 'run',
    type: 'list',
    default: '',
    about: 'Paths of further contracts (.js, .mjs or .ts), comma separated.',
  },
  applications: {
    env: 'APPLICATIONS',
    group: 'run',
    type: 'list',
    default: '',
    about: 'Applications to serve, comma separated: any of the five and of CONTRACTS. Empty: all.',
  },
  drainMs: integer('DRAIN_MS', 'run', 10_000, 0, 600_000, 'ms', 'Time over which clients are sent away after SIGTERM.'),
  logLevel: text(
    'LOG_LEVEL',
    'run',
    'info',
    'fatal, error, warn, info, debug, trace or silent. Logs are JSON lines on stderr.',
  ),
  nodeEnv: text('NODE_ENV', 'run', 'development', '`production` refuses to start without a key.'),
} as const satisfies Record<string, Option>

export type OptionName = keyof typeof OPTIONS
type ValueOf<O extends Option> = O['type'] extends 'integer' ? number : O['type'] extends 'list' ? string[] : string

/** The checked options: each name of the table with its value. */
export type Config = { readonly [N in OptionName]: ValueOf<(typeof OPTIONS)[N]> } & {
  /** The ports that contracts name, by option. */
  readonly contractPorts: Readonly<Record<string, number>>
}

/** `--max-payload-bytes` of `MAX_PAYLOAD_BYTES`. */
export function flagOf(option: Option): string {
  return `--${option.env.toLowerCase().replaceAll('_', '-')}`
}
