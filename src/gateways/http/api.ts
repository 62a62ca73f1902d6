import { timingSafeEqual, createHash } from 'node:crypto'
import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js'
import type { Registry } from '../../contracts/registry.ts'
import { BrokerError, ERRORS } from '../../errors.ts'
import { guarded, reportFault } from '../../guarded.ts'
import type { EventLog } from '../../log/event-log.ts'
import { isMsgpack } from '../../log/body-headers.ts'
import { decodeEnvelope } from '../../log/event.ts'
import type { Meters } from '../../meters.ts'
import type { Source } from '../../source/source.ts'
import { finishGuarded, guardRequest } from '../handlers.ts'
import { allowsOrigin, bearerOf } from '../upgrade.ts'
import type { Claims } from '../../contracts/claims.ts'

export interface HttpOptions {
  readonly registry: Registry
  readonly source: Source
  readonly log: EventLog
  readonly meters: Meters
  readonly verify: (token: string | undefined) => Claims
  /** Empty: publishing over HTTP is off. */
  readonly publishKey: string
  readonly bodyBytesMax: number
  readonly origins: readonly string[]
  readonly stats: () => Promise<unknown>
}

/** An HTTP answer. It is sent by a single `end()`, because uWS may lose the tail of an answer written in parts. */
interface Answer {
  readonly status: number
  readonly body: unknown
}

/** The HTTP API: publishing events and reading the statistics (docs/backends.md). */
export class HttpApi {
  private readonly options: HttpOptions
  private readonly keyDigest: Buffer | undefined

  constructor(app: TemplatedApp, options: HttpOptions) {
    this.options = options
    this.keyDigest = options.publishKey === '' ? undefined : digest(options.publishKey)
    app.post(
      '/api/v1/events/*',
      guardRequest('http publish', (res, req) => this.publish(res, req)),
    )
    app.get(
      '/api/v1/websocket/stats',
      guardRequest('http stats', (res, req) => this.stats(res, req)),
    )
    app.options(
      '/api/*',
      guardRequest('http', (res, req) => this.preflight(res, req)),
    )
    app.any(
      '/*',
      guardRequest('http', (res) => answer(res, failure(new BrokerError('NOT_FOUND')))),
    )
  }

  private publish(res: HttpResponse, req: HttpRequest): void {
    const { bodyBytesMax } = this.options
    const path = req.getUrl().slice('/api/v1/events/'.length)
    const bearer = bearerOf(req.getHeader('authorization'))
    const msgpack = isMsgpack(req.getHeader('content-type'))
    const messageId = req.getHeader('nats-msg-id')
    const cors = this.corsFor(req)
    if (!this.allowed(bearer)) {
      const hint =
        this.keyDigest === undefined
          ? 'publishing over HTTP is off: set PUBLISH_KEY'
          : 'send Authorization: Bearer <PUBLISH_KEY>'
      answer(res, failure(new BrokerError(bearer === undefined ? 'AUTH_MISSING' : 'AUTH_FAILED', hint)), cors, true)
      return
    }
    if (Number(req.getHeader('content-length')) > bodyBytesMax * REFUSED_BODY_FACTOR) {
      answer(res, failure(new BrokerError('PAYLOAD_TOO_LARGE')), cors, true)
      return
    }
    readBody(res, bodyBytesMax, (body) => {
      if (body === undefined) return answer(res, failure(new BrokerError('PAYLOAD_TOO_LARGE')), cors, true)
      finishGuarded(
        'http publish',
        res,
        this.store(path, body, msgpack, messageId).then((result) => answer(res, result, cors)),
      )
    })
  }

  private async store(path: string, body: Uint8Array, msgpack: boolean, messageId: string): Promise<Answer> {
    try {
      const { subject, contract, type } = this.subjectOf(path)
      const envelope = decodeEnvelope(body, msgpack, type, Date.now())
      const check = contract.eventChecks.get(envelope.type)
      if (!check)
        throw new BrokerError('UNKNOWN_EVENT', `The contract of ${contract.app} has no event "${envelope.type}"`)
      const warnings = check(envelope.data).map((fault) => `data${fault}`)
      const seq = await this.options.source.publish(subject, body, {
        msgpack,
        ...(messageId === '' ? undefined : { messageId }),
      })
      return {
        status: 202,
        body: {
          ...(seq === undefined ? undefined : { id: this.options.log.position(seq) }),
          ...(warnings.length > 0 ? { warnings } : undefined),
        },
      }
    } catch (error) {
      if (!(error instanceof BrokerError)) reportFault('http publish', error)
      return failure(error instanceof BrokerError ? error : new BrokerError('INTERNAL'))
    }
  }

