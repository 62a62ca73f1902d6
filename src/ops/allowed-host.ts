import { isIP } from 'node:net'

/**
 * Decides by its `Host` whether a request may see what OPS_PORT shows. A page of the web can have its own name point at
 * an address in here (DNS rebinding) and then read the answers, but it cannot choose the name that its browser sends:
 * an address or `localhost` is never the name of such a page.
 */
export function allowedHosts(opsHost: string, others: readonly string[]): (header: string) => boolean {
  if (others.includes('*')) return () => true
  const names = new Set([opsHost, ...others].map((name) => name.toLowerCase()))
  return (header) => {
    const name = nameIn(header)
    return name !== undefined && (isIP(name) !== 0 || isLocalName(name) || names.has(name))
  }
}

/** Whether a `Host` says that the request comes from this machine itself. */
export function isLoopback(header: string): boolean {
  const name = nameIn(header)
  return name !== undefined && (isLocalName(name) || name === '::1' || (isIP(name) === 4 && name.startsWith('127.')))
}

/** RFC 6761, 6.3: these names are this machine's. */
function isLocalName(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost')
}

/** The name or address of `name:port`, without the port and the brackets of IPv6. */
function nameIn(header: string): string | undefined {
  const [, address, name] = /^(?:\[([\da-f:.]+)\]|([\w.-]+?)\.?)(?::\d{1,5})?$/i.exec(header) ?? []
  return (address ?? name)?.toLowerCase()
}
