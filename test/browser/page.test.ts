import { readFileSync } from 'node:fs'
import { chromium } from 'playwright-core'
import t from 'tap'
import { PUBLISH_KEY, TestBroker, token } from '../support/broker.ts'

const executablePath = process.env.CHROMIUM

/** Without a browser on the machine there is nothing to run here; `npm test` says so. */
const browser =
  executablePath === undefined
    ? undefined
    : await chromium.launch({
        executablePath,
        args: [
          '--no-sandbox',
          '--disable-gpu',
          '--disable-background-networking',
          '--disable-component-update',
          '--disable-sync',
          '--no-first-run',
        ],
      })
t.teardown(() => browser?.close())

if (browser !== undefined) {
  t.test('the page shows live figures, and events as they arrive through the real gateway', async (t) => {
    const broker = await TestBroker.start()
    t.teardown(() => broker.stop())
    const page = await browser.newPage()
    const faults: string[] = []
    page.on('pageerror', (error) => faults.push(error.message))
    await page.goto(`http://127.0.0.1:${broker.opsPort}/`)
    await page.getByText('serving, source: embedded').waitFor()
    await page.locator('#token').fill(token('viewer'))
    await page.getByRole('button', { name: 'Connect' }).click()
    await page.getByText('connected', { exact: true }).waitFor()
    await broker.publish('game-djinn', 'sync_progress', { data: { operation_id: 'op-1', progress_percentage: 45 } })
    await page.getByText('"progress_percentage":45').waitFor()
    await page.locator('dl div', { hasText: 'Connections' }).getByText('1', { exact: true }).waitFor()
    await page
      .locator('dl div', { hasText: /^Events\d/ })
      .getByText('1', { exact: true })
      .waitFor()
    t.same(faults, [])
    await page.locator('#token').fill('not a token')
    await page.getByRole('button', { name: 'Connect' }).click()
    await page.getByText('closed: 4401 AUTH_FAILED').waitFor()
    await page.close()
  })

  t.test("the document's client class runs unchanged in a browser", async (t) => {
    const broker = await TestBroker.start()
    t.teardown(() => broker.stop())
    const page = await browser.newPage()
    // Its address is the default port; this broker has another.
    await page.addInitScript((port) => {
      const Real = WebSocket
      // @ts-expect-error: stands in for the browser's own
      window.WebSocket = class extends Real {
        constructor(url: string) {
          super(url.replace('localhost:8000', `127.0.0.1:${port}`))
        }
      }
    }, broker.port)
    await page.goto(`http://127.0.0.1:${broker.opsPort}/healthz`)
    await page.addScriptTag({
      content: `${readFileSync(new URL('../integration/game-djinn-websocket.js', import.meta.url), 'utf8')}
      window.got = []
      const client = new GameDjinnWebSocket(${JSON.stringify(token('browser'))})
      for (const type of ['subscribed', 'sync_progress', 'pong', 'ai_error']) client.on(type, (data) => window.got.push([type, data]))
      client.connect()
      window.client = client`,
    })
    const has = (type: string) =>
      page.waitForFunction(
        (wanted) => (window as unknown as { got: [string][] }).got.some(([type]) => type === wanted),
        type,
      )
    await has('subscribed')
    await fetch(`http://127.0.0.1:${broker.port}/api/v1/events/game-djinn/sync_progress`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${PUBLISH_KEY}` },
      body: JSON.stringify({ data: { operation_id: 'o', progress_percentage: 7 } }),
    })
    await has('sync_progress')
    await page.evaluate(() => {
      const { client } = window as unknown as {
        client: { sendAIMessage(message: string): void; send(message: object): void }
      }
      client.sendAIMessage('hello')
      client.send({ type: 'ping', data: {}, id: 'p' })
    })
    await has('ai_error')
    await has('pong')
    t.pass('connected, subscribed, chatted and pinged')
    await page.close()
  })
}
