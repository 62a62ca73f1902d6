import { request } from 'node:http'
import { Packr } from 'msgpackr'
import t from 'tap'
import { PUBLISH_KEY, TestBroker, token } from '../support/broker.ts'
import { TestClient } from '../support/client.ts'

const broker = await TestBroker.start()
t.teardown(() => broker.stop())
const base = `http://127.0.0.1:${broker.port}`
const auth = { Authorization: `Bearer ${PUBLISH_KEY}` }

t.test('a published event is stored, answered with its position, and delivered', async (t) => {
  const client = await TestClient.connect(broker.url())
  await client.subscribe(['game_added'])
  const answer = await broker.publish('game-djinn', 'game_added', { data: { n: 1, game: {} } })
  t.equal(answer.status, 202)
  const { id, ...rest } = (await answer.json()) as { id: string }
  t.same(rest, {})
  t.match(await client.type('game_added'), { id, data: { n: 1, game: {} } })
  const packed = await fetch(`${base}/api/v1/events/game-djinn/game_added`, {
    method: 'POST',
    headers: { ...auth, 'Content-Type': 'application/msgpack' },
    body: new Packr({ useRecords: false }).pack({ data: { n: 2, game: {} } }) as unknown as BodyInit,
  })
  t.equal(packed.status, 202)
  await client.next(({ data }) => data.n === 2)
  const twice = async () =>
    (
      (await (
        await fetch(`${base}/api/v1/events/game-djinn/game_added`, {
          method: 'POST',
          headers: { ...auth, 'Nats-Msg-Id': 'm-1' },
          body: '{"data":{"n":3,"game":{}}}',
        })
      ).json()) as { id: string }
    ).id
  t.equal(await twice(), await twice(), 'a message id deduplicates')
  await client.close()
})

t.test('data that is not as the contract documents is stored, with warnings', async (t) => {
  const answer = await broker.publish('game-djinn', 'sync_progress', { data: { progress_percentage: 'half' } })
  t.equal(answer.status, 202)
  t.match(await answer.json(), { id: String, warnings: [String] })
})

t.test('refusals say why, in JSON', async (t) => {
  const post = (path: string, body: string, headers: Record<string, string> = auth) =>
    fetch(`${base}/api/v1/events/${path}`, { method: 'POST', headers, body })
  const cases: [string, Promise<Response>, number, string][] = [
    ['no key', post('game-djinn/game_added', '{"data":{}}', {}), 401, 'AUTH_MISSING'],
    [
      'a wrong key',
      post('game-djinn/game_added', '{"data":{}}', { Authorization: 'Bearer wrong' }),
      401,
      'AUTH_FAILED',
    ],
    ['no JSON', post('game-djinn/game_added', '{"data":'), 400, 'INVALID_EVENT'],
    ['an empty body', post('game-djinn/game_added', ''), 400, 'INVALID_EVENT'],
    ['no data', post('game-djinn/game_added', '{}'), 400, 'INVALID_EVENT'],
    ['data that is a list', post('game-djinn/game_added', '{"data":[]}'), 400, 'INVALID_EVENT'],
    ['an unknown application', post('nobody/x', '{"data":{}}'), 400, 'UNKNOWN_APP'],
    ['an unknown event', post('game-djinn/x', '{"data":{}}'), 400, 'UNKNOWN_EVENT'],
    ['no type', post('game-djinn', '{"data":{}}'), 400, 'INVALID_EVENT'],
    ['a type that is no subject', post('game-djinn/a%20b', '{"data":{}}'), 400, 'INVALID_EVENT'],
    ['a wildcard', post('game-djinn/%3E', '{"data":{}}'), 400, 'INVALID_EVENT'],
    ['bad encoding', post('game-djinn/%E0%A4%A', '{"data":{}}'), 400, 'INVALID_EVENT'],
    [
      'a body over 1 MB',
      post('game-djinn/game_added', JSON.stringify({ data: { pad: 'x'.repeat(1_100_000) } })),
      413,
      'PAYLOAD_TOO_LARGE',
    ],
    ['another address', fetch(`${base}/nowhere`), 404, 'NOT_FOUND'],
  ]
  for (const [name, answer, status, code] of cases) {
    const got = await answer
    t.equal(got.status, status, name)
    t.match(await got.json(), { error_code: code, message: String }, name)
    t.match(got.headers.get('content-type'), 'application/json')
  }
})

