import { createConnection, isIP, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'
import { after, guarded } from '../../guarded.ts'

/** What was found out about a server that the client could not connect to. */
export interface Finding {
  /** How far it went. */
  readonly stage: 'dial' | 'greeting' | 'tls' | 'after tls' | 'talk'
  /** What went wrong there; undefined if nothing did. */
  readonly error?: Error & { readonly code?: string }
  /** What the server said instead: the text of its -ERR, or its first line. */
  readonly said?: string
  readonly late?: true
  /** The server wants a client certificate. */
  readonly wantsCertificate: boolean
  readonly speaksTls: boolean
}

interface Info {
  readonly tls_required?: boolean
  readonly tls_available?: boolean
  readonly tls_verify?: boolean
}

/** More than any greeting of a server. */
const SAID_MAX = 65_536
const TOLD_MAX = 80

/**
 * Goes the client's way to a server once more, up to its first answer, because the client tells most failures as a
 * time-out: a server that speaks TLS 1.3 refuses a certificate only after the handshake.
 * @param tls undefined: only if the server wants it
 */
export function probe(host: string, port: number, tls: TlsOptions | undefined, timeoutMs: number): Promise<Finding> {
  return new Promise((resolve) => {
    let stage: Finding['stage'] = 'dial'
    let said = ''
    let info: Info = {}
    let socket: Socket = createConnection(port, host)
    const end = (found: Partial<Finding>) => {
      clearTimeout(timer)
      socket.destroy()
      resolve({
        stage,
        wantsCertificate: info.tls_verify === true,
        speaksTls: info.tls_required === true || info.tls_available === true,
        ...found,
      })
    }
    const timer = after('nats probe', timeoutMs, () => end({ late: true }))
    const heard = guarded('nats probe', (chunk: Buffer) => {
      said += chunk.toString()
      for (let ends = said.indexOf('\r\n'); ends !== -1; ends = said.indexOf('\r\n')) {
        const line = said.slice(0, ends)
        said = said.slice(ends + 2)
        take(line)
      }
      if (said.length > SAID_MAX) end({ said: said.slice(0, TOLD_MAX) })
    })
    const take = (line: string) => {
      if (stage !== 'greeting' || !line.startsWith('INFO ')) {
        // A server tells news of its cluster at any time.
        if (line.startsWith('INFO ') || line === 'PING') return
        end(line === 'PONG' ? {} : { said: /^-ERR '(.*)'/.exec(line)?.[1] ?? line.slice(0, TOLD_MAX) })
        return
      }
      info = infoIn(line)
      if (info.tls_required === true || info.tls_available === true) encrypt()
      else if (tls === undefined) talk()
      else end({ stage: 'tls' })
    }
    const encrypt = () => {
      stage = 'tls'
      socket.removeAllListeners()
      const secure = connectTls({ ...tls, socket, ...(isIP(host) === 0 ? { servername: host } : { host }) })
      follow(secure)
      secure.once(
        'secureConnect',
        guarded('nats probe', () => {
          stage = 'after tls'
          secure.write('PING\r\n')
        }),
      )
    }
    const talk = () => {
      stage = 'talk'
      socket.write('PING\r\n')
    }
    const follow = (next: Socket) => {
      socket = next
      socket.on('data', heard)
      socket.on(
        'error',
        guarded('nats probe', (error: Error) => end({ error })),
      )
      socket.on(
        'close',
        guarded('nats probe', () => end({ error: new Error('the server closed the connection') })),
      )
    }
    follow(socket)
    socket.once('connect', () => {
      stage = 'greeting'
    })
  })
}

function infoIn(line: string): Info {
  try {
    return JSON.parse(line.slice('INFO '.length)) as Info
  } catch {
    return {}
  }
}
