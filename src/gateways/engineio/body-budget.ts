import type { HttpResponse } from 'uWebSockets.js'
import { guarded } from '../../guarded.ts'

/** A body on its way in. */
interface Body {
  /** It is refused, so that another has room. */
  giveWay(): void
}

/**
 * Bytes of bodies that are on their way in, of all requests together. Past the limit, bodies of sessions that have not
 * authenticated give way, the oldest first: an honest CONNECT arrives within a moment, so a client that holds back the
 * last byte takes room only from others like it.
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
   * @returns false where there is no room for these bytes
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

  /** The body is complete, or is given up. */
  give(body: Body, bytes: number): void {
    this.yielding.delete(body)
    this.held -= bytes
  }
}

export interface BodyLimits {
  readonly bytesMax: number
  readonly budget: BodyBudget
  /** Its client has not authenticated, as far as is known here. */
  readonly yields: boolean
}

/**
 * Collects a body.
 * @param aborted called where the client went away
 * @param done gets the body, or the status with which it is refused
 */
export function readBody(
  res: HttpResponse,
  { bytesMax, budget, yields }: BodyLimits,
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
