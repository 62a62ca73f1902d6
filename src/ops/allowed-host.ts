import { isIP } from 'node:net'

/**
 * Decides by the `Host` header whether a request may use OPS_PORT. A web page can point its own name at an internal
 * address (DNS rebinding) and then read the answers. But it cannot choose the name that the browser sends, and its own
 * name is never an address or `localhost`.
 */
export function allowedHosts(opsHost: string, others: readonly string[]): (header: string) => boolean {
  if (others.includes('*')) return () => true
  const names = new Set([opsHost, ...others].map((name) => name.toLowerCase()))
  return (header) => {
    const name = nameIn(header)
    return name !== undefined && (isIP(name) !== 0 || isLocalName(name) || names.has(name))
  }
}

/** Whether a `Host` header means that the request comes from this machine. */
export function isLoopback(header: string): boolean {
  const name = nameIn(header)
  return name !== undefined && (isLocalName(name) || name === '::1' || (isIP(name) === 4 && name.startsWith('127.')))
}

/** RFC 6761, 6.3: these names always mean this machine. */
function isLocalName(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost')
}

/** The name or address in `name:port`, without the port and without the brackets of IPv6. */
function nameIn(header: string): string | undefined {
  const [, address, name] = /^(?:\[([\da-f:.]+)\]|([\w.-]+?)\.?)(?::\d{1,5})?$/i.exec(header) ?? []
  return (address ?? name)?.toLowerCase()
}
