import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { Packr } from 'msgpackr'
import { headers, type JetStreamManager, RetentionPolicy, type StreamConfig } from 'nats'
import { chromium } from 'playwright-core'
import t, { type Test } from 'tap'
import { TestBroker, token } from '../support/broker.ts'
import { eventually, TestClient } from '../support/client.ts'
import { TestNats } from '../support/nats.ts'

const folder = mkdtempSync(join(tmpdir(), 'roomcast-subjects-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const CONTRACT = join(folder, 'trade.mjs')
writeFileSync(
  CONTRACT,
  `import { defineContract } from 'roomcast'
export default defineContract({
  app: 'trade',
  endpoints: [{ transport: 'websocket', path: '/trade' }],
  subjects: {
    'orders.*.*': { body: 'flat', type: 'order_$2', fields: { region: '$1' } },
    'cloud.>': { body: 'cloudevents', fields: { parcel: '$subject' } },
    'github.pr.*': { type: 'pr_$1' },
  },
  events: { order_placed: {}, order_paid: {}, 'com.example.shipped': {}, pr_opened: {}, note: {} },
})`,
)
const EVENTS = ['order_placed', 'order_paid', 'com.example.shipped', 'pr_opened', 'note']
const JSON_TYPE = { 'Content-Type': 'application/json' }
const packr = new Packr({ useRecords: false })

interface Part {
  readonly jsm: JetStreamManager
  readonly nats: TestNats
  readonly start: (env?: Record<string, string>) => Promise<TestBroker>
  readonly send: (subject: string, body: unknown, header?: Record<string, string>) => Promise<void>
}

async function setUp(t: Test): Promise<Part> {
  const nats = await TestNats.start()
  t.teardown(() => nats.stop())
  const jsm = await (await nats.client()).jetstreamManager()
  const js = await nats.jetstream()
  return {
    jsm,
    nats,
    start: async (env = {}) => {
      const broker = await TestBroker.start({ NATS_URL: nats.url, CONTRACTS: CONTRACT, APPLICATIONS: 'trade', ...env })
      t.teardown(() => broker.stop())
      return broker
    },
    send: async (subject, body, header) => {
      const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body))
      const given = header === undefined ? undefined : headers()
      for (const [name, value] of Object.entries(header ?? {})) given?.set(name, value)
      await js.publish(subject, bytes, given ? { headers: given } : {})
    },
  }
}

/** One event in each form, each with its number. */
async function sendAll({ send }: Part, from: number): Promise<void> {
  await send('orders.eu.placed', { n: from, region: 'forged' })
  await send('orders.us.paid', packr.pack({ n: from + 1 }), { 'content-type': 'application/x-msgpack' })
  await send('orders.us.paid', gzipSync(JSON.stringify({ n: from + 2 })), { 'Content-Encoding': 'gzip' })
  const attributes = {
    specversion: '1.0',
    type: 'com.example.shipped',
    id: `c-${from}`,
    source: '/depot',
    subject: 'p 1',
  }
  await send('cloud.shipped', { ...attributes, time: '2026-01-02T03:04:05Z', data: { n: from + 3 } })
  await send(
    'cloud.shipped',
    { n: from + 4 },
    {
      ...JSON_TYPE,
      'ce-specversion': '1.0',
      'ce-type': 'com.example.shipped',
      'ce-id': `c-${from}`,
      'ce-source': '/depot',
      'ce-subject': 'p%201',
    },
  )
  await send('github.pr.opened', { data: { n: from + 5 } })
}

/** What comes of it. */
function formsOf(from: number) {
  return [
    { type: 'order_placed', data: { n: from, region: 'eu' } },
    { type: 'order_paid', data: { n: from + 1, region: 'us' } },
    { type: 'order_paid', data: { n: from + 2, region: 'us' } },
    {
      type: 'com.example.shipped',
      data: { n: from + 3, parcel: 'p 1' },
      source_id: `c-${from}`,
      timestamp: '2026-01-02T03:04:05Z',
    },
    { type: 'com.example.shipped', data: { n: from + 4, parcel: 'p 1' }, source_id: `c-${from}` },
    { type: 'pr_opened', data: { n: from + 5 } },
  ]
}

/** Runs a client through all forms, and through a kill -9 while it is away. */
async function delivers(t: Test, part: Part, env: Record<string, string> = {}): Promise<TestBroker> {
  const broker = await part.start(env)
  const client = await TestClient.connect(broker.url('/trade'))
  await client.subscribe(EVENTS)
  await sendAll(part, 0)
  await client.until(() => client.events.length === 6)
  t.match(client.events, formsOf(0))
  const since = client.events[2]?.id
  await broker.kill('SIGKILL')
  await sendAll(part, 10)
  await broker.run()
  const back = await TestClient.connect(broker.url('/trade'))
  await back.subscribe(EVENTS, {}, since as string)
  await back.until(() => back.events.length === 9)
  t.match(back.events, [...formsOf(0).slice(3), ...formsOf(10)], 'after kill -9 it goes on behind its position')
  await sendAll(part, 20)
  await back.until(() => back.events.length === 15)
  t.match(back.events.slice(9), formsOf(20))
  for (const { socket } of [client, back]) socket.terminate()
  return broker
}

