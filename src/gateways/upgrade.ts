import type { HttpRequest, HttpResponse } from 'uWebSockets.js'
import type { Addresses } from '../guard/addresses.ts'

/** Checks that all gateways make before a request becomes a connection. */

/** @param origin empty: the request does not come from a page in a browser */
export function allowsOrigin(origins: readonly string[], origin: string): boolean {
  return origin === '' || origins.includes('*') || origins.includes(origin)
}

/** The token of `Authorization: Bearer …`. */
export function bearerOf(header: string): string | undefined {
  return /^bearer\s+(\S+)\s*$/i.exec(header)?.[1]
}

/** The address by which a request's connection is counted. */
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
