/** What all gateways check of a request before it becomes a connection. */

/** @param origin empty: no browser sent this */
export function allowsOrigin(origins: readonly string[], origin: string): boolean {
  return origin === '' || origins.includes('*') || origins.includes(origin)
}

/** The token of `Authorization: Bearer …`. */
export function bearerOf(header: string): string | undefined {
  return /^bearer\s+(\S+)\s*$/i.exec(header)?.[1]
}
