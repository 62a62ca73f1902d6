import { createServer } from 'node:net'
import { App, SSLApp, type TemplatedApp, us_listen_socket_close, us_socket_local_port } from 'uWebSockets.js'
import { BrokerError } from '../errors.ts'

export interface Tls {
  readonly certFile: string
  readonly keyFile: string
}

/** uWS' LIBUS_LISTEN_EXCLUSIVE_PORT, which its types leave out: without it a second start would share the port. */
const EXCLUSIVE_PORT = 1
/** uWS refuses larger request headers; long tokens in the query want more than its 4 KB. Read when an app is made. */
const HEADERS_BYTES_MAX = '16384'

export function makeApp(tls: Tls | undefined): TemplatedApp {
  process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= HEADERS_BYTES_MAX
  return tls ? SSLApp({ cert_file_name: tls.certFile, key_file_name: tls.keyFile }) : App()
}

export interface Listening {
  readonly port: number
  /** Accepts no more; connections stay. */
  stop(): void
}

type ListenExclusive = (host: string, port: number, options: number, callback: (socket: unknown) => void) => void

/**
 * Listens on one port, for this process alone.
 * @throws BrokerError CONFIG_INVALID where the port is taken or not allowed
 */
export async function listen(app: TemplatedApp, host: string, port: number, option: string): Promise<Listening> {
  const socket = await new Promise<unknown>((resolve) => {
    ;(app.listen as unknown as ListenExclusive).call(app, host, port, EXCLUSIVE_PORT, resolve)
  })
  if (!socket) throw new BrokerError('CONFIG_INVALID', `${option}=${port}: cannot listen on ${host}:${port} (${await whyNot(host, port)})`)
  let open = true
  return {
    port: us_socket_local_port(socket as never),
    stop: () => {
      if (open) us_listen_socket_close(socket as never)
      open = false
    },
  }
}

/** uWS says only that it failed; Node says why. */
async function whyNot(host: string, port: number): Promise<string> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EADDRINUSE' ? 'another program uses it' : (error.code ?? error.message)))
    server.listen(port, host, () => server.close(() => resolve('it was refused')))
  })
}
