import { createHash, randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import type { Random } from './random.ts'

export type PortName = 'PORT' | 'CODING_ASSISTANT_PORT' | 'GEMINI_SESSIONS_PORT' | 'OPS_PORT'

/** What one client does on one of its TCP connections, below any library: plain data, so that a file can hold it. */
export type Step = { readonly on?: number } & (
  | { readonly open: PortName }
  /** `{sid}`, `{pid}` and `{offset}` in it stand for what the broker said last. */
  | { readonly text: string }
  | { readonly bytes: Uint8Array }
  /** A WebSocket frame; `first` is its first byte (FIN, reserved bits, opcode). */
  | { readonly frame: string | Uint8Array; readonly first?: number; readonly unmasked?: boolean }
  /** Until something comes, at most so long. */
  | { readonly waitMs: number }
  | { readonly end: 'fin' | 'reset' }
)

/** What one client does. */
export interface Script {
  readonly steps: readonly Step[]
  /** It leaves its connections open, and reads on. */
  readonly stays?: boolean
}

const OPEN_MS = 2_000
const STAYING_MAX = 150
const TEXT = 0x81
const BINARY = 0x82
/** Connections that cannot be read while a script writes are cut. */
const UNSENT_MAX = 4_000_000

/** Plays scripts against the ports of a broker. */
export class Player {
  private readonly ports: Readonly<Record<PortName, number>>
  private readonly staying: Playing[] = []

  constructor(ports: Readonly<Record<PortName, number>>) {
    this.ports = ports
  }

  async play(script: Script): Promise<void> {
    const playing = new Playing(this.ports)
    try {
      for (const step of script.steps) await playing.play(step)
    } finally {
      if (script.stays) this.staying.push(playing)
      else playing.close()
      if (this.staying.length > STAYING_MAX) this.staying.shift()?.close()
    }
  }

  close(): void {
    for (const playing of this.staying) playing.close()
  }
}

class Playing {
  private readonly ports: Readonly<Record<PortName, number>>
  private readonly sockets = new Map<number, Socket>()
  private readonly waiting = new Map<number, () => void>()
  private readonly said = { sid: 'none', pid: 'none', offset: 'none' }

  constructor(ports: Readonly<Record<PortName, number>>) {
    this.ports = ports
  }

  async play(step: Step): Promise<void> {
    const { on = 0 } = step
    if ('open' in step) return this.open(on, this.ports[step.open])
    if ('waitMs' in step) return this.wait(on, step.waitMs)
    const socket = this.sockets.get(on)
    if (!socket || socket.destroyed || socket.writableLength > UNSENT_MAX) return
    if ('end' in step) {
      if (step.end === 'fin') socket.end()
      else socket.resetAndDestroy()
    } else if ('text' in step) socket.write(this.filled(step.text))
    else if ('bytes' in step) socket.write(step.bytes)
    else
      socket.write(
        frameOf(
          typeof step.frame === 'string' ? this.filled(step.frame) : step.frame,
          step.first ?? (typeof step.frame === 'string' ? TEXT : BINARY),
          step.unmasked !== true,
        ),
      )
  }

  close(): void {
    for (const socket of this.sockets.values()) socket.destroy()
  }

  private async open(on: number, port: number): Promise<void> {
    this.sockets.get(on)?.destroy()
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.sockets.set(on, socket)
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      this.read(chunk.toString('latin1', 0, 4_096))
      this.waiting.get(on)?.()
    })
    socket.on('close', () => this.waiting.get(on)?.())
    await new Promise<void>((resolve) => {
      socket.once('connect', resolve).once('close', resolve)
      socket.setTimeout(OPEN_MS, resolve)
    })
    socket.setTimeout(0)
  }

  private async wait(on: number, ms: number): Promise<void> {
    if (this.sockets.get(on)?.destroyed) return
    await new Promise<void>((resolve) => {
      const late = setTimeout(resolve, ms)
      this.waiting.set(on, () => {
        clearTimeout(late)
        resolve()
      })
    })
    this.waiting.delete(on)
  }

  private read(text: string): void {
    this.said.sid = /"sid":"([^"]{1,80})","upgrades"/.exec(text)?.[1] ?? this.said.sid
    this.said.pid = /"pid":"([^"]{1,120})"/.exec(text)?.[1] ?? this.said.pid
    this.said.offset = /"([0-9a-f]{10}-\d{1,16})"/.exec(text)?.[1] ?? this.said.offset
  }

  private filled(text: string): string {
    return text.includes('{')
      ? text.replace(/\{(sid|pid|offset)\}/g, (_, name: keyof typeof this.said) => this.said[name])
      : text
  }
}

/** RFC 6455, 5.2. */
function frameOf(content: string | Uint8Array, first: number, masked: boolean): Buffer {
  const payload = Buffer.from(content as string)
  const { length } = payload
  const sized =
    length < 126
      ? Buffer.from([length])
      : length < 65_536
        ? Buffer.from([126, length >> 8, length & 255])
        : Buffer.concat([
            Buffer.from([127, 0, 0, 0, 0]),
            Buffer.from([length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255]),
          ])
  if (!masked) return Buffer.concat([Buffer.from([first]), sized, payload])
  const mask = randomBytes(4)
  for (let i = 0; i < length; i++) payload[i] = (payload[i] as number) ^ (mask[i & 3] as number)
  sized[0] = (sized[0] as number) | 0x80
  return Buffer.concat([Buffer.from([first]), sized, mask, payload])
}

/** An HTTP request for a WebSocket. */
export function upgradeText(path: string, headers: readonly string[] = []): string {
  const key = createHash('md5').update(path).digest('base64')
  return [
    `GET ${path} HTTP/1.1`,
    'Host: 127.0.0.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Key: ${key}`,
    ...headers,
    '',
    '',
  ].join('\r\n')
}

/** Breaks a script in the middle, pauses, sends frames that no library sends. */
export function roughened(steps: readonly Step[], random: Random): Step[] {
  const rough = [...steps]
  if (random.chance(0.25)) rough.splice(1 + random.int(rough.length), rough.length)
  if (random.chance(0.1))
    rough.splice(2 + random.int(rough.length), 0, { frame: random.bytes(random.int(200)), first: random.int(256) })
  if (random.chance(0.03)) rough.splice(2 + random.int(rough.length), 0, { bytes: random.bytes(random.int(50)) })
  if (random.chance(0.03)) rough.splice(2 + random.int(rough.length), 0, { frame: 'unmasked', unmasked: true })
  if (random.chance(0.1)) rough.push({ waitMs: random.int(50) })
  if (random.chance(0.1)) rough.push({ waitMs: random.pick([300, 600]) })
  if (random.chance(0.4)) rough.push({ on: random.int(2), end: random.pick(['fin', 'reset'] as const) })
  return rough
}