t.test('a body over the limit without a length is cut off at it', async (t) => {
  const status = await new Promise((resolve) => {
    const req = request(`${base}/api/v1/events/game-djinn/game_added`, { method: 'POST', headers: auth }, (res) => {
      res.resume()
      resolve(res.statusCode)
    })
    req.on('error', () => resolve('cut'))
    const chunk = Buffer.alloc(65_536, 32)
    const write = (left: number) => {
      if (left === 0 || req.destroyed) req.end()
      else req.write(chunk, () => setImmediate(() => write(left - 1)))
    }
    write(40)
  })
  t.ok(status === 413 || status === 'cut')
  t.equal((await broker.ops('/healthz')).status, 200)
})

t.test('the statistics are for admins: connections, and members by room', async (t) => {
  const clients = await Promise.all([1, 2, 3].map(() => TestClient.connect(broker.url())))
  for (const client of clients.slice(1)) await client.subscribe(['game_added'])
  const get = (headers: Record<string, string>) => fetch(`${base}/api/v1/websocket/stats`, { headers })
  t.equal((await get({})).status, 401)
  t.equal((await get({ Authorization: `Bearer ${token('u')}` })).status, 403)
  const answer = await get({ Authorization: `Bearer ${token('boss', { roles: ['admin'] })}` })
  t.equal(answer.status, 200)
  t.same(await answer.json(), { connections: 3, rooms: { game_added: 2 } })
  for (const client of clients) await client.close()
})

t.test('without PUBLISH_KEY nobody may publish', async (t) => {
  const closed = await TestBroker.start({ PUBLISH_KEY: '' })
  t.teardown(() => closed.stop())
  const answer = await closed.publish('game-djinn', 'game_added', { data: {} })
  t.equal(answer.status, 401)
  t.match(await answer.json(), { message: /PUBLISH_KEY/ })
})

t.test('metrics tell what happened', async (t) => {
  const client = await TestClient.connect(broker.url())
  await client.subscribe(['game_added'])
  await broker.publish('game-djinn', 'game_added', { data: { n: 9, game: {} } })
  await client.next(({ data }) => data.n === 9)
  const text = await (await broker.ops('/metrics')).text()
  for (const name of [
    'connections 1',
    'rooms 1',
    'events_total ',
    'deliveries_total{format="json"} ',
    'drops_total 0',
    'sessions_behind 0',
    'lag_events 0',
    'lag_seconds 0',
    'publish_to_socket_seconds_bucket{le="+Inf"} ',
    'commands_total{app="game-djinn",command="subscribe"} ',
    'delivered_bytes_total{format="json"} ',
  ]) {
    t.ok(text.includes(`roomcast_${name}`), name)
  }
  await client.close()
})

t.test('CORS: only the configured origins', async (t) => {
  const strict = await TestBroker.start({ CORS_ORIGINS: 'https://app.example.com' })
  t.teardown(() => strict.stop())
  const preflight = (origin: string) =>
    fetch(`http://127.0.0.1:${strict.port}/api/v1/websocket/stats`, { method: 'OPTIONS', headers: { Origin: origin } })
  t.equal(
    (await preflight('https://app.example.com')).headers.get('access-control-allow-origin'),
    'https://app.example.com',
  )
  t.equal((await preflight('https://evil.example.com')).headers.get('access-control-allow-origin'), null)
  await t.rejects(TestClient.connect(strict.url(), { headers: { Origin: 'https://evil.example.com' } }), /403/)
  const client = await TestClient.connect(strict.url(), { headers: { Origin: 'https://app.example.com' } })
  await client.close()
})
