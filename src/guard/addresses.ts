import { BlockList, isIPv4, isIPv6 } from 'node:net'

/** What a request says of where it comes from. */
export interface Origin {
  /** Of its TCP connection. */
  readonly peer: string
  /** What the PROXY protocol said ahead of it; empty: nothing. */
  readonly proxied: string
  /** `X-Forwarded-For`; empty: none. */
  readonly forwardedFor: string
}

/**
 * Where clients come from. Anybody can send a PROXY header or `X-Forwarded-For`, so both are believed of the proxies
 * that were named and of nobody else.
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

  /** What a client is counted by: its IPv4 address, or the /64 network of its IPv6 address, which is one customer's. */
  of({ peer, proxied, forwardedFor }: Origin): string {
    if (this.direct || !this.isTrusted(peer)) return networkOf(peer)
    if (proxied !== '') return networkOf(proxied)
    const hops = forwardedFor
      .split(',')
      .map(bare)
      .filter((hop) => isIPv4(hop) || isIPv6(hop))
    // Each proxy adds whom it heard it from, at the end: the last that is no proxy of ours is the client.
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

/** An IPv4 address, also where it is written as an IPv6 one. */
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

/** An entry without its port and brackets. */
function bare(entry: string): string {
  const text = entry.trim()
  return /^\[([^\]]*)\]/.exec(text)?.[1] ?? (/^[\d.]+:\d+$/.test(text) ? (text.split(':')[0] as string) : text)
}
