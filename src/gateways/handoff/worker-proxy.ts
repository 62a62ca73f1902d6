import { request } from 'node:http'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { TemplatedApp } from 'uWebSockets.js'
import { listenPrivately, makeApp } from '../listen.ts'
import { randomId } from '../../random-id.ts'

/** An Engine.IO session's id begins with the number of its worker. */
const SID = /^(\d{1,9})\./

export interface ProxiedAnswer {
  readonly status: string
  readonly type: string
  readonly body: string
}

/** A request that was passed on to another worker. */
export interface ProxiedRequest {
  readonly answer: Promise<ProxiedAnswer>
  /** The client went away. */
  abort(): void
}

/**
 * The kernel hands a client's next request to any worker, but a long-polling session lives in one. The session's id
 * names that worker, and the others pass its requests on, over a Unix socket that each worker listens on.
 */
export class WorkerProxy {
  /** Takes the requests that other workers pass on to this one. */
  readonly app: TemplatedApp = makeApp(undefined)
  private readonly folder: string
  private readonly worker: number
  private stop = () => {}

  constructor(folder: string, worker: number) {
    this.folder = folder
    this.worker = worker
  }

  async open(): Promise<void> {
    this.stop = await listenPrivately(this.app, this.pathOf(this.worker))
  }

  close(): void {
    this.stop()
    this.app.close()
    rmSync(this.pathOf(this.worker), { force: true })
  }

  newSid(): string {
    return `${this.worker}.${randomId()}`
  }

  /** The other worker that has a session. @returns undefined where it is this worker's, or nobody's */
  ownerOf(sid: string): number | undefined {
    const owner = SID.exec(sid)?.[1]
    return owner === undefined || Number(owner) === this.worker ? undefined : Number(owner)
  }

  /** Passes a request on. Its answer fails where there is no such worker (any more). */
  pass(
    owner: number,
    method: 'get' | 'post',
    path: string,
    headers: Readonly<Record<string, string>> = {},
    body: Uint8Array | undefined = undefined,
  ): ProxiedRequest {
    try {
      return this.send(owner, method, path, headers, body)
    } catch (error) {
      // Node refuses characters that uWS let through, of a path or a header.
      return { answer: Promise.reject(error), abort: () => {} }
    }
  }

  private send(
    owner: number,
    method: 'get' | 'post',
    path: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array | undefined,
  ): ProxiedRequest {
    // A connection of its own for each: one that is kept may be closed just when it is used again.
    const passing = request({
      socketPath: this.pathOf(owner),
      agent: false,
      method: method.toUpperCase(),
      path,
      headers: { ...headers, 'content-length': body?.byteLength ?? 0 },
    })
    const answer = new Promise<ProxiedAnswer>((resolve, reject) => {
      passing.once('error', reject)
      passing.once('response', (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.once('error', reject)
        response.once('end', () =>
          resolve({
            status: `${response.statusCode} ${response.statusMessage}`,
            type: response.headers['content-type'] ?? 'text/plain',
            body: Buffer.concat(chunks).toString(),
          }),
        )
      })
    })
    passing.end(body)
    return { answer, abort: () => passing.destroy() }
  }

  private pathOf(worker: number): string {
    return join(this.folder, `${worker}.sock`)
  }
}
