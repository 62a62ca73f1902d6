import { PUBLISH_KEY } from '../../support/broker.ts'
import { damaged, jsonBytes, msgpackBytes } from '../bodies.ts'
import { CONTRACTS, validEvent } from '../commands.ts'
import type { Random } from '../random.ts'
import { Player, type PortName, type Script, type Step } from '../script.ts'
import { surface } from '../surface.ts'
import { anyToken, validToken } from '../tokens.ts'
import { mutated, oddText } from '../values.ts'

export const http = surface<Script>({
  name: 'http',
  about: 'HTTP on all ports: publish API, statistics, polling addresses, OPS_PORT; odd headers, chunks, pipelines',
  concurrency: 64,
  make: (random) => {
    const port = random.pick<PortName>([
      'PORT',
      'PORT',
      'PORT',
      'CODING_ASSISTANT_PORT',
      'GEMINI_SESSIONS_PORT',
      'OPS_PORT',
      'OPS_PORT',
    ])
    const steps: Step[] = [{ open: port }]
    for (const bytes of [anyRequest(port, random), ...random.some(8, () => anyRequest(port, random))]) {
      const at = random.chance(0.1) ? random.int(bytes.length) : bytes.length
      steps.push({ bytes: bytes.subarray(0, at) })
      if (random.chance(0.4)) steps.push({ waitMs: random.pick([5, 50]) })
      if (at < bytes.length && random.chance(0.8)) steps.push({ bytes: bytes.subarray(at) })
    }
    steps.push({ waitMs: random.pick([0, 20, 100]) })
    if (random.chance(0.4)) steps.push({ end: random.pick(['fin', 'reset'] as const) })
    return { steps, stays: random.chance(0.05) }
  },
  open: async (world) => {
    const player = new Player(world.ports)
    return { send: (script) => player.play(script), close: async () => player.close() }
  },
})

function anyRequest(port: PortName, random: Random): Buffer {
  const request = random.chance(0.5) && port === 'PORT' ? publish(random) : plain(port, random)
  return random.chance(0.08) ? damaged(request, random) : request
}

function plain(port: PortName, random: Random): Buffer {
  const paths =
    port === 'OPS_PORT'
      ? ['/', '/healthz', '/readyz', '/metrics', '/figures', '/settings']
      : [
          '/api/v1/websocket/stats',
          `/api/v1/websocket/stats?token=${validToken(random, { roles: ['admin'] })}`,
          '/socket.io/?EIO=4&transport=polling',
          '/socket.io/?EIO=4&transport=polling&sid=1.x',
          '/socket.io/',
          '/ws',
          '/',
          '/fuzz',
        ]
  const path = random.chance(0.75) ? random.pick(paths) : `/${oddText(random)}`
  const method = random.chance(0.8)
    ? random.pick(['GET', 'POST', 'OPTIONS', 'HEAD'])
    : random.pick(['PUT', 'DELETE', 'get', '', 'G T', 'TRACE', 'CONNECT', 'PRI', 'x'.repeat(300)])
  const headers = random.some(5, () => anyHeader(random))
  const body = random.chance(0.2) ? random.bytes(random.int(300)) : Buffer.alloc(0)
  return assembled(
    `${method} ${path} ${random.pick(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/9', ''])}`,
    headers,
    body,
    random,
  )
}

function publish(random: Random): Buffer {
  const contract = random.pick(CONTRACTS)
  const event = validEvent(contract, random)
  const path = random.chance(0.8)
    ? `/api/v1/events/${contract.app}/${event.type}`
    : `/api/v1/events/${random.pick([contract.app, '__proto__', oddText(random)])}/${random.pick([event.type, '%', '%zz', '%00', '..', 'a..b', '*', '>', '__proto__', 'x'.repeat(2_000), oddText(random)])}`
  const value = random.chance(0.5) ? event.body : mutated(event.body, random)
  const msgpack = random.chance(0.3)
  const body = msgpack ? msgpackBytes(value, random) : jsonBytes(value, random)
  const headers = [
    Buffer.from(
      `Authorization: ${random.chance(0.95) ? `Bearer ${PUBLISH_KEY}` : random.pick(['Bearer', 'Basic x', 'Bearer \u00ff', oddText(random)])}`,
    ),
    ...(msgpack ? [Buffer.from('Content-Type: application/msgpack')] : []),
    ...(random.chance(0.15)
      ? [
          Buffer.from(
            `Nats-Msg-Id: ${random.pick(['a', '1', oddText(random), 'é', ' ', 'x'.repeat(1_000)])}`,
            random.pick(['latin1', 'utf8'] as const),
          ),
        ]
      : []),
    ...random.some(2, () => anyHeader(random)),
  ]
  return assembled(`POST ${path} HTTP/1.1`, headers, body, random)
}

function anyHeader(random: Random): Buffer {
  const name = random.chance(0.8)
    ? random.pick([
        'Origin',
        'Host',
        'Connection',
        'Upgrade',
        'Authorization',
        'Content-Type',
        'Transfer-Encoding',
        'Content-Length',
        'Expect',
        'Cookie',
        'Sec-WebSocket-Key',
        'Sec-WebSocket-Protocol',
        'Nats-Msg-Id',
        'Access-Control-Request-Method',
        '__proto__',
      ])
    : oddText(random)
  const value = random.one(
    () => oddText(random),
    () =>
      random.pick([
        'chunked',
        'close',
        'keep-alive',
        'websocket',
        '100-continue',
        '0',
        '-1',
        '99999999999',
        'identity, chunked',
        'http://127.0.0.1',
      ]),
    () => 'x'.repeat(random.pick([100, 3_000, 4_100, 9_000])),
    () => `Bearer ${anyToken(random)}`,
  )
  return Buffer.from(`${name}: ${value}`, random.pick(['latin1', 'utf8'] as const))
}

function assembled(start: string, headers: readonly Buffer[], body: Buffer, random: Random): Buffer {
  const crlf = Buffer.from('\r\n')
  const chunked = body.length > 0 && random.chance(0.15)
  const framing = chunked
    ? 'Transfer-Encoding: chunked'
    : body.length > 0
      ? `Content-Length: ${random.chance(0.95) ? body.length : random.pick([0, body.length + 5, body.length - 1, 5_000_000])}`
      : 'X-Nothing: 1'
  const head = [Buffer.from(start, 'latin1'), Buffer.from('Host: 127.0.0.1'), ...headers, Buffer.from(framing)].flatMap(
    (line) => [line, crlf],
  )
  return Buffer.concat([...head, crlf, chunked ? chunksOf(body, random) : body])
}

function chunksOf(body: Buffer, random: Random): Buffer {
  const at = random.int(body.length + 1)
  const chunk = (part: Buffer) =>
    part.length === 0
      ? Buffer.alloc(0)
      : Buffer.concat([Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n')])
  const end = random.chance(0.9)
    ? '0\r\n\r\n'
    : random.pick(['', 'ffffffffffffffff\r\n', '-1\r\n\r\n', 'zz\r\n', '0\r\nX: y\r\n\r\n'])
  return Buffer.concat([chunk(body.subarray(0, at)), chunk(body.subarray(at)), Buffer.from(end)])
}
