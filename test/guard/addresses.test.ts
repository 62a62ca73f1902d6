import t from 'tap'
import { Addresses } from '../../src/guard/addresses.ts'

const origin = (peer: string, { proxied = '', forwardedFor = '' } = {}) => ({ peer, proxied, forwardedFor })
const IPV6 = '2001:0db8:0000:0000:0001:0002:0003:0004'

t.test('without proxies that are trusted, only the connection itself says where it comes from', async (t) => {
  const addresses = new Addresses([])
  t.equal(addresses.of(origin('192.0.2.1', { proxied: '198.51.100.1', forwardedFor: '198.51.100.2' })), '192.0.2.1')
})

t.test('a proxy that is trusted says it, by its PROXY header before X-Forwarded-For; nobody else does', async (t) => {
  const addresses = new Addresses(['10.0.0.0/8', '2001:db8::/64'])
  t.equal(addresses.of(origin('10.1.2.3', { proxied: '198.51.100.1', forwardedFor: '198.51.100.2' })), '198.51.100.1')
  t.equal(addresses.of(origin('10.1.2.3', { forwardedFor: '198.51.100.2' })), '198.51.100.2')
  t.equal(addresses.of(origin(IPV6, { forwardedFor: '198.51.100.2' })), '198.51.100.2')
  t.equal(addresses.of(origin('11.1.2.3', { proxied: '198.51.100.1', forwardedFor: '198.51.100.2' })), '11.1.2.3')
  t.equal(addresses.of(origin('10.1.2.3')), '10.1.2.3')
})

t.test(
  'of X-Forwarded-For the last that is no proxy of ours counts: what stands before it the client may have made up',
  async (t) => {
    const addresses = new Addresses(['10.0.0.0/8'])
    const of = (forwardedFor: string) => addresses.of(origin('10.0.0.1', { forwardedFor }))
    t.equal(of('203.0.113.9, 198.51.100.2, 10.0.0.7'), '198.51.100.2')
    t.equal(of('203.0.113.9, nonsense, 198.51.100.2:4711'), '198.51.100.2')
    t.equal(of('[2001:db8:1:2::5]:443'), '2001:db8:1:2::/64')
    t.equal(of('10.0.0.7'), '10.0.0.1')
  },
)

t.test(
  'an IPv6 client counts by its network, however it is written; an IPv4 client on an IPv6 socket by its address',
  async (t) => {
    const addresses = new Addresses(['127.0.0.1'])
    t.equal(addresses.of(origin(IPV6)), '2001:db8:0:0::/64')
    t.equal(addresses.of(origin('2001:db8::9')), '2001:db8:0:0::/64')
    t.equal(addresses.of(origin('0000:0000:0000:0000:0000:ffff:c000:0201')), '192.0.2.1')
    t.equal(addresses.of(origin('::ffff:192.0.2.1')), '192.0.2.1')
    t.equal(
      addresses.of(origin('0000:0000:0000:0000:0000:ffff:7f00:0001', { forwardedFor: '192.0.2.7' })),
      '192.0.2.7',
      'and is trusted as one',
    )
  },
)