t.test(
  'subjects of a contract are added to the stream, each form of body reaches a client, also after kill -9',
  async (t) => {
    const part = await setUp(t)
    await part.jsm.streams.add({ name: 'ROOMCAST_EVENTS', subjects: ['events.>'] })
    const broker = await delivers(t, part)
    const { config } = await part.jsm.streams.info('ROOMCAST_EVENTS')
    t.same([...config.subjects].sort(), ['cloud.>', 'events.>', 'github.pr.*', 'orders.*.*'])
    t.match(await (await broker.publish('trade', 'note', { data: { n: 1 } })).json(), { id: /-\d+$/ })
  },
)

t.test('streams that exist are sourced: one order, one position', async (t) => {
  const part = await setUp(t)
  await part.jsm.streams.add({ name: 'ORDERS', subjects: ['orders.>'] })
  await part.jsm.streams.add({ name: 'CLOUD', subjects: ['cloud.>'] })
  const env = { SOURCE_STREAMS: 'ORDERS,CLOUD' }
  const broker = await part.start(env)
  const client = await TestClient.connect(broker.url('/trade'))
  await client.subscribe(EVENTS)
  const count = async (total: number) => client.until(() => client.events.length === total)
  await part.send('orders.eu.placed', { n: 0 })
  await count(1)
  await part.send('cloud.x', { specversion: '1.0', type: 'com.example.shipped', data: { n: 1 } })
  await count(2)
  await part.send('github.pr.opened', { data: { n: 2 } })
  await count(3)
  const since = client.events[0]?.id as string
  await broker.kill('SIGKILL')
  await part.send('orders.eu.placed', { n: 3 })
  await broker.run()
  const back = await TestClient.connect(broker.url('/trade'))
  await back.subscribe(EVENTS, {}, since)
  await back.until(() => back.events.length === 3)
  t.same(
    back.events.map(({ data }) => data.n),
    [1, 2, 3],
  )
  const { config } = await part.jsm.streams.info('ROOMCAST_EVENTS')
  t.same(
    [[...config.subjects].sort(), config.sources?.map(({ name }) => name).sort()],
    [
      ['events.>', 'github.pr.*'],
      ['CLOUD', 'ORDERS'],
    ],
  )
  for (const { socket } of [client, back]) socket.terminate()
})

t.test('a stream of a company is read as it is; a mirror of it, and one that only sources it, too', async (t) => {
  const part = await setUp(t)
  const all = { name: 'COMPANY', subjects: ['orders.>', 'cloud.>', 'github.>', 'audit.>'] }
  await part.jsm.streams.add(all)
  await part.jsm.streams.add({ name: 'MIRROR', mirror: { name: 'COMPANY' } } as Partial<StreamConfig>)
  await part.jsm.streams.add({ name: 'SOURCED', sources: [{ name: 'COMPANY' }] } as Partial<StreamConfig>)
  await part.send('audit.x', 'no event')
  for (const name of ['COMPANY', 'MIRROR', 'SOURCED']) {
    const broker = await delivers(t, part, { STREAM_NAME: name })
    t.equal((await broker.metric('bad_events_total')) + (await broker.metric('unknown_events_total')), 0, name)
    t.equal((await part.jsm.streams.info(name)).config.description, undefined)
    await broker.stop()
  }
  t.same((await part.jsm.streams.info('COMPANY')).config.subjects, all.subjects, 'nothing is added to it')
})

t.test('what a stream cannot give is refused at the start by name', async (t) => {
  const part = await setUp(t)
  const refusal = async (env: Record<string, string>) =>
    String(await part.start(env).catch((error: Error) => error.message))
  await part.jsm.streams.add({ name: 'OTHER', subjects: ['orders.>'] })
  t.match(await refusal({}), /stream OTHER owns orders\.>.*SOURCE_STREAMS=OTHER/)
  t.match(await refusal({ STREAM_NAME: 'OTHER' }), /OTHER exists and holds orders\.>, not cloud\.>, github\.pr\.\*/)
  t.match(await refusal({ SOURCE_STREAMS: 'NONE' }), /SOURCE_STREAMS: the stream NONE does not exist/)
  t.match(await refusal({ SOURCE_STREAMS: 'ROOMCAST_EVENTS' }), /is STREAM_NAME itself/)
  await part.jsm.streams.add({ name: 'AUDIT', subjects: ['audit.>'] })
  t.match(await refusal({ SOURCE_STREAMS: 'AUDIT' }), /AUDIT holds audit\.>, and no contract reads any of it/)
  await part.jsm.streams.delete('OTHER')
  for (const retention of [RetentionPolicy.Workqueue, RetentionPolicy.Interest]) {
    await part.jsm.streams.add({ name: 'WORK', subjects: ['orders.>'], retention })
    t.match(await refusal({ SOURCE_STREAMS: 'WORK' }), new RegExp(`the stream WORK .*retention: ${retention}`))
    await part.jsm.streams.delete('WORK')
  }
  t.match(await refusal({ NATS_URL: '' }), /CONFIG_INVALID|contracts read orders/)
})

