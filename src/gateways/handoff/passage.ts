import { decodePayload, encodePayload, type Packet } from 'engine.io-parser'
import type { HttpResponse } from 'uWebSockets.js'
import type { Connections, Counted } from '../../guard/connections.ts'
import { after, guarded } from '../../guarded.ts'
import { finishGuarded, guardRequest } from '../handlers.ts'
import type { MovedConnection } from './moved.ts'
import type { EngineSession, EngineSocket } from '../engineio/session.ts'
import type { Relay } from './relay.ts'

/** A session on its way from one worker to another. */
interface MovedSession {
  /** Of its handshake's query. */
  readonly token: string | null
  /** Packets that the client has yet to get, as an Engine.IO payload. */
  readonly payload: string
  readonly connection: MovedConnection
}

export interface PassageOptions {
  readonly relay: Relay
  /** Where this port is found on the workers' private sockets. */
  readonly path: string
  readonly upgradeTimeoutMs: number
  readonly payloadBytes: number
  readonly sessionOf: (sid: string) => EngineSession | undefined
  /** Makes a session of this worker, with the packets that wait, on its WebSocket. */
  readonly adopt: (
    passage: Passage,
    socket: EngineSocket,
    token: string | null,
    packets: readonly Packet[],
  ) => EngineSession
  readonly receive: (session: EngineSession, frame: ArrayBuffer, binary: boolean) => void
  readonly connections: Connections
}

/** How often a poll is ended while its client is to change over (the reference server's figure). */
export const RELEASE_MS = 100
const SETTLE_MS = 10
/** A worker that took a session says so within this, or is dead. */
const TAKEN_MS = 5_000
const FRAMES_MAX = 1_024

/** A WebSocket that came here, to take over from long-polling in a session of another worker. */
export class Passage implements Counted {
  readonly sid: string
  readonly owner: number
  /** Where it comes from, where that counts. */
  readonly address: string | undefined
  stage: 'new' | 'probing' | 'probed' | 'moving' | 'over' = 'new'
  /** What the client sent while its session was on its way here. */
  readonly frames: [frame: ArrayBuffer, binary: boolean][] = []
  bytes = 0
  /** Until it is over. */
  socket: EngineSocket | undefined

  constructor(sid: string, owner: number, address: string | undefined) {
    this.sid = sid
    this.owner = owner
    this.address = address
  }

  discard(): void {
    this.socket?.close()
  }
}

/**
 * Moves long-polling sessions between workers: a client's WebSocket comes to whichever worker the kernel picks, and its
 * session follows it there, so that from then on its events are native publishes. `probe` ends its polls where it is,
 * once no command of it is at work; `take` hands it over; `taken` lets it go.
 */
export class Passages {
  private readonly options: PassageOptions

  constructor(options: PassageOptions) {
    this.options = options
    const { relay, path, sessionOf } = options
    const route = (verb: string, act: (session: EngineSession) => Promise<string | undefined> | string | undefined) =>
      relay.app.post(
        `${path}/${verb}`,
        guardRequest('handoff', (res, req) => {
          const session = sessionOf(req.getQuery('sid') ?? '')
          res.onAborted(() => {
            res.aborted = true
          })
          finishGuarded(
            'handoff',
            res,
            Promise.resolve(session && act(session)).then((body) => answer(res, body)),
          )
        }),
      )
    route('probe', (session) => this.release(session))
    route('take', (session) => this.handOver(session))
    route('taken', (session) => {
      session.moved()
      return ''
    })
  }

  /** A WebSocket whose session is elsewhere has so long to take it over. */
  open(socket: EngineSocket, passage: Passage): void {
    passage.socket = socket
    this.options.connections.waits(passage, Date.now())
    after('handoff timeout', this.options.upgradeTimeoutMs, () => this.fail(socket, passage)).unref()
  }

