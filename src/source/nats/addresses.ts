/** The servers of a list, without user and password. */
export function addressesOf(url: string): string[] {
  return url.split(',').map((server) => withoutCredentials(server.trim()))
}

export function withoutCredentials(server: string): string {
  return server.replace(/^([a-z]+:\/\/)?.*@/, '$1')
}

/** The host of `nats://host:4222`, of `host`, or of `[::1]:4222`. */
export function hostOf(address: string): string {
  const [, bracketed, plain] = /^(?:[a-z]+:\/\/)?(?:\[([^\]]*)\]|([^:/]*))/i.exec(address) ?? []
  return bracketed ?? plain ?? ''
}
