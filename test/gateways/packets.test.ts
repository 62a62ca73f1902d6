import { Decoder, Encoder, type Packet, PacketType } from 'socket.io-parser'
import t from 'tap'
import { decodePacket, encodePacket, hasBinary } from '../../src/gateways/socketio/packets.ts'

/** As socket.io-parser, the reference, reads it; undefined: it refuses. */
function reference(text: string): Packet | undefined {
  const decoder = new Decoder()
  let read: Packet | undefined
  decoder.on('decoded', (packet) => {
    read = packet
  })
  try {
    decoder.add(text)
  } catch {
    return undefined
  }
  return read
}

function decoded(text: string): Packet | undefined {
  try {
    return decodePacket(text)
  } catch {
    return undefined
  }
}

t.test('packets are written as socket.io-parser writes them', async (t) => {
  const encoder = new Encoder()
  const packets: Packet[] = [
    { type: PacketType.CONNECT, nsp: '/', data: { sid: 'a', pid: 'b' } },
    { type: PacketType.CONNECT, nsp: '/admin', data: { sid: 'a' } },
    { type: PacketType.DISCONNECT, nsp: '/admin' } as Packet,
    { type: PacketType.EVENT, nsp: '/', data: ['moved', { x: 1, text: 'é☃"\\', none: undefined }, null, [1, 2]] },
    { type: PacketType.EVENT, nsp: '/a/b', data: ['asked'], id: 0 },
    { type: PacketType.ACK, nsp: '/', data: [], id: 12 },
    { type: PacketType.CONNECT_ERROR, nsp: '/admin', data: { message: 'no', data: { code: 1 } } },
  ]
  for (const packet of packets)
    t.equal(encodePacket(packet.type, packet.nsp, packet.data, packet.id), `4${encoder.encode(packet)[0]}`)
})

t.test('packets are read as socket.io-parser reads them', async (t) => {
  const texts = [
    '0',
    '0{}',
    '0{"token":"a"}',
    '0/admin',
    '0/admin,',
    '0/admin,{"token":"a,b"}',
    '1',
    '1/admin,',
    '2["a"]',
    '2["a",1,{"b":[null]}]',
    '2/admin,["a"]',
    '2/admin,17["a"]',
    '212["a"]',
    '30[]',
    '3/admin,456["x"]',
    '29007199254740991["a"]',
    '2/a-b_c/1,0["☃"]',
    '2["a"]  ',
  ]
  for (const text of texts) {
    const expected = reference(text)
    t.ok(expected, text)
    t.same({ ...decoded(text) }, { data: undefined, ...expected }, text)
  }
})

t.test('what socket.io-parser refuses is refused', async (t) => {
  for (const text of [
    'x',
    '7',
    '9["a"]',
    '0[]',
    '0"a"',
    '0null',
    '1{}',
    '2{}',
    '2[]',
    '2"a"',
    '2["a"',
    '3{}',
    '3null',
    '2["a"]x',
    '2nonsense',
  ]) {
    t.equal(reference(text), undefined, `reference: ${text}`)
    t.equal(decoded(text), undefined, text)
  }
})

t.test('what is no packet by the text is refused, also where socket.io-parser reads something into it', async (t) => {
  for (const text of ['', '2', '3', '2/admin["a"]']) {
    t.ok(reference(text), `reference: ${text}`)
    t.equal(decoded(text), undefined, text)
  }
})

t.test('an id without an end is refused without being read to it', async (t) => {
  t.equal(decoded(`2${'1'.repeat(1_000_000)}["a"]`), undefined)
})

t.test('packets with attachments are not these', async (t) => {
  for (const text of ['51-["a",{"_placeholder":true,"num":0}]', '61-1[{"_placeholder":true,"num":0}]'])
    t.equal(decoded(text), undefined)
  for (const value of [Buffer.from('a'), new ArrayBuffer(1), ['a', { b: [new Uint8Array(1)] }]]) t.ok(hasBinary(value))
  for (const value of [undefined, null, 1, 'a', [], {}, ['a', { b: [null, { c: 'd' }] }]]) t.notOk(hasBinary(value))
})