  /** A frame of a WebSocket whose session is elsewhere: `2probe` → `3probe`, then `5`, and the session comes. */
  receive(socket: EngineSocket, passage: Passage, frame: ArrayBuffer, binary: boolean): void {
    const { stage } = passage
    if (stage === 'moving') {
      passage.bytes += frame.byteLength
      if (passage.frames.length === FRAMES_MAX || passage.bytes > this.options.payloadBytes * 2) socket.close()
      // A copy: the frame is gone after this call.
      else passage.frames.push([frame.slice(0), binary])
      return
    }
    const text = Buffer.from(frame).toString()
    if (stage === 'new' && text === '2probe') {
      passage.stage = 'probing'
      const probed = this.ask(passage, 'probe').then(() => {
        if (passage.stage !== 'probing') return
        passage.stage = 'probed'
        socket.send('3probe')
      })
      probed.catch(guarded('handoff', () => this.fail(socket, passage)))
    } else if (stage === 'probed' && text === '5') {
      passage.stage = 'moving'
      this.take(socket, passage).catch(guarded('handoff', () => this.fail(socket, passage)))
    } else socket.close()
  }

  private async take(socket: EngineSocket, passage: Passage): Promise<void> {
    const { options } = this
    const { token, payload, connection } = JSON.parse(await this.ask(passage, 'take')) as MovedSession
    // Closed meanwhile, it is let go of where it was; its client comes back.
    if (passage.stage === 'moving') {
      this.closed(passage)
      const session = options.adopt(passage, socket, token, payload === '' ? [] : decodePayload(payload, 'nodebuffer'))
      try {
        const resumed = session.connection.resume(connection)
        for (const [frame, binary] of passage.frames) if (!session.closed) options.receive(session, frame, binary)
        await resumed
      } catch (error) {
        // Half of it is here and half there: the client comes back, and recovers.
        session.close()
        throw error
      }
    }
    await this.ask(passage, 'taken')
  }

  /** Its socket is gone, or carries the session from now on. */
  closed(passage: Passage): void {
    passage.stage = 'over'
    passage.socket = undefined
    this.options.connections.waitsNoLonger(passage)
  }

  private fail(socket: EngineSocket, passage: Passage): void {
    if (passage.stage === 'over') return
    this.closed(passage)
    socket.close()
  }

  private async ask({ sid, owner }: Passage, verb: string): Promise<string> {
    const { relay, path } = this.options
    const { status, body } = await relay.pass(owner, 'post', `${path}/${verb}?sid=${encodeURIComponent(sid)}`).answer
    if (!status.startsWith('200')) throw new Error(`${verb}: ${status}`)
    return body
  }

  /** Readies a session for leaving: no command is at work, and its polls are ended until it left. */
  private async release(session: EngineSession): Promise<string | undefined> {
    if (session.native || session.probe || session.leaving || session.closed) return undefined
    session.leaving = true
    // Another WebSocket may try next: then this one's polls are not to be ended as well.
    const untilMs = Date.now() + this.options.upgradeTimeoutMs
    after('handoff timeout', this.options.upgradeTimeoutMs, () => {
      session.leaving = false
    }).unref()
    await settled(session)
    releasePolls(session, () => session.leaving && Date.now() < untilMs)
    return session.leaving ? '' : undefined
  }

  private async handOver(session: EngineSession): Promise<string | undefined> {
    if (!session.leaving) return undefined
    await settled(session)
    if (session.closed || !session.leaving) return undefined
    const connection = session.connection.suspend()
    const packets = session.takePackets()
    // What its client still sends here is not carried out: it is out of its rooms here, and in them there.
    session.connection.queues.close()
    after('handoff', TAKEN_MS, () => session.discard()).unref()
    const payload = packets.length === 0 ? '' : await new Promise<string>((resolve) => encodePayload(packets, resolve))
    return JSON.stringify({ token: session.connection.token, payload, connection } satisfies MovedSession)
  }
}

/**
 * Ends the session's polls, one after another, as long as it is to change over: its client waits for the last to end.
 */
export function releasePolls(session: EngineSession, wanted: () => boolean): void {
  if (session.closed || !wanted()) return
  if (session.polling?.polled) session.polling.push({ type: 'noop' })
  after('upgrade', RELEASE_MS, () => releasePolls(session, wanted)).unref()
}

/** Its commands are answered: what is at work here could not answer from elsewhere. */
async function settled(session: EngineSession): Promise<void> {
  while (session.leaving && !session.closed && !session.connection.settled)
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
}

function answer(res: HttpResponse, body: string | undefined): void {
  if (res.aborted) return
  res.cork(() => {
    if (body === undefined) res.writeStatus('409 Conflict').end()
    else res.end(body)
  })
}
