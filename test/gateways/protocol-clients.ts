import { type IncomingHttpHeaders, request } from 'node:http'
import WebSocket from 'ws'
import { eventually } from '../support/client.ts'

/** Raw clients: they know how packets travel, and leave what they say to the tests. */

const PATIENCE_MS = 10_000
/** A pending GET may wait long: until the next ping. */
const POLL_PATIENCE_MS = 60_000
const SEPARATOR = '\x1e'

export const TRANSPORTS = ['websocket', 'polling'] as const
export type Transport = (typeof TRANSPORTS)[number]

/** As it stands on the wire: a text packet with its Engine.IO type, or the bytes of a binary one. */
export type Packet = string | Buffer

export interface Handshake {
  readonly sid: string
  readonly upgrades: readonly string[]
  readonly pingInterval: number
  readonly pingTimeout: number
  readonly maxPayload: number
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

interface Call {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string | number>>
  /** Whole, or in the parts in which it is to be written. */
  readonly body?: string | AsyncIterable<Buffer>
  readonly signal?: AbortSignal
  readonly patienceMs?: number
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Address of a request; what is `undefined` is left out. */
export function address(url: string, query: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined)
  return `${url}/socket.io/?${new URLSearchParams(given)}`
}

/** An HTTP request on a connection of its own. Rejects if the server closes it without an answer. */
export function call(
  url: string,
  { method = 'GET', headers = {}, body, signal, patienceMs = PATIENCE_MS }: Call = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(url, { method, headers, agent: false, ...(signal ? { signal } : undefined) })
    req.once('error', reject)
    req.setTimeout(patienceMs, () => req.destroy(new Error(`no answer to ${method} ${url}`)))
    req.once('response', (res) => {
      const parts: Buffer[] = []
      res.on('data', (part: Buffer) => parts.push(part))
      res.once('error', reject)
      res.once('end', () =>
        resolve({ status: res.statusCode as number, headers: res.headers, body: Buffer.concat(parts).toString() }),
      )
    })
    if (typeof body === 'string' || body === undefined) {
      req.end(body)
      return
    }
    const write = async () => {
      for await (const part of body) req.write(part)
      req.end()
    }
    write().catch(reject)
  })
}

/** `code` of an error's body. */
export function code(answer: Answer): unknown {
  return JSON.parse(answer.body).code
}

/**
 * Whether the server knows a session over websocket: asked by the transport that it does not have, which does nothing
 * to it.
 */
export async function alive(url: string, sid: string): Promise<boolean> {
  return code(await call(address(url, { EIO: '4', transport: 'polling', sid }))) !== 1
}

/** Resolves once the server knows the session no more. For one over polling, no other GET may be pending. */
export async function gone(url: string, sid: string, transport: Transport): Promise<void> {
  if (transport === 'websocket') return eventually(async () => !(await alive(url, sid)), PATIENCE_MS)
  return eventually(async () => {
    const answer = await call(address(url, { EIO: '4', transport: 'polling', sid }))
    if (answer.status === 200) return false
    if (answer.status !== 400 || code(answer) !== 1)
      throw new Error(`neither gone nor well: ${answer.status} ${answer.body}`)
    return true
  }, PATIENCE_MS)
}

/** Packets in order of arrival, until the end. */
class Inbox {
  private readonly packets: Packet[] = []
  private wake: () => void = () => {}
  private ended = false

  push(packet: Packet): void {
    this.packets.push(packet)
    this.wake()
  }

  end(): void {
    this.ended = true
    this.wake()
  }

  async next(): Promise<Packet> {
    await this.until(() => this.packets.length > 0 || this.ended, 'a packet')
    const packet = this.packets.shift()
    if (packet === undefined) throw new Error('closed instead of a packet')
    return packet
  }

  async take(count: number): Promise<Packet[]> {
    const packets: Packet[] = []
    while (packets.length < count) packets.push(await this.next())
    return packets
  }

  async over(): Promise<void> {
    await this.until(() => this.ended, 'the end')
  }

  private async until(fits: () => boolean, what: string): Promise<void> {
    const end = Date.now() + PATIENCE_MS
    while (!fits()) {
      const left = end - Date.now()
      if (left <= 0) throw new Error(`waited in vain for ${what}; there is ${JSON.stringify(this.packets.map(String))}`)
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.wake = resolve
        timer = setTimeout(resolve, left)
      })
      clearTimeout(timer)
    }
  }
}

/** A WebSocket connection, frame by frame. */
export class Frames {
  /** Whether it answers pings by itself, and keeps them to itself. */
  answersPings = false
  private readonly socket: WebSocket
  private readonly inbox = new Inbox()

  constructor(url: string) {
    this.socket = new WebSocket(url.replace('http', 'ws'), { perMessageDeflate: false })
    this.socket.on('message', (data: Buffer, isBinary: boolean) => {
      const packet = isBinary ? data : data.toString()
      if (this.answersPings && packet === '2') this.send('3')
      else this.inbox.push(packet)
    })
    this.socket.on('error', () => {})
    this.socket.on('close', () => this.inbox.end())
  }

  /** A session of its own. */
  static async open(url: string): Promise<{ frames: Frames; opened: Handshake }> {
    const frames = new Frames(address(url, { EIO: '4', transport: 'websocket' }))
    return { frames, opened: JSON.parse(String(await frames.next()).slice(1)) }
  }

