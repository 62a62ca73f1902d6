import { io, type Socket } from 'socket.io-client'
import { token } from '../support/broker.ts'
import { TRANSPORTS } from '../support/socketio-client.ts'
import { type History, Recorder } from './history.ts'

const CONNECT_MS = 3_000
const ANSWER_MS = 3_000
const BACK_MS = 300

/**
 * The real `socket.io-client`: comes back by itself, recovers where it can, joins its rooms anew where it could not,
 * and records what it gets.
 */
export class SocketIoChaosClient implements History {
  readonly client: string
  readonly kind = 'socket.io'
  readonly rooms: readonly string[]
  readonly recorder = new Recorder()
  private readonly socket: Socket
  private ended = false
  /** It was never in all its rooms. */
  private first = true
  /** Of its session, which a recovery goes on with. */
  private readonly joined = new Set<string>()

  constructor(name: string, transport: keyof typeof TRANSPORTS, port: number, rooms: readonly string[]) {
    this.client = `${name} Socket.IO ${transport}`
    this.rooms = rooms
    this.socket = io(`http://127.0.0.1:${port}/chaos`, {
      auth: { token: token(name) },
      transports: [...TRANSPORTS[transport]],
      forceNew: true,
      timeout: CONNECT_MS,
      reconnectionDelay: 50,
      reconnectionDelayMax: 500,
    })
    this.socket.on('connect', () => void this.arrive())
    this.socket.on('disconnect', (reason) => {
      this.recorder.disconnected(reason)
      this.comeBack()
    })
    this.socket.on('connect_error', (error) => {
      if (this.socket.active) return
      this.recorder.note(`refused: ${error.message} ${JSON.stringify((error as { data?: unknown }).data)}`)
      this.comeBack()
    })
    this.socket.on('numbered', ({ room, n }: { room: string; n: number }, position: string) =>
      this.recorder.event(room, n, position),
    )
  }

  get marks(): History['marks'] {
    return this.recorder.marks
  }

  end(): void {
    this.ended = true
    this.socket.disconnect()
  }

  private async arrive(): Promise<void> {
    const { id, recovered } = this.socket
    if (!recovered) this.joined.clear()
    if (!this.first) this.recorder.connected(recovered)
    for (const room of this.rooms) {
      while (this.socket.connected && this.socket.id === id && !this.joined.has(room)) {
        const answer = await this.socket
          .timeout(ANSWER_MS)
          .emitWithAck('join', { room })
          .catch(() => 'no answer')
        if (answer.room === room) this.joined.add(room)
        else {
          this.recorder.note(`join ${room}: ${JSON.stringify(answer)}`)
          await new Promise((resolve) => setTimeout(resolve, BACK_MS))
        }
      }
    }
    if (!this.first || this.joined.size < this.rooms.length) return
    this.first = false
    this.recorder.connected()
  }

  /** A client that the server refused or sent away does not come back by itself. */
  private comeBack(): void {
    if (!this.socket.active) setTimeout(() => this.ended || this.socket.connect(), BACK_MS)
  }
}
