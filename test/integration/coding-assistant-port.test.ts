import t from 'tap'
import WebSocket from 'ws'
import { TestBroker } from '../support/broker.ts'
import { SocketIoClient } from '../support/socketio-client.ts'

/** SOCKET_* of the document's "Environment Variables": each for this port, and for no other. */
async function start(env: Record<string, string | number>) {
  const broker = await TestBroker.start(env)
  t.teardown(() => broker.stop())
  return broker
}

const engine = (port: number, query = '', init: RequestInit = {}) =>
  fetch(`http://127.0.0.1:${port}/socket.io/?EIO=4&transport=polling${query}`, init)
async function handshake(port: number): Promise<{ sid: string; pingInterval: number; pingTimeout: number }> {
  return JSON.parse((await (await engine(port)).text()).slice(1))
}

t.test("the document's own values are the defaults", async (t) => {
  const document = {
    SOCKET_CORS_ORIGIN: 'http://localhost:3000',
    SOCKET_MAX_CONNECTIONS: 1000,
    SOCKET_PING_TIMEOUT: 60000,
    SOCKET_PING_INTERVAL: 25000,
    SOCKET_UPGRADE_TIMEOUT: 10000,
  }
  for (const env of [{}, document])
    t.match(await handshake((await start(env)).codingAssistantPort), {
      pingInterval: 25_000,
      pingTimeout: 60_000,
      upgrades: ['websocket'],
    })
})

t.test(
  'SOCKET_CORS_ORIGIN: pages of that origin may connect, others may not; other ports have their own',
  async (t) => {
    const broker = await start({ SOCKET_CORS_ORIGIN: 'http://localhost:3000' })
    const origin = async (port: number, Origin: string) => {
      const { status, headers } = await engine(port, '', { headers: { Origin } })
      const socket = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, {
        headers: { Origin },
      })
      const opened = await new Promise((resolve) => {
        socket.once('open', () => resolve(true))
        socket.once('error', () => resolve(false))
      })
      socket.terminate()
      return [status, headers.get('access-control-allow-origin'), opened]
    }
    t.same(await origin(broker.codingAssistantPort, 'http://localhost:3000'), [200, 'http://localhost:3000', true])
    t.match(await origin(broker.codingAssistantPort, 'http://evil.example'), [400, null, false])
    t.match(await origin(broker.port, 'http://evil.example'), [200, String, true])
  },
)

t.test('SOCKET_MAX_CONNECTIONS: so many, and no more; other ports do not count', async (t) => {
  const broker = await start({ SOCKET_MAX_CONNECTIONS: 2 })
  const address = `http://127.0.0.1:${broker.codingAssistantPort}`
  const open = (at: string) => {
    const client = new SocketIoClient(at, { transports: ['websocket'], options: { reconnection: false } })
    t.teardown(() => client.close())
    return client
  }
  const elsewhere = await open(`http://127.0.0.1:${broker.port}/ws`).connected()
  const [one] = [await open(address).connected(), await open(address).connected()]
  const third = open(address)
  await third.until(() => third.refusals.length > 0)
  one.close()
  await t.resolves(async () => {
    for (;;) {
      const next = open(address)
      await next.until(() => next.refusals.length > 0 || next.connects.length > 0)
      if (next.connects.length > 0) return
    }
  })
  t.ok(elsewhere.socket.connected)
})

t.test(
  'SOCKET_PING_INTERVAL and SOCKET_PING_TIMEOUT: the heartbeat, and the end of whoever does not answer it',
  async (t) => {
    const broker = await start({ SOCKET_PING_INTERVAL: 300, SOCKET_PING_TIMEOUT: 400 })
    t.match(await handshake(broker.codingAssistantPort), { pingInterval: 300, pingTimeout: 400 })
    t.match(await handshake(broker.port), { pingInterval: 25_000, pingTimeout: 60_000 })
    const socket = new WebSocket(`ws://127.0.0.1:${broker.codingAssistantPort}/socket.io/?EIO=4&transport=websocket`)
    const frames: string[] = []
    socket.on('message', (frame) => frames.push(frame.toString()))
    await new Promise((resolve) => socket.once('close', resolve))
    t.ok(frames.includes('2'), 'it was pinged')
  },
)

t.test('COMMANDS_PER_MINUTE: each command past it is refused by name, those in a batch too', async (t) => {
  const broker = await start({ COMMANDS_PER_MINUTE: 5 })
  const client = await SocketIoClient.connect(`http://127.0.0.1:${broker.codingAssistantPort}`)
  t.teardown(() => client.close())
  t.same(await client.ask('test:ping'), { status: 'success' })
  t.match(await client.ask('batch:update', { updates: Array(6).fill({ event: 'test:ping' }) }), {
    status: 'success',
    results: [...Array(4).fill({ status: 'success' }), ...Array(2).fill({ status: 'error', code: 'RATE_LIMITED' })],
  })
  t.match(await client.ask('test:ping'), { status: 'error', code: 'RATE_LIMITED' })
  t.match(
    client.of('error').map(([{ code, event }]) => [code, event]),
    Array(3).fill(['RATE_LIMITED', 'test:ping']),
  )
})

t.test('SOCKET_UPGRADE_TIMEOUT: an upgrade that is never finished ends', async (t) => {
  const broker = await start({ SOCKET_UPGRADE_TIMEOUT: 300 })
  const { sid } = await handshake(broker.codingAssistantPort)
  const socket = new WebSocket(
    `ws://127.0.0.1:${broker.codingAssistantPort}/socket.io/?EIO=4&transport=websocket&sid=${sid}`,
  )
  await new Promise((resolve) => socket.once('open', resolve))
  socket.send('2probe')
  await new Promise((resolve) => socket.once('close', resolve))
  t.pass('and the client may try again')
})
