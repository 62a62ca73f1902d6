import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** What a request reveals about its client's address. */
export interface Origin {
  /** The remote address of the TCP connection. */
  readonly peer: string
  /** The address given by the PROXY protocol; empty: none. */
  readonly proxied: string
  /** The `X-Forwarded-For` header; empty: none. */
  readonly forwardedFor: string
}

/**
 * Finds the addresses of clients. Anyone can send a PROXY header or `X-Forwarded-For`, so both are trusted only from
 * the configured proxies.
 */
export class Addresses {
  private readonly trusted = new BlockList()
  private readonly direct: boolean

  /** @param trustedProxies addresses, or networks such as `10.0.0.0/8` */
  constructor(trustedProxies: readonly string[]) {
    this.direct = trustedProxies.length === 0
    for (const network of trustedProxies) {
      const [address = '', prefix] = network.split('/')
      const family = isIPv4(address) ? 'ipv4' : 'ipv6'
      if (prefix === undefined) this.trusted.addAddress(address, family)
      else this.trusted.addSubnet(address, Number(prefix), family)
    }
  }

  /**
   * The address by which a client is counted: its IPv4 address, or the /64 network of its IPv6 address, since one
   * customer holds a whole /64.
   */
  of({ peer, proxied, forwardedFor }: Origin): string {
    if (this.direct || !this.isTrusted(peer)) return networkOf(peer)
    if (proxied !== '') return networkOf(proxied)
    const hops = forwardedFor
      .split(',')
      .map(bare)
      .filter((hop) => isIPv4(hop) || isIPv6(hop))
    // Each proxy appends the address of its own peer, so the last address that is not a trusted proxy is the client.
    return networkOf(hops.findLast((hop) => !this.isTrusted(hop)) ?? peer)
  }

  private isTrusted(address: string): boolean {
    const ipv4 = mappedIpv4(address)
    return this.trusted.check(ipv4 ?? address, ipv4 === undefined && isIPv6(address) ? 'ipv6' : 'ipv4')
  }
}

function networkOf(address: string): string {
  const ipv4 = mappedIpv4(address)
  if (ipv4 !== undefined) return ipv4
  return isIPv6(address) ? `${groupsOf(address).slice(0, 4).join(':')}::/64` : address
}

/** The IPv4 address, even if it is written as an IPv6 address. @returns undefined for any other address */
function mappedIpv4(address: string): string | undefined {
  if (isIPv4(address)) return address
  if (!isIPv6(address)) return undefined
  const groups = groupsOf(address)
  if (groups.slice(0, 5).some((group) => group !== '0') || groups[5] !== 'ffff') return undefined
  const [high = 0, low = 0] = groups.slice(6).map((group) => Number.parseInt(group, 16))
  return [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** The eight groups of an IPv6 address, without leading zeros. */
function groupsOf(address: string): string[] {
  const text = address.split('%')[0] ?? ''
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text)
  const [, head = '', a, b, c, d] = dotted ?? []
  const hex = dotted
    ? `${head}${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`
    : text
  const [before = '', after] = hex.split('::')
  const left = before === '' ? [] : before.split(':')
  const right = after === undefined || after === '' ? [] : after.split(':')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].map((group) => Number.parseInt(group, 16).toString(16))
}

/** An entry of `X-Forwarded-For` without port and brackets. */
function bare(entry: string): string {
  const text = entry.trim()
  return /^\[([^\]]*)\]/.exec(text)?.[1] ?? (/^[\d.]+:\d+$/.test(text) ? (text.split(':')[0] as string) : text)
}
