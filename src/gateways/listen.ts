import './header-limit.ts'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { App, type TemplatedApp, type us_listen_socket, us_listen_socket_close } from 'uWebSockets.js'
import { BrokerError } from '../errors.ts'
import { type Tls, TlsApp } from './tls-app.ts'

/**
 * Sockets that listen on one port. uSockets lets 512 connections wait at each, whatever `somaxconn` is; where more come
 * at once, Linux drops them, and they try again a second later. It spreads them over all sockets that share the port:
 * 4,096 may wait.
 */
const QUEUES = process.platform === 'linux' ? 8 : 1

export function makeApp(tls: Tls | undefined): TemplatedApp {
  return tls ? new TlsApp(tls).app : App()
}

export interface Listening {
  readonly port: number
  /** Accepts no more; connections stay. */
  stop(): void
  /**
   * Reads the certificate again, for connections from now on; those that there are stay.
   * @throws BrokerError CONFIG_INVALID where it cannot be used: then all stays as it is
   */
  renew(): Promise<void>
}

/**
 * Listens on one port, for this process alone.
 *
 * uWS shares ports (SO_REUSEPORT), so a second broker would start without a word and take half the clients. Its
 * exclusive mode, and its port 0, leave SO_REUSEADDR out as well, and then a killed broker cannot come back to its port
 * while connections of before linger. So Node tries the port first: it fails where another process listens, and finds a
 * free one for 0.
 * @throws BrokerError CONFIG_INVALID where the port is taken or not allowed
 */
export async function listen(app: TemplatedApp, host: string, wanted: number, option: string): Promise<Listening> {
  const { [option]: port } = await findPorts({ [option]: { host, port: wanted } })
  return share(app, host, port as number, option)
}

/**
 * Listens on a port that other processes of this broker listen on as well: the kernel spreads the clients over them.
 * @throws BrokerError CONFIG_INVALID where the port is another program's
 */
export async function share(app: TemplatedApp, host: string, port: number, option: string): Promise<Listening> {
  let stop = await openDoors(app, host, port, option)
  let stopped = false
  return {
    port,
    stop: () => {
      stopped = true
      stop()
    },
    renew: async () => {
      const tlsApp = TlsApp.of(app)
      if (!tlsApp || stopped) return
      tlsApp.renew()
      const stopNew = await openDoors(app, host, port, option)
      // The old ones close once the new ones are open, so that nobody finds the port closed.
      stop()
      stop = stopNew
      if (stopped) stop()
    },
  }
}

/** @returns what closes them */
async function openDoors(app: TemplatedApp, host: string, port: number, option: string): Promise<() => void> {
  const sockets: us_listen_socket[] = []
  const stop = stopper(sockets)
  while (sockets.length < QUEUES) {
    const socket = await new Promise<us_listen_socket | false>((resolve) => app.listen(host, port, resolve))
    if (!socket) {
      stop()
      throw refused(option, host, port, 'it was refused')
    }
    sockets.push(socket)
  }
  return stop
}

/** Listens on a Unix socket. */
export async function listenPrivately(app: TemplatedApp, path: string): Promise<() => void> {
  const socket = await new Promise<us_listen_socket | false>((resolve) => app.listen_unix(resolve, path))
  if (!socket) throw new BrokerError('INTERNAL', `cannot listen on ${path}`)
  return stopper([socket])
}

/**
 * Finds out whether ports can be listened on, and puts a free one in the place of each 0.
 * @throws BrokerError CONFIG_INVALID where one is taken or not allowed
 */
export async function findPorts<Name extends string>(
  wanted: Readonly<Record<Name, { readonly host: string; readonly port: number }>>,
): Promise<Record<Name, number>> {
  const held: Server[] = []
  try {
    const found: [string, number][] = []
    for (const [option, { host, port }] of Object.entries<{ readonly host: string; readonly port: number }>(wanted)) {
      const server = await hold(host, port).catch((error: NodeJS.ErrnoException) => {
        throw refused(
          option,
          host,
          port,
          error.code === 'EADDRINUSE' ? 'another program uses it' : (error.code ?? error.message),
        )
      })
      held.push(server)
      found.push([option, (server.address() as AddressInfo).port])
    }
    return Object.fromEntries(found) as Record<Name, number>
  } finally {
    await Promise.all(held.map((server) => new Promise((resolve) => server.close(resolve))))
  }
}

function hold(host: string, port: number): Promise<Server> {
  const server = createServer()
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => resolve(server))
  })
}

/** @param sockets those that are open when it is called; the first call closes them */
function stopper(sockets: us_listen_socket[]): () => void {
  return () => {
    for (const socket of sockets.splice(0)) us_listen_socket_close(socket)
  }
}

function refused(option: string, host: string, port: number, reason: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `${option}=${port}: cannot listen on ${host}:${port} (${reason})`)
}
