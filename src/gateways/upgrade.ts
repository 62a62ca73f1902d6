import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
import type { Addresses } from '../guard/addresses.ts'

/** What all gateways check of a request before it becomes a connection. */

/** @param origin empty: no browser sent this */
export function allowsOrigin(origins: readonly string[], origin: string): boolean {
  return origin === '' || origins.includes('*') || origins.includes(origin)
}

/** The token of `Authorization: Bearer …`. */
export function bearerOf(header: string): string | undefined {
  return /^bearer\s+(\S+)\s*$/i.exec(header)?.[1]
}

/** What a request's connection is counted by. */
export function addressOf(addresses: Addresses, res: HttpResponse, req: HttpRequest): string {
  const [peer, proxied] = [res.getRemoteAddressAsText(), res.getProxiedRemoteAddressAsText()].map((text) =>
    Buffer.from(text).toString(),
  )
  return addresses.of({
    peer: peer as string,
    proxied: proxied as string,
    forwardedFor: req.getHeader('x-forwarded-for'),
  })
}
