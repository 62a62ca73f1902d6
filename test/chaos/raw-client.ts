import { Packr } from 'msgpackr'
import WebSocket from 'ws'
import { token } from '../support/broker.ts'
import { type History, Recorder } from './history.ts'

const packr = new Packr({ useRecords: false })
const CONNECT_MS = 3_000
const PING_MS = 500
/** A connection that says nothing for so long is given up. */
const SILENCE_MS = 3_000
const BACK_MIN_MS = 50
const BACK_SPREAD_MS = 200

interface Frame {
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
  readonly id?: string
}

/** A raw WebSocket client that comes back with `since`, whatever happens, and records what it gets. */
export class RawChaosClient implements History {
  readonly client: string
  readonly kind = 'raw'
  readonly rooms: readonly string[]
  readonly recorder = new Recorder()
  private readonly url: string
  private readonly binary: boolean
  private readonly pinging: NodeJS.Timeout
  private socket: WebSocket | undefined
  private since: string | undefined
  private heardMs = 0
  private ended = false

  constructor(name: string, format: 'json' | 'msgpack', port: number, rooms: readonly string[]) {
    this.client = `${name} raw ${format}`
    this.rooms = rooms
    this.binary = format === 'msgpack'
    this.url = `ws://127.0.0.1:${port}/chaos?token=${token(name)}&format=${format}`
    this.pinging = setInterval(() => this.ping(), PING_MS)
    this.connect()
  }

  get marks(): History['marks'] {
    return this.recorder.marks
  }

  end(): void {
    this.ended = true
    clearInterval(this.pinging)
    this.socket?.terminate()
  }

  private connect(): void {
    const socket = new WebSocket(this.url, { handshakeTimeout: CONNECT_MS, perMessageDeflate: false })
    let subscribed = false
    this.socket = socket
    this.heardMs = Date.now()
    socket.on('error', () => {})
    socket.on('open', () =>
      this.send({
        type: 'subscribe',
        data: { rooms: this.rooms, events: [], ...(this.since === undefined ? undefined : { since: this.since }) },
      }),
    )
    socket.on('message', (bytes: Buffer) => {
      this.heardMs = Date.now()
      const frame: Frame = this.binary ? packr.unpack(bytes) : JSON.parse(bytes.toString())
      if (frame.type === 'subscribed') {
        subscribed = true
        this.recorder.connected()
      } else this.take(frame)
    })
    socket.on('close', (code) => {
      if (subscribed) this.recorder.disconnected(`closed with ${code}`)
      if (!this.ended) setTimeout(() => this.ended || this.connect(), BACK_MIN_MS + Math.random() * BACK_SPREAD_MS)
    })
  }

  private take({ type, data, id }: Frame): void {
    if (type === 'numbered') {
      this.recorder.event(data.room as string, data.n as number, id as string)
      this.since = id
    } else if (type === 'events_missed') this.recorder.told(`events_missed ${JSON.stringify(data)}`)
    else if (type !== 'pong' && type !== 'connection_established') this.recorder.note(`${type} ${JSON.stringify(data)}`)
    if (type === 'error') this.socket?.terminate()
  }

  private send(message: object): void {
    this.socket?.send(this.binary ? packr.pack(message) : JSON.stringify(message))
  }

  private ping(): void {
    if (this.socket?.readyState !== WebSocket.OPEN) return
    if (Date.now() - this.heardMs < SILENCE_MS) return this.send({ type: 'ping', data: {} })
    this.recorder.note('heard nothing, gives the connection up')
    this.socket.terminate()
  }
}
