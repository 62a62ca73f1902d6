import { connect, type Socket } from 'node:net'

/** Between two round trips: so much may be on its way to the server. */
const UNCONFIRMED_MAX = 50
const RECONNECT_MS = 50

/** Speaks the NATS protocol itself: a library would not let odd headers and subjects through. */
export class RawNats {
  private readonly port: number
  private socket: Socket | undefined
  private opening: Promise<void> | undefined
  /** Each PONG answers the PING that has waited longest. */
  private pinged: (() => void)[] = []
  private unconfirmed = 0
  private buffered: Buffer = Buffer.alloc(0)
  private readonly heard: ((subject: string, reply: string, body: Buffer) => void) | undefined
  private readonly subjects: readonly string[]
  private closed = false

  /** @param heard gets what comes on `subjects` */
  static async connect(
    port: number,
    subjects: readonly string[] = [],
    heard?: (subject: string, reply: string, body: Buffer) => void,
  ): Promise<RawNats> {
    const nats = new RawNats(port, subjects, heard)
    await nats.open()
    return nats
  }

  private constructor(
    port: number,
    subjects: readonly string[],
    heard: ((subject: string, reply: string, body: Buffer) => void) | undefined,
  ) {
    this.port = port
    this.subjects = subjects
    this.heard = heard
  }

  /** @param headers a header block, well formed or not, without its length */
  async publish(subject: string, body: Uint8Array, headers?: Uint8Array, reply = ''): Promise<void> {
    if (this.closed) return
    if (!this.socket || this.socket.destroyed)
      await (this.opening ??= this.open().finally(() => (this.opening = undefined)))
    const names = `${subject} ${reply === '' ? '' : `${reply} `}`
    const start =
      headers === undefined
        ? `PUB ${names}${body.length}\r\n`
        : `HPUB ${names}${headers.length} ${headers.length + body.length}\r\n`
    this.socket?.write(Buffer.concat([Buffer.from(start), headers ?? Buffer.alloc(0), body, Buffer.from('\r\n')]))
    if (++this.unconfirmed >= UNCONFIRMED_MAX) await this.confirm()
  }

  close(): void {
    this.closed = true
    this.socket?.destroy()
    this.release()
  }

  /** Resolves once the server has read everything. */
  async confirm(): Promise<void> {
    this.unconfirmed = 0
    if (!this.socket || this.socket.destroyed) return
    await new Promise<void>((resolve) => {
      this.pinged.push(resolve)
      this.socket?.write('PING\r\n')
    })
  }

  private async open(): Promise<void> {
    const socket = connect({ port: this.port, host: '127.0.0.1', noDelay: true })
    this.socket = socket
    this.buffered = Buffer.alloc(0)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => this.read(chunk))
    await new Promise<void>((resolve) => {
      socket.once('connect', resolve)
      // The server ends connections that break its rules; it may be gone as well.
      socket.once('close', () => {
        this.release()
        setTimeout(resolve, RECONNECT_MS)
      })
    })
    if (socket.destroyed) return
    socket.write(
      'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":false,"lang":"fuzz","version":"1"}\r\n',
    )
    for (const [index, subject] of this.subjects.entries()) socket.write(`SUB ${subject} ${index + 1}\r\n`)
    await this.confirm()
  }

  /** The connection is gone: nobody waits for it. */
  private release(): void {
    for (const resolve of this.pinged.splice(0)) resolve()
  }

  private read(chunk: Buffer): void {
    this.buffered = this.buffered.length === 0 ? chunk : Buffer.concat([this.buffered, chunk])
    for (;;) {
      const end = this.buffered.indexOf('\r\n')
      if (end === -1) return
      const line = this.buffered.toString('latin1', 0, end)
      const message = /^H?MSG (\S+) \S+ (?:(\S+) )?(?:(\d+) )?(\d+)$/.exec(line)
      if (message) {
        const [, subject = '', reply = '', headerLength = '0', length] = message
        const bodyEnd = end + 2 + Number(length)
        if (this.buffered.length < bodyEnd + 2) return
        this.heard?.(
          subject,
          reply,
          this.buffered.subarray(end + 2 + (line.startsWith('H') ? Number(headerLength) : 0), bodyEnd),
        )
        this.buffered = this.buffered.subarray(bodyEnd + 2)
        continue
      }
      if (line === 'PING') this.socket?.write('PONG\r\n')
      else if (line === 'PONG') this.pinged.shift()?.()
      this.buffered = this.buffered.subarray(end + 2)
    }
  }
}
