import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
import { guarded } from '../../guarded.ts'
import { allowsOrigin } from '../upgrade.ts'
import type { Answer } from './polling.ts'

/** Engine.IO's errors: answers with status 400 (engine.io-protocol, "Handshake"; codes as the reference server's). */
export const FAULTS = {
  transport: '{"code":0,"message":"Transport unknown"}',
  sid: '{"code":1,"message":"Session ID unknown"}',
  method: '{"code":2,"message":"Bad handshake method"}',
  request: '{"code":3,"message":"Bad request"}',
  forbidden: '{"code":4,"message":"Forbidden"}',
  version: '{"code":5,"message":"Unsupported protocol version"}',
} as const

/**
 * What writes the answer to a request, with the headers that its origin needs.
 * @param closes whether its connection is not to be kept
 */
export function answerFor(req: HttpRequest, origins: readonly string[], closes: () => boolean): Answer {
  const origin = req.getHeader('origin')
  const cors = origin !== '' && allowsOrigin(origins, origin)
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
      res.end(body, closes())
    })
  }
}

/** A body on its way in. */
interface Body {
  /** Its session ends, so that another has room. */
  giveWay(): void
}

/**
 * Bytes of bodies that are on their way in, of all requests together. Past the limit those of sessions that are
 * nobody's give way, the oldest first: what means to be a CONNECT is there in a moment, and whoever sends all but the
 * last byte takes the place of others like it.
 */
export class BodyBudget {
  private readonly bytesMax: number
  private readonly yielding = new Set<Body>()
  private held = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /**
   * @param yields it gives way to others from now on
   * @returns false where there is no room for more of it
   */
  take(body: Body, bytes: number, yields: boolean): boolean {
    for (const oldest of this.yielding) {
      if (this.held + bytes <= this.bytesMax) break
      if (oldest !== body) oldest.giveWay()
    }
    if (this.held + bytes > this.bytesMax) return false
    this.held += bytes
    if (yields) this.yielding.add(body)
    return true
  }

  /** It is all there, or ends. */
  give(body: Body, bytes: number): void {
    this.yielding.delete(body)
    this.held -= bytes
  }
}

/**
 * Collects a body.
 * @param yields it is of nobody, as far as is known
 * @param aborted called where the client went away
 * @param done gets the body, or the status by which it is refused
 */
export function readBody(
  res: HttpResponse,
  bytesMax: number,
  budget: BodyBudget,
  yields: boolean,
  aborted: () => void,
  done: (body: Buffer | string) => void,
): void {
  const chunks: Buffer[] = []
  let bytes = 0
  let over = false
  const body: Body = { giveWay: () => refuse('503 Service Unavailable') }
  const end = () => {
    over = true
    budget.give(body, bytes)
    bytes = chunks.length = 0
  }
  const refuse = (status: string) => {
    end()
    done(status)
  }
  res.onAborted(() => {
    res.aborted = true
    end()
    aborted()
  })
  res.onData(
    guarded('polling body', (chunk: ArrayBuffer, isLast: boolean) => {
      if (over) return
      if (bytes + chunk.byteLength > bytesMax) return refuse('413 Payload Too Large')
      if (!budget.take(body, chunk.byteLength, yields)) return refuse('503 Service Unavailable')
      bytes += chunk.byteLength
      // A copy: the chunk is gone after this call.
      chunks.push(Buffer.from(chunk.slice(0)))
      if (!isLast) return
      const whole = Buffer.concat(chunks)
      end()
      done(whole)
    }),
  )
}
