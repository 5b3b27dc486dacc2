// The page of `make demo` in two browsers: orders, a private message, presence, recovery, and gateway restarts.

import assert from 'node:assert/strict'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { Browser, picture } from './support/browser.js'
import { ROOT } from './support/npm.js'
import { Process, until } from './support/process.js'

let demo, browser, url
before(async () => {
  demo = new Process('bash', [path.join(ROOT, 'examples/demo/run.sh')], { env: { DEMO_SECONDS: '0', DEMO_PORT: '0' } })
  ;[[, url], browser] = await Promise.all([demo.prints(/open (http:\S+)/, 60_000), Browser.launch()])
}, { timeout: 90_000 })
after(async () => { await browser?.close(); await demo?.stop('SIGTERM', 30_000).catch(() => {}) }, { timeout: 60_000 })

const text = (page, selector) => page.$eval(selector, element => element.textContent)
const texts = (page, selector) => page.$$eval(selector, elements => elements.map(element => element.textContent))

async function open(size) {
  const page = await browser.window(url, size)
  // No animations in screenshots.
  await page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }])
  await page.waitForFunction("document.querySelector('#state').textContent === 'connected'")
  await page.waitForFunction("document.querySelectorAll('#people .me').length === 1")
  return page
}

const received = async page => Number(await text(page, '#count'))
async function ordersArrive(page, count) {
  const before = await received(page)
  await until(async () => await received(page) >= before + count, `${count} more orders`, 15_000)
}

const waitForLog = (page, line) => until(async () => (await texts(page, '#log span')).some(said => line.test(said)),
  () => `the log has no line ${line}`, 20_000).catch(async error => { throw new Error(`${error.message}: ${await texts(page, '#log span')}`) })

test('the order board stays correct while offline and across gateway restarts', { timeout: 150_000 }, async t => {
  const first = await open({ width: 1280, height: 940 })
  const second = await open({ width: 390, height: 844, deviceScaleFactor: 2 })
  await until(async () => (await texts(first, '#people li')).length === 2, 'two people on the list')

  // The visitor's order appears on both boards and is handled by both services; only the visitor receives the invoice.
  await first.click('form button')
  await first.waitForFunction("document.querySelector('#board .mine.paid')")
  await first.waitForFunction("/Phở bò/.test(document.querySelector('#letters').textContent)")
  assert.equal((await texts(second, '#letters li:not(.none)')).length, 0)
  const number = await text(first, '#board .mine em')
  assert.ok((await texts(second, '#board em')).includes(number))

  // Another visitor's private channel and unknown channels are not authorized.
  const statuses = await first.evaluate(async () => {
    const { socket_id } = Pusher.instances[0].connection
    const authorize = async (channel_name, socket = socket_id) => (await fetch('/broadcasting/auth', { method: 'POST', body: new URLSearchParams({ socket_id: socket, channel_name }) })).status
    const own = document.querySelector('#mailbox').textContent
    return Promise.all([authorize(own), authorize('presence-board'), authorize('private-user.00000000'), authorize('private-shop.hue'), authorize('presence-other'), authorize(own, '1.2:presence-board')])
  })
  assert.deepEqual(statuses, [200, 200, 403, 403, 403, 403])

  // Offline while some orders are placed.
  await first.click('#offline')
  await first.waitForFunction("document.querySelector('#state').textContent === 'disconnected'")
  await until(async () => (await texts(second, '#people li')).length === 1, 'one person on the list', 15_000)
  await ordersArrive(second, 3)
  await first.click('#offline')
  await waitForLog(first, /missed, all replayed in order/)
  await first.waitForFunction("Number(document.querySelector('#caught').textContent) >= 2")
  await first.waitForFunction("document.querySelectorAll('#board .badge').length >= 2")

  await picture(first, 'demo-recovered', { fullPage: true })

  for (let i = 1; i <= 2; i++) {
    await first.$eval('#log', log => log.replaceChildren())
    await first.click('#restart')
    await waitForLog(first, /reconnected after/)
    // Missed or not, nothing is lost.
    await waitForLog(first, /recovered|missed, all replayed in order/)
    await first.waitForFunction("!document.querySelector('#restart').disabled")
  }
  const reconnects = (await texts(first, '#log span')).map(said => /after ([\d.]+) ms/.exec(said)?.[1]).filter(Boolean)
  t.diagnostic(`reconnected after ${reconnects.join(', ')} ms`)
  assert.ok(reconnects.every(ms => ms < 2000))
  await second.click('form button:nth-of-type(4)')
  await second.waitForFunction("document.querySelector('#board .mine.paid')")
  // The page checks an order for loss 1.5 s after it has arrived; there is an order every second.
  await ordersArrive(second, 3)
  for (const page of [first, second]) {
    assert.equal(await text(page, '#wrong'), '0 lost0 twice0 out of order')
    assert.equal(await text(page, '#state'), 'connected')
    assert.deepEqual(page.problems, [])
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the page scrolls horizontally')
  }
  t.diagnostic(`from broadcast() to the page, median ${await text(first, '#median')}`)
  await picture(first, 'demo-1280', { fullPage: true })
  await picture(second, 'demo-390', { fullPage: true })
  await first.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }, { name: 'prefers-color-scheme', value: 'dark' }])
  await picture(first, 'demo-1280-dark', { fullPage: true })
})

test('the same orders are received by an EventSource', { timeout: 60_000 }, async () => {
  const page = await browser.window(`${url.replace(/\/$/, '')}/stream`)
  await page.waitForFunction("document.querySelector('#state').textContent === 'connected'")
  await page.waitForFunction("document.querySelectorAll('#orders li').length >= 2", { timeout: 20_000 })
  assert.match(await text(page, '#orders li'), /^#\d+ shop\.\w+ · \S/)
  assert.deepEqual(page.problems, [])
})
