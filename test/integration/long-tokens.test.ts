import t from 'tap'
import WebSocket from 'ws'
import { TestBroker, token } from '../support/broker.ts'
import { startWorkers } from '../support/workers.ts'

/** A token of about so many bytes. */
const long = (bytes: number, claims: Record<string, unknown> = {}) =>
  token('alice', { roles: ['admin'], pad: 'x'.repeat(Math.floor((bytes - 300) * 0.75)), ...claims })

/** What is told first: the type of the first message and its code, or the status of a refused upgrade. */
function greeting(url: string, headers: Record<string, string> = {}): Promise<unknown> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, { headers })
    socket.once('message', (frame) => {
      const { type, data } = JSON.parse(frame.toString())
      resolve(data.error_code ? `${data.error_code}: ${data.message}` : type)
      socket.terminate()
    })
    socket.once('unexpected-response', (_, response) => resolve(response.statusCode))
    socket.once('error', () => {})
  })
}

/** By header and by query, to everything that takes a token so. */
async function everyWay(port: number, given: string): Promise<unknown[]> {
  const headers = { Authorization: `Bearer ${given}` }
  const base = `127.0.0.1:${port}`
  return [
    await greeting(`ws://${base}/ws`, headers),
    await greeting(`ws://${base}/ws?token=${given}`),
    (await fetch(`http://${base}/api/v1/websocket/stats`, { headers })).status,
    (await fetch(`http://${base}/api/v1/websocket/stats?token=${given}`)).status,
    (await fetch(`http://${base}/socket.io/?EIO=4&transport=polling&token=${given}`)).status,
  ]
}

t.test('a token of 3.6 KB was answered with 431: up to MAX_TOKEN_BYTES it is taken by header and query', async (t) => {
  const broker = await TestBroker.start()
  t.teardown(() => broker.stop())
  for (const bytes of [3_600, 8_000])
    t.same(
      await everyWay(broker.port, long(bytes)),
      ['connection_established', 'connection_established', 200, 200, 200],
      `${bytes} bytes`,
    )
  const [byHeader, byQuery, ...statuses] = await everyWay(broker.port, long(12_000))
  for (const said of [byHeader, byQuery]) t.match(said, /^AUTH_FAILED: .*8192 bytes of MAX_TOKEN_BYTES/)
  t.same(statuses, [401, 401, 200], 'a session may begin: who it is is asked in a namespace')
})

t.test('MAX_TOKEN_BYTES lets longer ones in, with workers too', async (t) => {
  const { broker } = await startWorkers(t, { MAX_TOKEN_BYTES: 14_000 })
  t.same(await everyWay(broker.port, long(12_000)), ['connection_established', 'connection_established', 200, 200, 200])
})

t.test('a user id that NATS cannot hold is refused at the door', async (t) => {
  const broker = await TestBroker.start()
  t.teardown(() => broker.stop())
  t.match(
    await greeting(broker.url(), { Authorization: `Bearer ${token('u'.repeat(4_000))}` }),
    /^AUTH_FAILED: .*sub \(string of at most 256 bytes\)/,
  )
})
