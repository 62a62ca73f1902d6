import { connect, type ConnectionOptions, type NatsConnection } from 'nats'
import { addressesOf } from './addresses.ts'
import { authentication } from './authentication.ts'
import { connectFailure } from './connect-failure.ts'
import { CONNECT_TIMEOUT_MS, type ConnectOptions } from './connect-options.ts'
import { checkLoginFiles } from './login-files.ts'
import { tlsOf } from './tls.ts'

/** Begins like the usual prefix but is our own, so that permissions can keep others from listening to it. */
const INBOX_PREFIX = '_INBOX.roomcast'

/**
 * Connects for the first time; later the client reconnects by itself.
 * @throws BrokerError SOURCE_UNREACHABLE, SOURCE_REFUSED, CONFIG_INVALID, saying what to do
 */
export async function connectOnce(connectOptions: ConnectOptions): Promise<NatsConnection> {
  const { inboxPrefix, timeoutMs, log } = connectOptions
  checkLoginFiles(connectOptions)
  const tls = tlsOf(connectOptions)
  const options: ConnectionOptions = {
    servers: addressesOf(connectOptions.url),
    name: 'roomcast',
    inboxPrefix: inboxPrefix || INBOX_PREFIX,
    timeout: timeoutMs ?? CONNECT_TIMEOUT_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 250,
    reconnectJitter: 250,
    ignoreAuthErrorAbort: true,
    pingInterval: 10_000,
    // This broker need not hear what it tells others.
    noEcho: true,
    ...(tls === undefined ? undefined : { tls: tls as NonNullable<ConnectionOptions['tls']> }),
    ...authentication(connectOptions),
  }
  try {
    const nc = await connect(options)
    log.info({ server: nc.getServer(), version: nc.info?.version }, 'connected to NATS')
    return nc
  } catch (error) {
    throw await connectFailure(error, connectOptions)
  }
}