  /** A connection for a session that there is, once it is open. */
  static async join(url: string, sid: string): Promise<Frames> {
    const frames = new Frames(address(url, { EIO: '4', transport: 'websocket', sid }))
    await new Promise<void>((resolve, reject) => {
      frames.socket.once('open', resolve)
      frames.socket.once('error', reject)
    })
    return frames
  }

  send(...packets: readonly Packet[]): void {
    for (const packet of packets) this.socket.send(packet)
  }

  /** The next frame. */
  next(): Promise<Packet> {
    return this.inbox.next()
  }

  take(count: number): Promise<Packet[]> {
    return this.inbox.take(count)
  }

  /** Resolves once the server has closed it. */
  closed(): Promise<void> {
    return this.inbox.over()
  }

  end(): void {
    this.socket.terminate()
  }
}

/** The packets of a payload. */
export function split(payload: string): Packet[] {
  return payload
    .split(SEPARATOR)
    .map((packet) => (packet.startsWith('b') ? Buffer.from(packet.slice(1), 'base64') : packet))
}

export function payload(packets: readonly Packet[]): string {
  return packets
    .map((packet) => (typeof packet === 'string' ? packet : `b${packet.toString('base64')}`))
    .join(SEPARATOR)
}

/** A session over HTTP, request by request. */
export class Polling {
  readonly url: string
  readonly opened: Handshake

  static async open(url: string): Promise<Polling> {
    const answer = await call(address(url, { EIO: '4', transport: 'polling' }))
    if (answer.status !== 200) throw new Error(`${answer.status}: ${answer.body}`)
    return new Polling(url, JSON.parse(answer.body.slice(1)))
  }

  constructor(url: string, opened: Handshake) {
    this.url = url
    this.opened = opened
  }

  get sid(): string {
    return this.opened.sid
  }

  get address(): string {
    return address(this.url, { EIO: '4', transport: 'polling', sid: this.sid })
  }

  poll(signal?: AbortSignal): Promise<Answer> {
    return call(this.address, { patienceMs: POLL_PATIENCE_MS, ...(signal ? { signal } : undefined) })
  }

  post(body: string): Promise<Answer> {
    return call(this.address, { method: 'POST', headers: { 'Content-Type': 'text/plain;charset=UTF-8' }, body })
  }

  /** Polls until it has got that many packets; noops do not count. */
  async take(count: number): Promise<Packet[]> {
    const packets: Packet[] = []
    while (packets.length < count) {
      const answer = await this.poll()
      if (answer.status !== 200) throw new Error(`${answer.status}: ${answer.body}`)
      packets.push(...split(answer.body).filter((packet) => packet !== '6'))
    }
    return packets
  }
}

/** A session over either transport, which answers pings by itself. */
export interface Session {
  readonly transport: Transport
  readonly sid: string
  send(...packets: readonly Packet[]): Promise<void>
  next(): Promise<Packet>
  take(count: number): Promise<Packet[]>
  /** Resolves once the server has closed it, and knows it no more. */
  closed(): Promise<void>
  end(): void
}

export async function openSession(transport: Transport, url: string): Promise<Session> {
  if (transport === 'polling') return new PollingSession(await Polling.open(url))
  const { frames, opened } = await Frames.open(url)
  return new FramesSession(url, opened.sid, frames)
}

class FramesSession implements Session {
  readonly transport = 'websocket'
  readonly sid: string
  private readonly url: string
  private readonly frames: Frames

  constructor(url: string, sid: string, frames: Frames) {
    this.url = url
    this.sid = sid
    this.frames = frames
    frames.answersPings = true
  }

  async send(...packets: readonly Packet[]): Promise<void> {
    this.frames.send(...packets)
  }

  next(): Promise<Packet> {
    return this.frames.next()
  }

  take(count: number): Promise<Packet[]> {
    return this.frames.take(count)
  }

  async closed(): Promise<void> {
    await this.frames.closed()
    await gone(this.url, this.sid, 'websocket')
  }

  end(): void {
    this.frames.end()
  }
}

class PollingSession implements Session {
  readonly transport = 'polling'
  readonly sid: string
  private readonly polling: Polling
  private readonly inbox = new Inbox()
  private readonly stop = new AbortController()
  private posted: Promise<unknown> = Promise.resolve()

  constructor(polling: Polling) {
    this.sid = polling.sid
    this.polling = polling
    void this.poll()
  }

  /** All in one request, after those before it. Whether the server took it shows in what it does next. */
  async send(...packets: readonly Packet[]): Promise<void> {
    const body = payload(packets)
    await (this.posted = this.posted.then(() => this.polling.post(body)).catch(() => {}))
  }

  next(): Promise<Packet> {
    return this.inbox.next()
  }

  take(count: number): Promise<Packet[]> {
    return this.inbox.take(count)
  }

  async closed(): Promise<void> {
    await this.inbox.over()
    await gone(this.polling.url, this.sid, 'polling')
  }

  end(): void {
    this.stop.abort()
  }

  private async poll(): Promise<void> {
    for (;;) {
      const answer = await this.polling.poll(this.stop.signal).catch(() => undefined)
      if (answer?.status !== 200) return this.inbox.end()
      for (const packet of split(answer.body)) {
        if (packet === '1') return this.inbox.end()
        if (packet === '2') void this.send('3')
        else if (packet !== '6') this.inbox.push(packet)
      }
    }
  }
}
