import { Packr } from 'msgpackr'
import { io, type Socket } from 'socket.io-client'
import WebSocket from 'ws'

const packr = new Packr({ useRecords: false, mapsAsObjects: true })

/** What became of a client that behaves well while others do not. */
export interface CanaryReport {
  readonly name: string
  readonly received: number
  readonly lost: number
  readonly disordered: number
  readonly disconnects: readonly string[]
  /** Frames that it could not read. */
  readonly unreadable: number
}

/** A client that behaves well: it wants every canary event, in order, on one connection. */
export class Canary {
  readonly name: string
  last = 0
  private readonly mark: string
  private readonly end: () => void
  private received = 0
  private lost = 0
  private disordered = 0
  private unreadable = 0
  private readonly disconnects: string[] = []
  private closing = false

  /** A raw WebSocket client. */
  static async raw(
    name: string,
    url: string,
    format: 'json' | 'msgpack',
    subscribe: unknown,
    mark: string,
  ): Promise<Canary> {
    const socket = new WebSocket(`${url}&format=${format}`, { perMessageDeflate: false })
    const canary = new Canary(name, mark, () => socket.terminate())
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject)
      socket.on('close', (code, reason) => {
        canary.disconnected(`${code} ${reason}`)
        reject(new Error(`${name}: closed with ${code} ${reason}`))
      })
      socket.on('message', (frame: Buffer, binary) => {
        const read = canary.read(
          () => (binary ? packr.unpack(frame) : JSON.parse(frame.toString())) as { type: string; data: unknown },
        )
        if (read?.type === 'subscribed') resolve()
        else canary.saw(read?.data)
      })
      socket.once('open', () => socket.send(format === 'json' ? JSON.stringify(subscribe) : packr.pack(subscribe)))
    })
    return canary
  }

  /** The real Socket.IO client. @param command what it sends to be in its room */
  static async socketIo(
    name: string,
    url: string,
    token: string,
    command: readonly [string, ...unknown[]] | undefined,
    mark: string,
  ): Promise<Canary> {
    const socket: Socket = io(url, { auth: { token }, transports: ['websocket'], forceNew: true, reconnection: false })
    const canary = new Canary(name, mark, () => socket.disconnect())
    socket.onAny((_event, ...args) => {
      for (const value of args) canary.saw(value) || canary.saw((value as { data?: unknown } | null)?.data)
    })
    socket.on('disconnect', (reason) => canary.disconnected(reason))
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve)
      socket.once('connect_error', (error) => reject(new Error(`${name}: ${error.message}`)))
    })
    if (command) await socket.timeout(20_000).emitWithAck(...command)
    return canary
  }

  private constructor(name: string, mark: string, end: () => void) {
    this.name = name
    this.mark = mark
    this.end = end
  }

  report(): CanaryReport {
    const { name, received, lost, disordered, disconnects, unreadable } = this
    return { name, received, lost, disordered, disconnects: [...disconnects], unreadable }
  }

  close(): void {
    this.closing = true
    this.end()
  }

  private read<T>(read: () => T): T | undefined {
    try {
      return read()
    } catch {
      this.unreadable++
      return undefined
    }
  }

  /** @returns whether it was a canary event */
  private saw(data: unknown): boolean {
    const { canary, n } = (data ?? {}) as { canary?: string; n?: number }
    if (canary !== this.mark || typeof n !== 'number') return false
    this.received++
    if (n <= this.last) this.disordered++
    else {
      this.lost += n - this.last - 1
      this.last = n
    }
    return true
  }

  private disconnected(reason: string): void {
    if (!this.closing) this.disconnects.push(reason)
  }
}
