// Headless Chromium: pages of the test application, one user each, and screenshots.

import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { npm, ROOT } from './npm.js'
import { until } from './process.js'

const puppeteer = npm('puppeteer-core')
const PICTURES = path.join(ROOT, 'build/test-output')

export class Browser {
  static async launch() {
    const browser = new Browser()
    browser.chromium = await puppeteer.launch({
      executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
      // Containers lack the privileges for Chromium's sandbox; only our own pages are loaded.
      args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--hide-scrollbars', '--force-color-profile=srgb'],
      timeout: 60_000,
      protocolTimeout: 60_000,
    })
    return browser
  }

  /** Opens any URL in a window that shares no cookies with the others. */
  async window(url, { width = 900, height = 560 } = {}) {
    const context = await this.chromium.createBrowserContext()
    const page = await context.newPage()
    page.setDefaultTimeout(20_000)
    await page.setViewport({ width, height })
    page.problems = []
    page.on('pageerror', error => page.problems.push(String(error)))
    await page.goto(url, { waitUntil: 'load' })
    return page
  }

  async close() {
    await this.chromium.close().catch(() => this.chromium.process()?.kill('SIGKILL'))
  }
}

/** A client in a window: `kind` pusher or echo. */
export class Client {
  static async open(browser, stack, user, options = {}) {
    const client = new Client()
    client.page = await browser.window(`${stack.url}/?user=${user}`)
    await client.page.waitForFunction('window.ready')
    await client.page.evaluate(o => start(o), { kind: 'pusher', port: stack.port, key: stack.key, ...options })
    await client.page.waitForFunction("pusher.connection.state === 'connected'")
    return client
  }

  run(code, ...args) { return this.page.evaluate(code, ...args) }

  socketId() { return this.run(() => pusher.connection.socket_id) }

  /** Subscribes in pusher-js, and waits until the subscriptions have succeeded. */
  async subscribe(...channels) {
    for (const channel of channels) await this.run(c => subscribe(c), channel)
    for (const channel of channels) await this.waitFor(channel, 'pusher:subscription_succeeded')
  }

  /** All events received so far on a channel, optionally of one name. */
  received(channel, event) {
    return this.run((c, e) => received.filter(h => h.channel === c && (!e || h.event === e)), channel, event)
  }

  /** Waits for the n-th such event (by default the first) and returns its data. */
  async waitFor(channel, event, n = 1, ms = 10_000) {
    const found = await until(async () => (await this.received(channel, event))[n - 1],
      `${event} on '${channel}' (the ${n}.)`, ms).catch(async error => {
      error.message += '; received: ' + JSON.stringify((await this.run(() => received)).slice(-20))
      throw error
    })
    return found.data
  }

  /**
   * Waits for the last of the numbered events that Stack.broadcastMany() sends, and lists lost, duplicate and reordered
   * numbers. If there are none: {lost: [], twice: [], disordered: []}.
   */
  async numbered(channel, event, last, ms = 20_000) {
    const numbers = async () => (await this.received(channel, event)).map(h => h.data.n)
    await until(async () => (await numbers()).includes(last), `number ${last} on '${channel}'`, ms)
    const all = await numbers()
    const expected = Array.from({ length: last }, (_, i) => i + 1)
    return {
      lost: expected.filter(n => !all.includes(n)),
      twice: all.filter((n, i) => all.indexOf(n) !== i),
      disordered: all.filter((n, i) => i > 0 && n < all[i - 1]),
    }
  }

  async picture(name) {
    await picture(this.page, name)
  }
}

/** Saves a screenshot in build/test-output. */
export async function picture(page, name, options = {}) {
  mkdirSync(PICTURES, { recursive: true })
  await page.screenshot({ path: path.join(PICTURES, `${name}.png`), ...options })
}
