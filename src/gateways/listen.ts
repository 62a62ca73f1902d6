import { type AddressInfo, createServer, type Server } from 'node:net'
import type { TemplatedApp, us_listen_socket } from 'uWebSockets.js'
import { BrokerError } from '../errors.ts'
import { App, us_listen_socket_close } from '../uws.ts'
import { type Tls, TlsApp } from './tls-app.ts'

/**
 * Listening sockets for one port. uSockets lets 512 connections wait at each, whatever `somaxconn` is; if more arrive
 * at once, Linux drops them and they retry a second later. Linux spreads connections over all sockets that share the
 * port, so with 8 sockets 4,096 may wait.
 */
const QUEUES = process.platform === 'linux' ? 8 : 1

export function makeApp(tls: Tls | undefined): TemplatedApp {
  return tls ? new TlsApp(tls).app : App()
}

export interface Listening {
  readonly port: number
  /** Accepts no more connections; existing ones stay open. */
  stop(): void
  /**
   * Reloads the certificate for new connections; existing ones stay open.
   * @throws BrokerError CONFIG_INVALID if the certificate cannot be used; then nothing changes
   */
  renew(): Promise<void>
}

/**
 * Listens on one port, for this process only.
 *
 * uWS shares ports (SO_REUSEPORT), so a second broker would start silently and take half the clients. Its exclusive
 * mode and its port 0 also omit SO_REUSEADDR, and then a killed broker could not reopen its port while old connections
 * linger. So Node tries the port first: it fails if another process listens there, and finds a free port for 0.
 * @throws BrokerError CONFIG_INVALID if the port is taken or not allowed
 */
export async function listen(app: TemplatedApp, host: string, wanted: number, option: string): Promise<Listening> {
  const { [option]: port } = await findPorts({ [option]: { host, port: wanted } })
  return share(app, host, port as number, option)
}

/**
 * Listens on a port that other processes of this broker also listen on; the kernel spreads the clients over them.
 * @throws BrokerError CONFIG_INVALID if another program uses the port
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
      // Close the old sockets only once the new ones are open, so that no client finds the port closed.
      stop()
      stop = stopNew
      if (stopped) stop()
    },
  }
}

/** @returns a function that closes the sockets */
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
 * Checks that ports are free to listen on, and replaces each 0 by a free port.
 * @throws BrokerError CONFIG_INVALID if one is taken or not allowed
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

/** Makes a function that closes all sockets in the list and empties it, so that later calls do nothing. */
function stopper(sockets: us_listen_socket[]): () => void {
  return () => {
    for (const socket of sockets.splice(0)) us_listen_socket_close(socket)
  }
}

function refused(option: string, host: string, port: number, reason: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `${option}=${port}: cannot listen on ${host}:${port} (${reason})`)
}
