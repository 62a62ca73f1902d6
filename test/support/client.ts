import { Packr } from 'msgpackr'
import WebSocket from 'ws'
import { token as mint } from './broker.ts'

const packr = new Packr({ useRecords: false })

export interface Frame {
  readonly type: string
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they please.
  readonly data: any
  readonly timestamp: string
  readonly id?: string
  readonly source_id?: string
}

/** Answers that carry their command's `id`. */
const ANSWERS: ReadonlySet<string> = new Set(['subscribed', 'unsubscribed', 'authenticated', 'error'])

interface Options {
  readonly token?: string | null
  readonly format?: 'json' | 'msgpack'
  readonly protocols?: string[]
  readonly headers?: Record<string, string>
}

/** A raw client: keeps all frames it got, and waits for those to come. */
export class TestClient {
  readonly frames: Frame[] = []
  readonly socket: WebSocket
  closeCode: number | undefined
  closeReason = ''
  private readonly binary: boolean
  private readonly waiting = new Set<() => void>()

  /** Resolves once connected. */
  static async connect(url: string, options: Options = {}): Promise<TestClient> {
    const client = new TestClient(url, options)
    await new Promise<void>((resolve, reject) => {
      client.socket.once('open', resolve)
      client.socket.once('error', reject)
    })
    client.socket.on('error', () => {})
    return client
  }

  constructor(url: string, { token = mint(), format, protocols, headers = {} }: Options) {
    const address = new URL(url)
    if (token !== null) address.searchParams.set('token', token)
    if (format !== undefined) address.searchParams.set('format', format)
    this.binary = format === 'msgpack' || protocols?.includes('roomcast.msgpack') === true
    this.socket = new WebSocket(address, protocols ?? [], { headers, perMessageDeflate: false })
    this.socket.on('message', (frame: Buffer, isBinary: boolean) => {
      if (isBinary !== this.binary)
        throw new Error(`a ${isBinary ? 'binary' : 'text'} frame on a connection of the other kind`)
      this.frames.push(isBinary ? packr.unpack(frame) : JSON.parse(frame.toString()))
      this.wake()
    })
    this.socket.on('close', (code, reason) => {
      this.closeCode = code
      this.closeReason = reason.toString()
      this.wake()
    })
  }

  send(message: unknown): void {
    this.socket.send(
      this.binary ? packr.pack(message) : typeof message === 'string' ? message : JSON.stringify(message),
    )
  }

  /** Subscribes and waits for the answer. */
  async subscribe(events: string[], filters: object = {}, since?: string): Promise<Frame> {
    const from = this.frames.length
    this.send({ type: 'subscribe', data: { events, filters, ...(since === undefined ? undefined : { since }) } })
    return this.next(({ type }) => type === 'subscribed' || type === 'error', from)
  }

  /** The first frame that fits, of those from index `from` on; waits for it. */
  async next(fits: (frame: Frame) => boolean, from = 0): Promise<Frame> {
    await this.until(() => this.frames.slice(from).some(fits))
    return this.frames.slice(from).find(fits) as Frame
  }

  async type(type: string, from = 0): Promise<Frame> {
    return this.next((frame) => frame.type === type, from)
  }

  /** Frames that are events, in order of arrival. */
  get events(): Frame[] {
    return this.frames.filter(({ type, id }) => id !== undefined && !ANSWERS.has(type))
  }

  async closed(): Promise<number> {
    await this.until(() => this.closeCode !== undefined)
    return this.closeCode as number
  }

  /** A round trip: what the broker sent before has arrived. */
  async settle(): Promise<void> {
    const id = `settle-${Math.random()}`
    this.send({ type: 'ping', data: {}, id })
    await this.next(({ type, data }) => type === 'pong' && data.client_id === id)
  }

  async until(fits: () => boolean, timeoutMs = 30_000): Promise<void> {
    if (fits()) return
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => {
        this.waiting.delete(check)
        reject(
          new Error(
            `waited ${timeoutMs} ms in vain; the last frames were ${JSON.stringify(this.frames.slice(-3))}, close code ${this.closeCode}`,
          ),
        )
      }, timeoutMs)
      const check = () => {
        if (!fits()) return
        clearTimeout(late)
        this.waiting.delete(check)
        resolve()
      }
      this.waiting.add(check)
    })
  }

  /** Reads no more from the network, as a stalled program would. */
  pause(): void {
    ;(this.socket as unknown as { _socket: { pause(): void } })._socket.pause()
  }

  resume(): void {
    ;(this.socket as unknown as { _socket: { resume(): void } })._socket.resume()
  }

  async close(): Promise<void> {
    if (this.socket.readyState === WebSocket.CLOSED) return
    this.socket.terminate()
    await this.closed()
  }

  private wake(): void {
    for (const check of this.waiting) check()
  }
}

/** Sequence number of a position. */
export function seqOf(position: string | undefined): number {
  return Number(position?.split('-').pop())
}

/** Waits until something is true, asking again and again. */
export async function eventually(fits: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const end = Date.now() + timeoutMs
  while (!(await fits())) {
    if (Date.now() > end) throw new Error(`waited ${timeoutMs} ms in vain for ${fits}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
