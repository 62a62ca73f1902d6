import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
import type { Addresses } from '../../guard/addresses.ts'
import type { Connections } from '../../guard/connections.ts'
import { addressOf, allowsOrigin } from '../upgrade.ts'
import type { Answer } from './polling.ts'
import type { Query } from './query.ts'
import type { EngineIoSessions } from './sessions.ts'

/** Engine.IO's errors: answers with status 400 (engine.io-protocol, "Handshake"; codes as the reference server's). */
export const FAULTS = {
  transport: '{"code":0,"message":"Transport unknown"}',
  sid: '{"code":1,"message":"Session ID unknown"}',
  method: '{"code":2,"message":"Bad handshake method"}',
  request: '{"code":3,"message":"Bad request"}',
  forbidden: '{"code":4,"message":"Forbidden"}',
  version: '{"code":5,"message":"Unsupported protocol version"}',
} as const

export interface RequestsOptions {
  readonly origins: readonly string[]
  readonly connections: Connections
  readonly addresses: Addresses
}

/** What both transports do with a request: check it, and answer it. */
export class EngineIoRequests {
  private readonly options: RequestsOptions
  private readonly sessions: EngineIoSessions

  constructor(options: RequestsOptions, sessions: EngineIoSessions) {
    this.options = options
    this.sessions = sessions
  }

  /** @returns what is wrong with a request */
  faultIn(req: HttpRequest, { transport, version, sid }: Query, wanted: string): string | undefined {
    if (transport !== 'polling' && transport !== 'websocket') return FAULTS.transport
    if (!allowsOrigin(this.options.origins, req.getHeader('origin'))) return FAULTS.forbidden
    if (transport !== wanted) return FAULTS.request
    if (sid !== null && !this.sessions.knows(sid)) return FAULTS.sid
    return version === '4' ? undefined : FAULTS.version
  }

  /** Where a request comes from, where that counts. */
  addressOf(res: HttpResponse, req: HttpRequest): string | undefined {
    const { connections, addresses } = this.options
    return connections.countsAddresses ? addressOf(addresses, res, req) : undefined
  }

  refuse(res: HttpResponse, req: HttpRequest, fault: string): void {
    this.answerFor(req)(res, '400 Bad Request', 'application/json', fault)
  }

  /** What writes the answer to a request, with the headers that its origin needs. */
  answerFor(req: HttpRequest): Answer {
    const origin = req.getHeader('origin')
    const cors = origin !== '' && allowsOrigin(this.options.origins, origin)
    return (res, status, type, body) => {
      if (res.aborted) return
      res.cork(() => {
        res.writeStatus(status).writeHeader('Content-Type', type).writeHeader('Cache-Control', 'no-store')
        if (cors) {
          res
            .writeHeader('Access-Control-Allow-Origin', origin)
            .writeHeader('Access-Control-Allow-Credentials', 'true')
            .writeHeader('Vary', 'Origin')
          if (status.startsWith('204'))
            res
              .writeHeader('Access-Control-Allow-Methods', 'GET, POST')
              .writeHeader('Access-Control-Allow-Headers', 'Content-Type, Authorization')
              .writeHeader('Access-Control-Max-Age', '600')
        }
        res.end(body, this.sessions.draining)
      })
    }
  }
}