  private subjectOf(path: string) {
    let decoded: string
    try {
      decoded = decodeURIComponent(path)
    } catch {
      throw new BrokerError('INVALID_EVENT', 'The address is not well encoded')
    }
    const slash = decoded.indexOf('/')
    const app = slash === -1 ? decoded : decoded.slice(0, slash)
    const type = slash === -1 ? '' : decoded.slice(slash + 1)
    if (!/^[^\s*>/.][^\s*>/]*(?<!\.)$/.test(type) || type.includes('..')) {
      throw new BrokerError(
        'INVALID_EVENT',
        'The address wants /api/v1/events/<app>/<type>, with a type that fits into a NATS subject',
      )
    }
    const subject = `events.${app}.${type}`
    return { subject, ...this.options.registry.find(subject) }
  }

  private allowed(bearer: string | undefined): boolean {
    return this.keyDigest !== undefined && bearer !== undefined && timingSafeEqual(digest(bearer), this.keyDigest)
  }

  private stats(res: HttpResponse, req: HttpRequest): void {
    const cors = this.corsFor(req)
    const token = bearerOf(req.getHeader('authorization')) ?? req.getQuery('token')
    res.onAborted(() => {
      res.aborted = true
    })
    try {
      if (!this.options.verify(token).roles?.includes('admin'))
        throw new BrokerError('ACCESS_DENIED', 'The statistics are for the role admin')
    } catch (error) {
      answer(res, failure(error as BrokerError), cors)
      return
    }
    // This may fail: the supervisor, which knows all workers, may be shutting down.
    const outcome = this.options.stats().then(
      (body): Answer => ({ status: 200, body }),
      (error: unknown) => failure(error instanceof BrokerError ? error : new BrokerError('INTERNAL')),
    )
    finishGuarded(
      'http stats',
      res,
      outcome.then((result) => answer(res, result, cors)),
    )
  }

  private preflight(res: HttpResponse, req: HttpRequest): void {
    const origin = this.corsFor(req)
    res.cork(() => {
      res.writeStatus('204 No Content')
      if (origin) res.writeHeader('Access-Control-Allow-Origin', origin)
      res
        .writeHeader('Access-Control-Allow-Methods', 'GET, POST')
        .writeHeader('Access-Control-Allow-Headers', 'Authorization, Content-Type, Nats-Msg-Id')
        .writeHeader('Access-Control-Max-Age', '600')
        .endWithoutBody()
    })
  }

  private corsFor(req: HttpRequest): string | undefined {
    const origin = req.getHeader('origin')
    return origin !== '' && allowsOrigin(this.options.origins, origin) ? origin : undefined
  }
}

/** A body larger than this many times the limit is cut off instead of read to its end. */
const REFUSED_BODY_FACTOR = 4

function failure({ code, message, details }: BrokerError): Answer {
  return {
    status: ERRORS[code].http,
    body: { error_code: code, message, ...(details === undefined ? undefined : { details }) },
  }
}

const STATUS_TEXT: Readonly<Record<number, string>> = {
  200: 'OK',
  202: 'Accepted',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  408: 'Request Timeout',
  413: 'Payload Too Large',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
}

function answer(res: HttpResponse, { status, body }: Answer, cors?: string, closeConnection = false): void {
  if (res.aborted) return
  res.cork(() => {
    res.writeStatus(`${status} ${STATUS_TEXT[status] ?? ''}`).writeHeader('Content-Type', 'application/json')
    if (cors) res.writeHeader('Access-Control-Allow-Origin', cors).writeHeader('Vary', 'Origin')
    res.end(JSON.stringify(body), closeConnection)
  })
}

/**
 * Collects a body. `done` gets undefined if the body exceeds the limit, and is not called if the client goes away. A
 * client reads the answer only after it has sent everything, so a body over the limit is read to its end and discarded,
 * up to REFUSED_BODY_FACTOR times the limit.
 */
function readBody(res: HttpResponse, bytesMax: number, done: (body: Uint8Array | undefined) => void): void {
  const chunks: Buffer[] = []
  let bytes = 0
  res.onAborted(() => {
    res.aborted = true
  })
  res.onData(
    guarded('http body', (chunk: ArrayBuffer, isLast: boolean) => {
      if (bytes > bytesMax * REFUSED_BODY_FACTOR) return
      bytes += chunk.byteLength
      if (bytes > bytesMax) {
        chunks.length = 0
        if (isLast || bytes > bytesMax * REFUSED_BODY_FACTOR) done(undefined)
        return
      }
      // Copy it: uWS frees the chunk after this call.
      chunks.push(Buffer.from(chunk.slice(0)))
      if (isLast) done(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks))
    }),
  )
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