t.test('bad bodies are left out, logged by pattern and type, and counted by reason', async (t) => {
  const part = await setUp(t)
  const broker = await part.start()
  const client = await TestClient.connect(broker.url('/trade'))
  await client.subscribe(EVENTS)
  const bomb = gzipSync(Buffer.alloc(50_000_000, ' '))
  await part.send('orders.eu.placed', bomb, { 'Content-Encoding': 'gzip' })
  await part.send('orders.eu.placed', Buffer.from('not gzip'), { 'Content-Encoding': 'gzip' })
  await part.send('orders.eu.placed', { n: 1 }, { 'Content-Encoding': 'br' })
  await part.send('orders.eu.placed', [1, 2])
  await part.send('orders.eu.unheard', { n: 1 })
  await part.send('cloud.x', { specversion: '1.0', type: 7, data: {} })
  await part.send('cloud.x', { specversion: '0.3', type: 'com.example.shipped', data: {} })
  await part.send('cloud.x', Buffer.from('<a/>'), { 'Content-Type': 'application/cloudevents+xml' })
  await part.send('cloud.x', Buffer.from('['.repeat(200_000)))
  await part.send('orders.eu.placed', Buffer.from('{"__proto__":{"polluted":1},"n":2}'))
  await client.until(() => client.events.length === 1)
  t.equal(client.events[0]?.data.n, 2)
  t.equal(client.events[0]?.data.polluted, undefined)
  t.equal(await broker.metric('bad_events_total'), 8)
  const text = await (await broker.ops('/metrics')).text()
  for (const line of [
    'roomcast_left_out_events_total{app="trade",subjects="orders.*.*",type="order_placed",code="INVALID_EVENT"} 4',
    'roomcast_left_out_events_total{app="trade",subjects="orders.*.*",type="-",code="UNKNOWN_EVENT"} 1',
    'roomcast_left_out_events_total{app="trade",subjects="cloud.>",type="-",code="INVALID_EVENT"} 4',
  ])
    t.ok(text.includes(line), line)
  const told = () => broker.log.split('\n').filter((line) => line.includes('an event was left out'))
  await eventually(() => told().length === 3)
  t.match(told()[0], /unzipped it has more than 1048576 bytes/)
  client.socket.terminate()
})

const executablePath = process.env.CHROMIUM
if (executablePath !== undefined)
  t.test(
    'a flat stream, one of CloudEvents and a mirrored one reach a browser, with resume after kill -9',
    async (t) => {
      const part = await setUp(t)
      const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
      t.teardown(() => browser.close())
      await part.jsm.streams.add({ name: 'COMPANY', subjects: ['orders.>', 'cloud.>', 'github.>'] })
      await part.jsm.streams.add({ name: 'MIRROR', mirror: { name: 'COMPANY' } } as Partial<StreamConfig>)
      const broker = await part.start({ SOURCE_STREAMS: 'MIRROR' })
      const page = await browser.newPage()
      await page.goto(`http://127.0.0.1:${broker.opsPort}/healthz`)
      await page.addScriptTag({
        content: `const url = ${JSON.stringify(`${broker.url('/trade')}?token=${token('viewer')}`)}, events = ${JSON.stringify(EVENTS)}
      window.got = []
      let since
      const connect = () => {
        const socket = new WebSocket(url)
        socket.onopen = () => socket.send(JSON.stringify({ type: 'subscribe', data: { events, since } }))
        socket.onclose = () => setTimeout(connect, 100)
        socket.onmessage = ({ data }) => {
          const frame = JSON.parse(data)
          if (frame.type === 'subscribed') window.subscribed = true
          if (frame.data.n === undefined) return
          since = frame.id
          window.got.push(frame.data.n)
        }
      }
      connect()`,
      })
      const has = (count: number) =>
        page.waitForFunction((wanted) => (window as unknown as { got: number[] }).got.length === wanted, count)
      await page.waitForFunction(() => (window as unknown as { subscribed?: boolean }).subscribed === true)
      await sendAll(part, 0)
      await has(6)
      await broker.kill('SIGKILL')
      await sendAll(part, 10)
      await broker.run()
      await has(12)
      t.same(
        await page.evaluate(() => (window as unknown as { got: number[] }).got),
        [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15],
      )
    },
  )
