import './header-limit.ts'
import { SSLApp, type TemplatedApp } from 'uWebSockets.js'
import { BrokerError } from '../errors.ts'

export interface Tls {
  readonly certFile: string
  readonly keyFile: string
}

/** Registers something that answers requests. */
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
 * Past this many renewals the clients that are left of the oldest are sent away: each costs a look at every
 * publication.
 */
const GENERATIONS_MAX = 8

const renewable = new WeakMap<TemplatedApp, TlsApp>()

/**
 * An app of uWS whose certificate can be read again. uWS reads it once, as an app is made. So there is a further app
 * for each certificate, with the same routes: the newest takes new connections, those of the others stay as they are,
 * and what is published goes to all.
 */
export class TlsApp {
  /** As the gateways see it: one app. */
  readonly app: TemplatedApp
  private readonly tls: Tls
  private readonly generations: TemplatedApp[]
  private readonly routes: ((app: TemplatedApp) => unknown)[] = []

  /** @returns undefined for an app without TLS */
  static of(app: TemplatedApp): TlsApp | undefined {
    return renewable.get(app)
  }

  /** @throws BrokerError CONFIG_INVALID where uWS cannot use the files */
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

  /** Reads the certificate again. What listens from now on shows it. @throws BrokerError as the constructor */
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
