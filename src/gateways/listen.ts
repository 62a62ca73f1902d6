import { type AddressInfo, createServer } from 'node:net'
import { App, SSLApp, type TemplatedApp, type us_listen_socket, us_listen_socket_close } from 'uWebSockets.js'
import { BrokerError } from '../errors.ts'

export interface Tls {
  readonly certFile: string
  readonly keyFile: string
}

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
  const refused = (reason: string) => new BrokerError('CONFIG_INVALID', `${option}=${wanted}: cannot listen on ${host}:${wanted} (${reason})`)
  const port = await tryPort(host, wanted).catch((error: NodeJS.ErrnoException) => {
    throw refused(error.code === 'EADDRINUSE' ? 'another program uses it' : (error.code ?? error.message))
  })
  const socket = await new Promise<us_listen_socket | false>((resolve) => app.listen(host, port, resolve))
  if (!socket) throw refused('it was refused')
  let open = true
  return {
    port,
    stop: () => {
      if (open) us_listen_socket_close(socket)
      open = false
    },
  }
}

async function tryPort(host: string, wanted: number): Promise<number> {
  const server = createServer()
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(wanted, host, () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
