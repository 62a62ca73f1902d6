import type { HttpResponse } from 'uWebSockets.js'
import type { Connections } from '../../guard/connections.ts'
import { after, guarded } from '../../guarded.ts'
import { finishGuarded, guardRequest } from '../handlers.ts'
import type { Arrival, ArrivingSocket } from './arrival.ts'
import type { ArrivedSession, HandedOverSession, LeavingSession } from './handed-over-session.ts'
import type { WorkerProxy } from './worker-proxy.ts'

export interface HandoffOptions<Socket extends ArrivingSocket> {
  readonly proxy: WorkerProxy
  /** Where this port is found on the workers' private sockets. */
  readonly path: string
  readonly upgradeTimeoutMs: number
  readonly payloadBytes: number
  readonly connections: Connections
  readonly sessionOf: (sid: string) => LeavingSession | undefined
  /** Makes a session of this worker, on its WebSocket. */
  readonly adopt: (arrival: Arrival<Socket>, socket: Socket, handedOver: HandedOverSession) => ArrivedSession
}

const SETTLE_MS = 10
/** A worker that took a session says so within this time, or is dead. */
const TAKEN_MS = 5_000
const FRAMES_MAX = 1_024

/**
 * Moves long-polling sessions between workers. A client's WebSocket comes to whichever worker the kernel picks, and its
 * session follows it there, so that from then on its events are native publishes. A session's id names its worker
 * (`WorkerProxy.ownerOf`). The worker that the WebSocket came to
 * asks the one that has the session: `probe` ends its polls, once no command of it is being carried out; `take` hands
 * it over; `taken` lets it go.
 */
export class Handoffs<Socket extends ArrivingSocket> {
  private readonly options: HandoffOptions<Socket>

  constructor(options: HandoffOptions<Socket>) {
    this.options = options
    const { proxy, path, sessionOf } = options
    const route = (verb: string, act: (session: LeavingSession) => Promise<string | undefined> | string | undefined) =>
      proxy.app.post(
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
    // At the worker that has the session.
    route('probe', (session) => this.prepare(session))
    route('take', (session) => this.handOver(session))
    route('taken', (session) => {
      session.letGo()
      return ''
    })
  }

  /** A WebSocket came whose session is elsewhere: it has a limited time to take that over. */
  open(socket: Socket, arrival: Arrival<Socket>): void {
    arrival.socket = socket
    this.options.connections.waits(arrival, Date.now())
    after('handoff timeout', this.options.upgradeTimeoutMs, () => this.fail(socket, arrival)).unref()
  }

  /** A frame of a WebSocket whose session is elsewhere: `2probe` → `3probe`, then `5`, and the session comes. */
  receive(socket: Socket, arrival: Arrival<Socket>, frame: ArrayBuffer, binary: boolean): void {
    const { stage } = arrival
    if (stage === 'moving') {
      arrival.bytes += frame.byteLength
      if (arrival.frames.length === FRAMES_MAX || arrival.bytes > this.options.payloadBytes * 2) socket.close()
      // A copy: the frame is gone after this call.
      else arrival.frames.push([frame.slice(0), binary])
      return
    }
    const text = Buffer.from(frame).toString()
    if (stage === 'new' && text === '2probe') {
      arrival.stage = 'probing'
      const probed = this.ask(arrival, 'probe').then(() => {
        if (arrival.stage !== 'probing') return
        arrival.stage = 'probed'
        socket.send('3probe')
      })
      probed.catch(guarded('handoff', () => this.fail(socket, arrival)))
    } else if (stage === 'probed' && text === '5') {
      arrival.stage = 'moving'
      this.take(socket, arrival).catch(guarded('handoff', () => this.fail(socket, arrival)))
    } else socket.close()
  }

  /** Its socket is gone, or carries the session from now on. */
  closed(arrival: Arrival<Socket>): void {
    arrival.stage = 'over'
    arrival.socket = undefined
    this.options.connections.waitsNoLonger(arrival)
  }

  private async take(socket: Socket, arrival: Arrival<Socket>): Promise<void> {
    const handedOver = JSON.parse(await this.ask(arrival, 'take')) as HandedOverSession
    // Where the socket closed meanwhile, the other worker lets go of the session all the same; its client comes back.
    if (arrival.stage === 'moving') {
      this.closed(arrival)
      const session = this.options.adopt(arrival, socket, handedOver)
      try {
        const resumed = session.resume(handedOver.state)
        for (const [frame, binary] of arrival.frames) if (!session.closed) session.receive(frame, binary)
        await resumed
      } catch (error) {
        // Half of it is here and half there: the client comes back, and recovers.
        session.close()
        throw error
      }
    }
    await this.ask(arrival, 'taken')
  }

  private fail(socket: Socket, arrival: Arrival<Socket>): void {
    if (arrival.stage === 'over') return
    this.closed(arrival)
    socket.close()
  }

  private async ask({ sid, owner }: Arrival<Socket>, verb: string): Promise<string> {
    const { proxy, path } = this.options
    const { status, body } = await proxy.pass(owner, 'post', `${path}/${verb}?sid=${encodeURIComponent(sid)}`).answer
    if (!status.startsWith('200')) throw new Error(`${verb}: ${status}`)
    return body
  }

  /** Readies a session for leaving: no command is being carried out, and its polls are ended until it has left. */
  private async prepare(session: LeavingSession): Promise<string | undefined> {
    if (!session.mayUpgrade) return undefined
    session.leaving = true
    // Another WebSocket may try next: the time of this one must not end that one's polls.
    const untilMs = Date.now() + this.options.upgradeTimeoutMs
    after('handoff timeout', this.options.upgradeTimeoutMs, () => {
      session.leaving = false
    }).unref()
    await waitUntilSettled(session)
    session.endPollsWhile(() => session.leaving && Date.now() < untilMs)
    return session.leaving ? '' : undefined
  }

  private async handOver(session: LeavingSession): Promise<string | undefined> {
    if (!session.leaving) return undefined
    await waitUntilSettled(session)
    if (session.closed || !session.leaving) return undefined
    const handedOver = session.handOver()
    after('handoff', TAKEN_MS, () => session.discard()).unref()
    return JSON.stringify(await handedOver)
  }
}

/** A command that is being carried out here could not answer from elsewhere. */
async function waitUntilSettled(session: LeavingSession): Promise<void> {
  while (session.leaving && !session.closed && !session.settled)
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS))
}

function answer(res: HttpResponse, body: string | undefined): void {
  if (res.aborted) return
  res.cork(() => {
    if (body === undefined) res.writeStatus('409 Conflict').end()
    else res.end(body)
  })
}
