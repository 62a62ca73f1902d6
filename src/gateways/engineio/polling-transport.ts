import type { HttpRequest, HttpResponse, TemplatedApp } from 'uWebSockets.js'
import { finishGuarded, guardRequest } from '../handlers.ts'
import type { ProxiedAnswer, ProxiedRequest, WorkerProxy } from '../handoff/worker-proxy.ts'
import { type BodyBudget, readBody } from './body-budget.ts'
import { queryOf } from './query.ts'
import { type EngineIoRequests, FAULTS } from './requests.ts'
import type { EngineIoSessions } from './sessions.ts'

export interface PollingTransportOptions {
  readonly path: string
  readonly payloadBytes: number
  /** Of all ports together. */
  readonly bodies: BodyBudget
  readonly sessions: EngineIoSessions
  readonly requests: EngineIoRequests
  /** The way to the sessions of other workers, and where this port is found there. */
  readonly proxy: { readonly to: WorkerProxy; readonly path: string } | undefined
}

/** Engine.IO's long-polling: GET fetches what waits, POST brings what the client says. */
export class PollingTransport {
  private readonly options: PollingTransportOptions

  constructor(app: TemplatedApp, options: PollingTransportOptions) {
    this.options = options
    const { path, requests, proxy } = options
    const get = guardRequest('polling', (res, req) => this.get(res, req))
    const post = guardRequest('polling', (res, req) => this.post(res, req))
    app.get(path, get)
    app.post(path, post)
    app.options(
      path,
      guardRequest('polling', (res, req) => requests.answerFor(req)(res, '204 No Content', 'text/plain', '')),
    )
    app.any(
      path,
      guardRequest('polling', (res, req) => requests.refuse(res, req, FAULTS.method)),
    )
    proxy?.to.app.get(proxy.path, get)
    proxy?.to.app.post(proxy.path, post)
  }

  private get(res: HttpResponse, req: HttpRequest): void {
    const { sessions, requests } = this.options
    const query = queryOf(req.getQuery())
    const fault = requests.faultIn(req, query, 'polling')
    if (fault) return requests.refuse(res, req, fault)
    const { sid } = query
    if (sid === null) return this.open(res, req, query.token)
    const owner = sessions.ownerOf(sid)
    if (owner !== undefined) return this.pass(res, req, owner, query.text)
    const answer = requests.answerFor(req)
    const session = sessions.find(sid)
    if (!session) {
      res.onAborted(() => {
        res.aborted = true
      })
      const farewell = sessions.farewellOf(sid)
      farewell?.wait(res, answer)
      if (farewell?.finished) sessions.forgetFarewell(sid)
      return
    }
    const { polling } = session
    if (!polling || polling.polled) {
      requests.refuse(res, req, FAULTS.request)
      if (polling) session.discard()
      return
    }
    res.onAborted(() => {
      res.aborted = true
      polling.forget()
      if (session.polling === polling) session.ended()
    })
    polling.wait(res, answer)
  }

  private open(res: HttpResponse, req: HttpRequest, token: string | null): void {
    const { sessions, requests } = this.options
    const address = requests.addressOf(res, req)
    if (!sessions.admits(address)) return requests.refuse(res, req, FAULTS.forbidden)
    const open = sessions.openPacket(sessions.open(token, true, address), '["websocket"]')
    requests.answerFor(req)(res, '200 OK', 'text/plain; charset=UTF-8', open)
  }

  private post(res: HttpResponse, req: HttpRequest): void {
    const { sessions, requests, payloadBytes, bodies } = this.options
    const query = queryOf(req.getQuery())
    const fault = requests.faultIn(req, query, 'polling')
    if (fault) return requests.refuse(res, req, fault)
    const { sid } = query
    if (sid === null) return requests.refuse(res, req, FAULTS.method)
    const owner = sessions.ownerOf(sid)
    if (owner !== undefined) return this.pass(res, req, owner, query.text)
    const answer = requests.answerFor(req)
    const session = sessions.find(sid)
    // Its next poll tells it that the session is over.
    if (!session) return answer(res, '200 OK', 'text/html', 'ok')
    if (!session.polling || session.posting) {
      requests.refuse(res, req, FAULTS.request)
      if (session.posting) session.discard()
      return
    }
    session.posting = true
    const done = (body: Buffer | string) => {
      if (typeof body === 'string') {
        answer(res, body, 'text/plain', '')
        return session.discard()
      }
      session.posting = false
      if (session.closed) return answer(res, '400 Bad Request', 'application/json', FAULTS.sid)
      answer(res, '200 OK', 'text/html', 'ok')
      session.receivePayload(body.toString())
    }
    readBody(
      res,
      { bytesMax: payloadBytes, budget: bodies, yields: session.handler.unauthenticated },
      () => session.ended(),
      done,
    )
  }

  /** Passes a request on to the worker that has its session. */
  private pass(res: HttpResponse, req: HttpRequest, owner: number, queryText: string): void {
    const { requests, payloadBytes, bodies, proxy } = this.options
    if (!proxy) return
    const answer = requests.answerFor(req)
    const method = req.getMethod() as 'get' | 'post'
    const path = `${proxy.path}?${queryText}`
    const origin = req.getHeader('origin')
    let passed: ProxiedRequest | undefined
    const abort = () => passed?.abort()
    const send = (body?: Buffer) => {
      passed = proxy.to.pass(owner, method, path, origin === '' ? {} : { origin }, body)
      // Where it fails its worker is gone, and the session with it.
      const outcome = passed.answer.catch(
        (): ProxiedAnswer => ({ status: '400 Bad Request', type: 'application/json', body: FAULTS.sid }),
      )
      finishGuarded(
        'polling',
        res,
        outcome.then(({ status, type, body }) => answer(res, status, type, body)),
      )
    }
    if (method === 'post') {
      // Only its own worker knows whether its client has authenticated.
      readBody(res, { bytesMax: payloadBytes, budget: bodies, yields: true }, abort, (body) =>
        typeof body === 'string' ? answer(res, body, 'text/plain', '') : send(body),
      )
      return
    }
    res.onAborted(() => {
      res.aborted = true
      abort()
    })
    send()
  }
}
