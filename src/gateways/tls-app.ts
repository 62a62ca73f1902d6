import type { TemplatedApp } from 'uWebSockets.js'
import { BrokerError } from '../errors.ts'
import { SSLApp } from '../uws.ts'

export interface Tls {
  readonly certFile: string
  readonly keyFile: string
}

/** The methods of an app that register routes. */
const ROUTES: ReadonlySet<string | symbol> = new Set([
  'get',
  'post',
  'options',
  'del',
  'patch',
  'put',
  'head',
  'connect',
  'trace',
  'any',
  'ws',
])
/**
 * The number of apps to keep. Beyond that, the oldest closes and its remaining clients are disconnected, because every
 * app adds to the cost of each publication.
 */
const GENERATIONS_MAX = 8

const renewable = new WeakMap<TemplatedApp, TlsApp>()

/**
 * A uWS app whose certificate can be reloaded. uWS reads the certificate only once, when an app is made. So each reload
 * adds an app with the same routes: the newest takes new connections, the others keep theirs, and publications go to
 * all.
 */
export class TlsApp {
  /** All of them as one app, for the gateways. */
  readonly app: TemplatedApp
  private readonly tls: Tls
  private readonly generations: TemplatedApp[]
  private readonly routes: ((app: TemplatedApp) => unknown)[] = []

  /** @returns undefined for an app without TLS */
  static of(app: TemplatedApp): TlsApp | undefined {
    return renewable.get(app)
  }

  /** @throws BrokerError CONFIG_INVALID if uWS cannot use the files */
  constructor(tls: Tls) {
    this.tls = tls
    const first = this.make()
    this.generations = [first]
    const routed =
      (name: string) =>
      (...args: unknown[]) => {
        const route = (app: TemplatedApp) => (app[name as 'get'] as (...given: unknown[]) => unknown)(...args)
        this.routes.push(route)
        for (const app of this.generations) route(app)
        return this.app
      }
    const own: Partial<Record<string | symbol, unknown>> = {
      publish: (...args: Parameters<TemplatedApp['publish']>) => {
        let published = false
        for (const app of this.generations) published = app.publish(...args) || published
        return published
      },
      numSubscribers: (topic: string) => this.generations.reduce((sum, app) => sum + app.numSubscribers(topic), 0),
      close: () => {
        for (const app of this.generations) app.close()
        return this.app
      },
      ...Object.fromEntries([...ROUTES].map((name) => [name, routed(String(name))])),
    }
    this.app = new Proxy(first, {
      get: (_, name) => {
        if (name in own) return own[name]
        const newest = this.generations.at(-1) as TemplatedApp
        const value = newest[name as keyof TemplatedApp] as unknown
        return typeof value === 'function' ? value.bind(newest) : value
      },
    })
    renewable.set(this.app, this)
  }

  /**
   * Reloads the certificate, for sockets that start to listen after this call.
   * @throws BrokerError as the constructor does
   */
  renew(): void {
    const next = this.make()
    for (const route of this.routes) route(next)
    this.generations.push(next)
    if (this.generations.length > GENERATIONS_MAX) this.generations.shift()?.close()
  }

  private make(): TemplatedApp {
    try {
      return SSLApp({ cert_file_name: this.tls.certFile, key_file_name: this.tls.keyFile })
    } catch {
      throw new BrokerError(
        'CONFIG_INVALID',
        `TLS_CERT_FILE=${this.tls.certFile}, TLS_KEY_FILE=${this.tls.keyFile}: uWebSockets.js cannot use them`,
      )
    }
  }
}
